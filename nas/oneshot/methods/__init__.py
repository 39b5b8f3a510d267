"""The one-shot optimizers, one module each, over the bases in ``method`` and ``sampling``."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.oneshot.methods.method import Method


class Methods(MutableMapping[str, "type[Method]"]):
    """Optimizers by name, each loaded when it is first asked for: the names alone need no PyTorch.

    Args:
        places: Name to ``"module:Class"``.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._entries: dict[str, str | type[Method]] = dict(places)

    def __getitem__(self, name: str) -> type[Method]:
        entry = self._entries[name]
        if isinstance(entry, str):
            entry = self._entries[name] = pkgutil.resolve_name(entry)
        return entry

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __setitem__(self, name: str, method: type[Method]) -> None:
        self._entries[name] = method

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


#: Every one-shot optimizer by name; add one here and the command line, the tests and the docs know it.
METHODS = Methods(
    {
        "darts": "nas.oneshot.methods.darts:Darts",
        "darts_2nd": "nas.oneshot.methods.darts_2nd:DartsSecondOrder",
        "gdas": "nas.oneshot.methods.gdas:Gdas",
        "pc_darts": "nas.oneshot.methods.pc_darts:PcDarts",
        "enas": "nas.oneshot.methods.enas:Enas",
        "random_ws": "nas.oneshot.methods.random_ws:RandomWs",
    }
)
