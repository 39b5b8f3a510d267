"""Assembling a table: sorts rows in any order into the arrays of a table."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from nas.tabular.contents import TableData, hash_text
from nas.tabular.errors import IncompleteTableError, WrongFileError
from nas.tabular.nasbench101.rows import METRICS, Rows
from spaces import Cell
from spaces.cell import unpack_key
from spaces.enumeration import on_a_path
from spaces.hashing import hash_cells

_CHECKED_CELLS = 1000


def assemble(parts: list[Rows]) -> TableData:
    """Sorts the rows of a file into a table.

    Rows of different cells may interleave.  The repeats of a cell keep their order of appearance.  A
    cell's graph and number of parameters are those of its first row, as in google-research/nasbench.

    Args:
        parts: Rows in the order of the file.  The list is emptied meanwhile, to halve the memory.

    Raises:
        IncompleteTableError: A cell lacks a budget or a repeat that others have.
        WrongFileError: A hash does not belong to its graph.
    """
    order, cell_of_row, hashes = _group_by_hash(np.concatenate([part.hashes for part in parts]))
    first_rows = order[np.flatnonzero(np.diff(cell_of_row[order], prepend=-1))]
    epochs = np.concatenate([part.epochs for part in parts])
    budgets = np.unique(epochs)
    slots, n_repeats = _place(order, cell_of_row, np.searchsorted(budgets, epochs), hashes, budgets)
    keys = np.concatenate([part.keys for part in parts])[first_rows]
    parameters = np.concatenate([part.trainable_parameters for part in parts])[first_rows]
    metrics = deque(part.metrics for part in parts)
    parts.clear()
    columns = _scatter(metrics, slots)
    data = TableData(
        budgets=tuple(budgets.tolist()),
        cell_hashes=hashes,
        cell_keys=_prune(keys),
        trainable_parameters=parameters,
        measurements={name: column.reshape(len(budgets), len(hashes), n_repeats) for name, column in columns.items()},
    )
    _check_hashes(data)
    return data


def _scatter(
    metrics: deque[npt.NDArray[np.float64]], slots: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[np.float64]]:
    """Writes each metric as an array of all rows, in the order of their slots; empties the queue."""
    columns: dict[str, npt.NDArray[np.float64]] = {name: np.empty(len(slots)) for name in METRICS}
    start = 0
    while metrics:
        rows = metrics.popleft()
        for k, column in enumerate(columns.values()):
            column[slots[start : start + len(rows)]] = rows[:, k]
        start += len(rows)
    return columns


def _group_by_hash(
    hashes: npt.NDArray[np.bytes_],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bytes_]]:
    """Numbers the distinct hashes.

    Returns:
        order: [m] Rows in ascending order of hashes; rows of the same hash in order of appearance.
        cell_of_row: [m] Number of each row's cell.
        distinct: [N] S16, distinct hashes, ascending.
    """
    words = hashes.view(">u8").reshape(-1, 2)
    high, low = words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)
    order = np.argsort(high, kind="stable")
    new_high, new_low = np.diff(high[order]) != 0, np.diff(low[order]) != 0
    if (new_low & ~new_high).any():  # two hashes with the same first half, which is rare
        order = np.lexsort((low, high))
        new_high, new_low = np.diff(high[order]) != 0, np.diff(low[order]) != 0
    cell_of_row = np.empty(len(hashes), dtype=np.int64)
    cell_of_row[order] = np.concatenate([[0], np.cumsum(new_high | new_low)])
    first = order[np.concatenate([[True], new_high | new_low])]
    return order, cell_of_row, hashes[first]


def _place(
    order: npt.NDArray[np.int64],
    cell_of_row: npt.NDArray[np.int64],
    budget_of_row: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.bytes_],
    budgets: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], int]:
    """Finds the position [m] of each row in a flattened array of [T, N, R], and R."""
    n_cells = len(hashes)
    counts = np.bincount(budget_of_row * n_cells + cell_of_row, minlength=len(budgets) * n_cells)
    n_repeats = int(counts.max())
    if counts.min() != n_repeats:
        budget, cell = divmod(int(counts.argmin()), n_cells)
        raise IncompleteTableError(
            f"cell {hash_text(hashes[cell])} at {budgets[budget]} epochs: got {counts.min()} repeats, expected "
            f"{n_repeats} as other cells have; the file is not whole, download it again"
        )
    slots = np.empty(len(order), dtype=np.int64)
    for budget in range(len(budgets)):
        rows = order[budget_of_row[order] == budget]
        slots[rows] = np.arange(len(rows)) + budget * len(rows)
    return slots, n_repeats


def _prune(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Prunes loose ends from cells given by their keys; the published files have none."""
    keys = keys.copy()
    vertices, edges, _ = unpack_key(keys)
    for n_vertices in np.unique(vertices).tolist():
        of_size = np.flatnonzero(vertices == n_vertices)
        whole = on_a_path(edges[of_size], n_vertices).all(axis=0)
        for i in of_size[~whole]:
            keys[i] = Cell.from_key(int(keys[i])).key
    return keys


def _check_hashes(data: TableData) -> None:
    """Checks the hashes of some graphs; hashing all of them would take longer than reading the file."""
    chosen = np.unique(np.linspace(0, len(data.cell_keys) - 1, _CHECKED_CELLS).astype(np.int64))
    expected = hash_cells(data.cell_keys[chosen])
    wrong = np.flatnonzero(expected != data.cell_hashes[chosen])
    if len(wrong):
        raise WrongFileError(
            f"cell {hash_text(data.cell_hashes[chosen[wrong[0]]])}: its graph has another hash, "
            f"{hash_text(expected[wrong[0]])}; give a file of NAS-Bench-101"
        )
