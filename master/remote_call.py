"""The calls that go over the wire, with arguments of checked types and sizes.

Only members of the run get this far, and they are trusted.  A broken one among them still must not end a thread here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec
import Pyro4

from results.text import MAX_CHARACTERS

R = TypeVar("R")
#: Name of a worker, its address, or a ticket.
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
#: Reason for which a worker leaves.
Reason = Annotated[str, msgspec.Meta(max_length=MAX_CHARACTERS)]
#: Tickets of the jobs that a worker holds, with the numbers of epochs that are saved.
Tickets = Annotated[dict[Name, Annotated[int, msgspec.Meta(ge=0)]], msgspec.Meta(max_length=16)]


def remote_call(method: Callable[..., R]) -> Callable[..., R]:
    """Exposes a method to the other side of the wire, and checks its arguments against their types.

    The caller receives ``ValueError`` for an argument of another type, or for one that is too long.
    """
    signature, kinds = inspect.signature(method), get_type_hints(method, include_extras=True)

    @functools.wraps(method)
    def checked(*arguments: Any, **named: Any) -> R:
        for name, value in signature.bind(*arguments, **named).arguments.items():
            kind = kinds.get(name, Any)  # self has none
            try:
                if kind is not Any:
                    msgspec.convert(value, kind)
            except msgspec.ValidationError as error:
                raise ValueError(f"{name}: {error}") from None
        return method(*arguments, **named)

    exposed: Callable[..., R] = Pyro4.expose(checked)
    return exposed
