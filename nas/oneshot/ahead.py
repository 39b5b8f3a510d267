"""Chance drawn ahead: on the CPU by the search's own generators, in order, and read on the device step by step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Ahead:
    """A queue of tensors on the device.

    It is filled at once and read one entry at a time.  The position is a tensor too: a step that was captured in a
    graph reads the next entry whenever it is replayed.  A refill with as many entries keeps the buffers' addresses.

    Args:
        device: Where the entries are read.
    """

    def __init__(self, device: torch.device) -> None:
        self._position = torch.zeros(1, dtype=torch.long, device=device)
        self._columns: list[Tensor] = []

    def fill(self, entries: Sequence[Sequence[Tensor]]) -> None:
        """Replaces what is left.

        Args:
            entries: [n] entries, at least one; each of the same number of tensors, of the same shapes and types.
        """
        columns = [torch.stack(list(values)) for values in zip(*entries, strict=True)]
        if [(c.shape, c.dtype) for c in columns] != [(c.shape, c.dtype) for c in self._columns]:
            self._columns = [torch.empty_like(c, device=self._position.device) for c in columns]
        for own, column in zip(self._columns, columns, strict=True):
            own.copy_(column)
        self._position.zero_()

    def next(self) -> list[Tensor]:
        """The next entry."""
        entry = [column.index_select(0, self._position)[0] for column in self._columns]
        self._position.add_(1)
        return entry
