"""The contents of a table as arrays.

Notation:
    N: number of distinct cells (rows), in ascending order of their hashes.
    T: number of training budgets, in epochs, ascending.
    R: number of repeats (trainings with different seeds), in order of appearance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.tabular.errors import IncompleteTableError
from spaces import Cell

#: The measurements that every table has, each [T, N, R] float64: fractions in [0, 1], and seconds.
MEASUREMENTS = ("validation_accuracy", "test_accuracy", "train_accuracy", "training_time_s")


@dataclass(frozen=True)
class TableData:
    """The contents of a table as arrays, in memory or mapped from files.

    Attributes:
        budgets: [T] Epochs, ascending.
        cell_hashes: [N] S16, bytes of the cells' hashes, strictly ascending.
        cell_keys: [N] int64, key of one pruned cell per hash, see ``spaces.Cell.key``.
        trainable_parameters: [N] int64, number of parameters of a cell's network.
        measurements: [T, N, R] float64 each: ``MEASUREMENTS``, and perhaps others.

    Raises:
        IncompleteTableError: A shape, type or order differs from these.
    """

    budgets: tuple[int, ...]
    cell_hashes: npt.NDArray[np.bytes_]
    cell_keys: npt.NDArray[np.int64]
    trainable_parameters: npt.NDArray[np.int64]
    measurements: Mapping[str, npt.NDArray[np.float64]]

    def __post_init__(self) -> None:
        missing = [name for name in MEASUREMENTS if name not in self.measurements]
        if missing:
            raise IncompleteTableError(f"measurements: got {list(self.measurements)}, expected {missing} too")
        if not self.budgets or list(self.budgets) != sorted(set(self.budgets)):
            raise IncompleteTableError(f"budgets: got {self.budgets}, expected ascending numbers of epochs")
        n_cells, shape = len(self.cell_hashes), self.measurements[MEASUREMENTS[0]].shape
        if shape[:2] != (len(self.budgets), n_cells) or len(shape) != 3 or 0 in shape:
            raise IncompleteTableError(
                f"measurements: got shape {shape}, expected [{len(self.budgets)} budgets, {n_cells} cells, repeats]"
            )
        expected: dict[str, tuple[str, tuple[int, ...]]] = {
            "cell_hashes": ("S16", (n_cells,)),
            "cell_keys": ("<i8", (n_cells,)),
        }
        expected["trainable_parameters"] = ("<i8", (n_cells,))
        expected |= dict.fromkeys(self.measurements, ("<f8", shape))
        for name, array in self.arrays().items():
            if (array.dtype, array.shape) != (np.dtype(expected[name][0]), expected[name][1]):
                raise IncompleteTableError(
                    f"{name}: got {array.dtype} {array.shape}, expected {expected[name][0]} {expected[name][1]}"
                )

    @property
    def n_repeats(self) -> int:
        """R, the number of repeats."""
        return int(self.measurements[MEASUREMENTS[0]].shape[2])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Collects every array by name; the store's files have the same names."""
        return {
            "cell_hashes": self.cell_hashes,
            "cell_keys": self.cell_keys,
            "trainable_parameters": self.trainable_parameters,
            **self.measurements,
        }

    @classmethod
    def of_cells(
        cls,
        cells: Sequence[Cell],
        budgets: tuple[int, ...],
        trainable_parameters: npt.ArrayLike,
        measurements: Mapping[str, npt.ArrayLike],
    ) -> TableData:
        """Sorts cells in any order into a table.

        Args:
            cells: [N] Cells with N different hashes.
            budgets: [T] Epochs, ascending.
            trainable_parameters: [N] Number of parameters of each cell's network.
            measurements: [T, N, R] Values of each measurement, by name.

        Raises:
            IncompleteTableError: Two cells have the same hash, or a shape is wrong.
        """
        hashes = np.array([bytes.fromhex(cell.hash) for cell in cells], dtype="S16")
        order = np.argsort(hashes)
        repeated = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        if len(repeated):
            raise IncompleteTableError(
                f"cells: got {cells[order[repeated[0]]].hash} twice, expected each cell once; drop the isomorphs"
            )
        return cls(
            budgets=budgets,
            cell_hashes=hashes[order],
            cell_keys=np.array([cell.key for cell in cells], dtype=np.int64)[order],
            trainable_parameters=np.asarray(trainable_parameters, dtype=np.int64)[order],
            measurements={k: np.asarray(v, dtype=np.float64)[:, order] for k, v in measurements.items()},
        )


def hash_bytes(cell_hash: str) -> bytes | None:
    """Reads the 16 bytes of a hash written as 32 hexadecimal digits; None for any other text."""
    try:
        value = bytes.fromhex(cell_hash)
    except ValueError:
        return None
    return value if len(value) == 16 else None


def hash_text(value: bytes) -> str:
    """Writes a hash as 32 hexadecimal digits; restores trailing zero bytes, which NumPy drops from single items."""
    return value.ljust(16, b"\0").hex()
