"""The rows of a search space's architectures in a table, found without hashing any cell.

A hash takes tens of microseconds, and a lookup by index takes a few nanoseconds.  Therefore two things are
looked up: every architecture by its index, and every pruned cell of the spaces by its key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spaces import SearchSpace
from spaces.enumeration import Enumeration, enumerate_space


@dataclass(frozen=True)
class SpaceIndex:
    """Rows of a table, for the architectures of some search spaces.

    Attributes:
        rows_of_space: Numbers of parents of a space to [size] int32: the row of every encoded
            architecture, -1 if the table lacks the cell.
        keys: [K] int64, keys (``Cell.key``) of all pruned cells of these spaces, ascending.
        rows_of_key: [K] int32, rows of these cells, -1 if the table lacks the cell.
    """

    rows_of_space: Mapping[tuple[int, ...], npt.NDArray[np.int32]]
    keys: npt.NDArray[np.int64]
    rows_of_key: npt.NDArray[np.int32]

    @classmethod
    def empty(cls) -> SpaceIndex:
        """Makes the index of no space."""
        return cls({}, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32))

    def find(self, key: int) -> int | None:
        """Finds the row of a pruned cell: -1 if the table is known to lack it, None if the index lacks it."""
        position = self.keys.searchsorted(key)
        if position < len(self.keys) and self.keys[position] == key:
            return int(self.rows_of_key[position])
        return None


def index_spaces(
    spaces: Iterable[SearchSpace],
    cell_hashes: npt.NDArray[np.bytes_],
    enumerate_: Callable[[SearchSpace], Enumeration] = enumerate_space,
) -> SpaceIndex:
    """Finds every architecture of the spaces in a table.

    Args:
        spaces: Any search spaces; the largest of the paper's takes about two seconds.
        cell_hashes: [N] S16, hashes of the table's cells, ascending.
        enumerate_: Function that returns the enumeration of a space, for a caller that has enumerations.
    """
    rows_of_space, keys, rows_of_key = {}, [], []
    for space in spaces:
        enumeration = enumerate_(space)
        rows_of_hash = _find_all(enumeration.hash_bytes, cell_hashes)
        rows_of_space[space.n_parents] = rows_of_hash[enumeration.hash_of_index]
        keys.append(enumeration.keys)
        rows_of_key.append(rows_of_hash[enumeration.hash_of_key])
    if not keys:
        return SpaceIndex.empty()
    all_keys, first = np.unique(np.concatenate(keys), return_index=True)
    return SpaceIndex(rows_of_space, all_keys, np.concatenate(rows_of_key)[first])


def _find_all(wanted: npt.NDArray[np.bytes_], ascending: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int32]:
    """[len(wanted)] Position of each wanted hash in an ascending array, -1 if it is not there."""
    position = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return np.where(ascending[position] == wanted, position, -1).astype(np.int32)
