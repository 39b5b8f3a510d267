"""The base of all records: plain data, checked once, when it comes from outside."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

R = TypeVar("R", bound="Record")


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the records: immutable, built with keywords, and checked when they come from outside."""

    def to_dict(self) -> dict[str, Any]:
        """Turns the record into built-in types; keys become strings, as in JSON.

        Raises:
            ValueError: A value has no built-in type.
        """
        builtins: dict[str, Any] = msgspec.to_builtins(self, str_keys=True, enc_hook=_to_builtin)
        return builtins

    @classmethod
    def from_dict(cls: type[R], data: Any, where: str) -> R:
        """Inverts ``to_dict``; fields with a default may be missing.

        Args:
            data: Mapping of the record's fields, of built-in types.
            where: Name of the source, for error messages, e.g. ``"run.json"``.

        Raises:
            ValueError: A field is unknown, missing, or of the wrong type; the message names it.
        """
        try:
            return msgspec.convert(data, cls, str_keys=True)
        except msgspec.ValidationError as error:
            raise ValueError(f"{where}{_explain(str(error), data)}") from None


def _to_builtin(value: Any) -> Any:
    """Turns instances of subclasses, such as NumPy's float64, into float, int or str; refuses the rest."""
    for kind in (float, int, str):
        if isinstance(value, kind):
            return kind(value)
    raise ValueError(f"got {value!r} ({type(value).__name__}), expected built-in types; convert the value")


def _explain(text: str, data: Any) -> str:
    """Rewrites a message of msgspec in the project's style: field, value found, type expected."""
    what, _, place = text.partition(" - at `")
    is_key = place.startswith("key` in")
    path = re.findall(r"\.\w+|\[(?:\d+|\.\.\.)\]", place[place.find("$") :])
    mismatch = re.fullmatch(r"Expected `(.+?)`(.*), got `?(.+?)`?", what)
    if mismatch is None:
        what = what.removeprefix("Object ")
        return f"{_position(path)}: {what[0].lower()}{what[1:]}"
    expected, length, found = mismatch.groups()
    if is_key:
        return f"{_position(path)}, a key: got {found}, expected {expected}"
    for place_of_one, value in _values_at(path, data):
        if _JSON_NAMES.get(type(value), type(value).__name__) == found or length:
            got = f"{reprlib.repr(value)} ({type(value).__name__})"
            return f"{_position(place_of_one)}: got {got}, expected {expected}{length}"
    return f"{_position(path)}: got {found}, expected {expected}{length}"


#: Names that msgspec gives to types which JSON names otherwise than Python.
_JSON_NAMES = {type(None): "null", list: "array", tuple: "array", dict: "object"}


def _position(path: list[str]) -> str:
    return f", {''.join(path).removeprefix('.')}" if path else ""


def _values_at(path: list[str], data: Any) -> Iterator[tuple[list[str], Any]]:
    """Yields every value to which a path of msgspec may lead, with its own path: ``[...]`` stands for any key."""
    if not path:
        yield [], data
        return
    head, *rest = path
    if head == "[...]":
        steps = [(f"[{key!r}]", value) for key, value in data.items()]
    else:
        steps = [(head, data[head[1:]] if head[0] == "." else data[int(head[1:-1])])]
    for step, value in steps:
        yield from (([step, *inner], found) for inner, found in _values_at(rest, value))
