"""Tables of the results of cells that were trained by themselves; a look-up replaces the training.

Errors are fractions in [0, 1]; times are seconds; a budget is a number of epochs.  ``nas.tabular.contents``
defines N, T and R.

Source: Ying et al. (2019), *NAS-Bench-101*, section 2: every cell is trained three times at each of
four budgets.  The paper this project implements averages the three.

Differs from the original: google-research/nasbench answers with one of the three repeats, drawn with
the process-wide random generator; here an answer holds all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.datasets import DatasetId, fingerprint
from nas.tabular.contents import TableData, hash_bytes, hash_text
from nas.tabular.errors import CellNotInTableError, UnknownBudgetError
from nas.tabular.index import SpaceIndex, index_spaces
from spaces import Cell, InvalidCellError, SearchSpace


@dataclass(frozen=True)
class Entry:
    """A table's answer for one cell at one budget.

    Attributes:
        cell_hash: Hash of the cell, 32 hexadecimal digits.
        budget: Epochs of training.
        validation_error: [R] Validation error of each repeat.
        test_error: [R] Test error of each repeat.
        training_time_s: [R] Seconds of training of each repeat.
        trainable_parameters: Number of parameters of the whole network.
    """

    cell_hash: str
    budget: int
    validation_error: tuple[float, ...]
    test_error: tuple[float, ...]
    training_time_s: tuple[float, ...]
    trainable_parameters: int

    @property
    def mean_validation_error(self) -> float:
        return _mean(self.validation_error)

    @property
    def mean_test_error(self) -> float:
        return _mean(self.test_error)

    @property
    def mean_training_time_s(self) -> float:
        return _mean(self.training_time_s)


def _mean(values: tuple[float, ...]) -> float:
    """Averages values, added up one by one as NumPy does for so few; ``sum`` of newer Pythons rounds differently."""
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


@dataclass(frozen=True)
class BatchEntries:
    """The results of n architectures at one budget.

    Attributes:
        validation_error: [n, R] Validation error of each repeat.
        test_error: [n, R] Test error of each repeat.
        training_time_s: [n, R] Seconds of training of each repeat.
        rows: [n] Row of each cell in the table; isomorphs share one.
    """

    validation_error: npt.NDArray[np.float64]
    test_error: npt.NDArray[np.float64]
    training_time_s: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int32]

    @property
    def mean_validation_error(self) -> npt.NDArray[np.float64]:
        """[n] Mean over the repeats."""
        return np.asarray(self.validation_error.mean(axis=1))

    @property
    def mean_test_error(self) -> npt.NDArray[np.float64]:
        """[n] Mean over the repeats."""
        return np.asarray(self.test_error.mean(axis=1))

    @property
    def mean_training_time_s(self) -> npt.NDArray[np.float64]:
        """[n] Mean over the repeats."""
        return np.asarray(self.training_time_s.mean(axis=1))


class Table:
    """A table: the results of its cells at each of its budgets.

    Args:
        name: Name of the table in messages.
        data: Contents of the table; the arrays may be mapped from files.
        provenance: Origin of the numbers, as built-in types.
        index: Rows of the architectures of some spaces; other spaces are looked up when first asked for.
    """

    def __init__(
        self,
        name: str,
        data: TableData,
        *,
        provenance: Mapping[str, Any] | None = None,
        index: SpaceIndex | None = None,
    ) -> None:
        self.name = name
        self.provenance = dict(provenance or {})
        self._data = data
        self._index = index or SpaceIndex.empty()
        self._rows_of_space = dict(self._index.rows_of_space)
        self._budget_position = {budget: i for i, budget in enumerate(data.budgets)}
        self._best_test_error: dict[tuple[tuple[int, ...] | None, int, bool], float] = {}

    @property
    def dataset(self) -> DatasetId | None:
        """The data set on which the cells were trained; None where the table does not state it."""
        return DatasetId.from_provenance(self.provenance)

    @property
    def sha256(self) -> str:
        """Fingerprint of the contents, wherever the table lies; takes some tenths of a second for NAS-Bench-101."""
        return fingerprint({"budgets": np.array(self.budgets), **self._data.arrays()})

    @property
    def budgets(self) -> tuple[int, ...]:
        """[T] Epochs, ascending."""
        return self._data.budgets

    @property
    def n_repeats(self) -> int:
        """R, the number of trainings behind each budget of each cell."""
        return self._data.n_repeats

    @property
    def data(self) -> TableData:
        """The contents as arrays, for a caller that needs more than single answers."""
        return self._data

    def __len__(self) -> int:
        """N, the number of distinct cells."""
        return len(self._data.cell_hashes)

    def __contains__(self, cell: object) -> bool:
        """Whether the table has a row for the cell, isomorphs and loose ends included."""
        if not isinstance(cell, Cell):
            return False
        try:
            return self._find(cell) >= 0
        except InvalidCellError:
            return False

    def cells(self) -> list[Cell]:
        """[N] One pruned cell per hash, in ascending order of the hashes."""
        return [Cell.from_key(key) for key in self._data.cell_keys.tolist()]

    def query(self, cell: Cell, budget: int | None = None) -> Entry:
        """Looks up all repeats of a cell.

        Args:
            cell: Any cell; isomorphic cells, and cells that differ in loose ends alone, have the same answer.
            budget: Epochs of training; None for the largest budget of the table.

        Raises:
            CellNotInTableError: The table lacks the cell.
            UnknownBudgetError: The table lacks the budget.
            InvalidCellError: No path leads from the cell's input to its output, or the cell is too large for
                NAS-Bench-101.
        """
        position = self._position(budget)
        row = self._find(cell)
        if row < 0:
            raise self._not_in_table(cell.hash)
        return self._entry(row, position)

    def query_hash(self, cell_hash: str, budget: int | None = None) -> Entry:
        """Looks up all repeats of the cell with this hash; raises the errors of ``query``, and ``ValueError``."""
        position = self._position(budget)
        row = self._find_hash(cell_hash)
        if row < 0:
            raise self._not_in_table(cell_hash)
        return self._entry(row, position)

    def query_indices(self, space: SearchSpace, indices: npt.ArrayLike, budget: int | None = None) -> BatchEntries:
        """Looks up all repeats of many architectures at once.

        Args:
            space: Search space of the indices.
            indices: [n] Encoded architectures, see ``SearchSpace.encode``.
            budget: Epochs of training; None for the largest budget of the table.

        Raises:
            CellNotInTableError: The table lacks one of the cells.
            ValueError: An index lies outside the space, or the budget is unknown.
        """
        position = self._position(budget)
        indices = np.asarray(indices)
        if indices.shape == (0,):
            indices = indices.astype(np.int64)  # of an empty list NumPy makes floating-point numbers
        if indices.ndim != 1 or indices.dtype.kind not in "iu":
            raise ValueError(
                f"indices: got {indices.dtype} of shape {indices.shape}, expected a vector of integers; "
                "encode architectures with SearchSpace.encode"
            )
        space.check_indices(indices)
        rows = self._rows(space).take(indices)
        if rows.size and rows.min() < 0:
            raise self._not_in_table(space.cell_of(int(indices[rows.argmin()])).hash)
        measurements = self._data.measurements
        return BatchEntries(
            validation_error=1.0 - measurements["validation_accuracy"][position].take(rows, axis=0),
            test_error=1.0 - measurements["test_accuracy"][position].take(rows, axis=0),
            training_time_s=measurements["training_time_s"][position].take(rows, axis=0),
            rows=rows,
        )

    def best_test_error(
        self, space: SearchSpace | None, budget: int | None = None, *, of_single: bool = False
    ) -> float:
        """Finds the lowest mean test error of any cell, from which the regret is measured.

        Args:
            space: Search space whose cells in the table count; None for all cells of the table.
            budget: Epochs of training; None for the largest budget of the table.
            of_single: Whether single trainings count in place of means, as in the public code of NAS-Bench-1Shot1.

        Raises:
            CellNotInTableError: The table holds no cell of the space.
            UnknownBudgetError: The table lacks the budget.
        """
        position = self._position(budget)
        key = (None if space is None else space.n_parents, position, of_single)
        if key not in self._best_test_error:
            accuracy = self._data.measurements["test_accuracy"][position]
            if space is not None:
                rows = np.unique(self._rows(space))
                accuracy = accuracy[rows[rows >= 0]]
                if not len(accuracy):
                    raise CellNotInTableError(
                        f"table {self.name}: the table holds no cell of search space {space.name}; "
                        "choose another table or another space"
                    )
            errors = 1.0 - accuracy
            self._best_test_error[key] = float((errors if of_single else errors.mean(axis=1)).min())
        return self._best_test_error[key]

    def coverage(self, space: SearchSpace) -> tuple[int, int]:
        """Counts the architectures of a space that the table holds, and all of them."""
        return int((self._rows(space) >= 0).sum()), space.size

    def _position(self, budget: int | None) -> int:
        if budget is None:
            return len(self.budgets) - 1
        position = self._budget_position.get(budget)
        if position is None:
            raise UnknownBudgetError(
                f"table {self.name}: got a budget of {budget} epochs, expected one of {list(self.budgets)}"
            )
        return position

    def _find(self, cell: Cell) -> int:
        """Finds the row of a cell, -1 if there is none; only cells outside the index are hashed, which is slow."""
        row = self._index.find(cell.key)
        return self._find_hash(cell.hash) if row is None else row

    def _find_hash(self, cell_hash: str) -> int:
        value, hashes = hash_bytes(cell_hash), self._data.cell_hashes
        if value is None:
            raise ValueError(f"cell hash: got {cell_hash!r}, expected 32 hexadecimal digits, as Cell.hash gives them")
        row = int(hashes.searchsorted(np.bytes_(value)))
        return row if row < len(hashes) and hash_text(hashes[row]) == value.hex() else -1

    def _rows(self, space: SearchSpace) -> npt.NDArray[np.int32]:
        """[size] Row of every architecture of a space, -1 if the table lacks it."""
        if space.n_parents not in self._rows_of_space:
            self._rows_of_space |= index_spaces([space], self._data.cell_hashes).rows_of_space
        return self._rows_of_space[space.n_parents]

    def _entry(self, row: int, position: int) -> Entry:
        data = self._data
        measurements = data.measurements
        return Entry(
            cell_hash=hash_text(data.cell_hashes[row]),
            budget=data.budgets[position],
            validation_error=tuple([1.0 - v for v in measurements["validation_accuracy"][position, row].tolist()]),
            test_error=tuple([1.0 - v for v in measurements["test_accuracy"][position, row].tolist()]),
            training_time_s=tuple(measurements["training_time_s"][position, row].tolist()),
            trainable_parameters=int(data.trainable_parameters[row]),
        )

    def _not_in_table(self, cell_hash: str) -> CellNotInTableError:
        return CellNotInTableError(
            f"table {self.name}: cell {cell_hash} is none of its {len(self)} cells; "
            "choose a table that covers the search space, or measure the cell"
        )
