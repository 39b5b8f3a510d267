"""Measuring on demand: a cell that a measured table lacks is trained when it is asked for, and kept.

Such cells are kept in a journal, one line per cell, in ``$NASBOHB_CACHE`` or the user's cache folder.  The table's
data set and settings determine the journal's name, so all runs and processes share it.  NAS-Bench-101 cannot be
extended in this way, because nobody has the machines that measured it; ``measuring`` returns it unchanged.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cache import cache_folder
from nas.datasets import load_dataset
from nas.tabular.errors import CellNotInTableError, UnknownBudgetError
from nas.tabular.matching import check_same_dataset
from nas.tabular.measured.training_spec import TrainingSpec
from nas.tabular.table import Entry, Table
from results.journal import append_shared, read_shared
from spaces import Cell

if TYPE_CHECKING:
    from nas.tabular.measured.measure import Measurement

logger = logging.getLogger("nasbohb.table")


def measuring(table: Table, dataset: str | None = None, data_dir: Path | str | None = None) -> Table | MeasuringTable:
    """Lets a table measure the cells that it lacks, if this project measured it; returns any other table unchanged.

    Args:
        table: The table.
        dataset: Present place of the table's data set: a key of ``nas.datasets.DATASETS``, or the path of an ``.npz``
            file. None for its place when the table was measured.
        data_dir: Folder of the data set's files; None for the default folder.
    """
    return MeasuringTable(table, cache_folder(), dataset, data_dir) if can_measure(table) else table


def can_measure(table: Table) -> bool:
    """Whether the table states how it was measured, so that cells can be added to it."""
    return {"dataset", "training"} <= set(table.provenance)


class MeasuringTable:
    """A table that measures the cells that it lacks, with the table's own settings.

    Args:
        table: Table written by ``table measure``; its provenance states the settings.
        folder: Folder of the journal of newly measured cells.
        dataset: Present place of the table's data set, see ``measuring``.
        data_dir: Folder of the data set's files, see ``measuring``.
    """

    def __init__(
        self, table: Table, folder: Path, dataset: str | None = None, data_dir: Path | str | None = None
    ) -> None:
        assert table.dataset is not None, "can_measure"
        self.table = table
        self._dataset, self._data_dir = dataset or table.dataset.name, data_dir
        settings = {"dataset": table.dataset.key, "training": table.provenance["training"]}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
        self.journal = folder / f"{table.name}-{digest}.jsonl"
        self._kept: dict[str, Measurement] = {}
        self._read_bytes = 0

    def query(self, cell: Cell, budget: int | None = None) -> Entry:
        """Answers like ``Table.query``, but measures a cell that is missing (seconds for the digits)."""
        budget = self.table.budgets[-1] if budget is None else budget
        if budget not in self.table.budgets:
            raise UnknownBudgetError(
                f"table {self.table.name}: got a budget of {budget} epochs, expected one of {list(self.table.budgets)}"
            )
        try:
            return self.table.query(cell, budget)
        except CellNotInTableError:
            return _entry(self._measured(cell), budget)

    def _measured(self, cell: Cell) -> Measurement:
        if cell.hash not in self._kept:
            try:
                self._read_new()
            except OSError as error:
                logger.warning("%s: cannot be read (%s); the cell is measured again", self.journal, error)
        if cell.hash not in self._kept:
            self._measure(cell)
        return self._kept[cell.hash]

    def _read_new(self) -> None:
        """Reads the lines that any process has appended since the last reading."""
        from nas.tabular.measured.measure import Measurement

        lines = read_shared(self.journal, self._read_bytes)
        self._read_bytes = lines.end
        n_others = lines.n_torn
        for record in lines.records:
            try:
                measurement = Measurement.from_record(record)
            except (ValueError, KeyError, TypeError):
                n_others += 1
                continue
            self._kept.setdefault(measurement.cell.hash, measurement)
        if n_others:  # torn by a full disk or a network's file system: such a cell is simply measured again
            logger.warning("%s: skipped %d lines that are no measurement", self.journal, n_others)

    def _measure(self, cell: Cell) -> None:
        from nas.tabular.measured.measure import measure_cell
        from nas.tabular.measured.training import LabelledImages

        dataset = load_dataset(self._dataset, self._data_dir)
        check_same_dataset(self.table, dataset.id)
        spec = TrainingSpec.from_dict(self.table.provenance["training"])
        logger.info("table %s lacks cell %s: measuring and keeping it", self.table.name, cell.hash[:8])
        measurement = measure_cell(cell, LabelledImages.of(dataset), spec)
        self._kept[cell.hash] = measurement
        try:
            self.journal.parent.mkdir(parents=True, exist_ok=True)
            append_shared(self.journal, measurement.to_record())
        except OSError as error:
            logger.warning(
                "%s: cell %s was measured but cannot be kept (%s); set NASBOHB_CACHE to a folder that can be written",
                self.journal,
                cell.hash,
                error,
            )


def _entry(measurement: Measurement, budget: int) -> Entry:
    result = measurement.results[budget]
    return Entry(
        cell_hash=measurement.cell.hash,
        budget=budget,
        validation_error=result.validation_error,
        test_error=result.test_error,
        training_time_s=result.training_time_s,
        trainable_parameters=measurement.trainable_parameters,
    )
