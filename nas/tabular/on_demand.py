"""Cells that a measured table does not hold are trained when they are asked for, and kept.

They are kept in a journal of their own (a line a cell), in ``$NASBOHB_CACHE`` or the user's cache folder,
named by the table's settings, so that all runs and processes share them.  NAS-Bench-101 cannot be extended
this way: nobody has the machines it was measured on, and ``measuring`` hands it back as it is.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from nas.tabular.cache import cache_folder
from nas.tabular.errors import CellNotInTableError, UnknownBudgetError
from nas.tabular.table import Entry, Table
from nas.tabular.training_spec import TrainingSpec
from spaces import Cell

if TYPE_CHECKING:
    from nas.tabular.measure import Measurement

logger = logging.getLogger("nasbohb.table")


def measuring(table: Table) -> Table | MeasuringTable:
    """The table, able to measure what it lacks if this project measured it; any other as it is."""
    return MeasuringTable(table, cache_folder()) if can_measure(table) else table


def can_measure(table: Table) -> bool:
    """Whether the table says how it was measured, so that cells can be added to it."""
    return {"dataset", "training"} <= set(table.provenance)


class MeasuringTable:
    """A table that trains the cells that it lacks, as it was measured itself.

    Args:
        table: Measured by ``table measure``; its provenance says how.
        folder: Where newly measured cells are kept.
    """

    def __init__(self, table: Table, folder: Path) -> None:
        self.table = table
        settings = {name: table.provenance[name] for name in ("dataset", "training")}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
        self.journal = folder / f"{table.name}-{digest}.jsonl"
        self._kept: dict[str, Measurement] = {}
        self._read_bytes = 0

    def query(self, cell: Cell, budget: int | None = None) -> Entry:
        """As ``Table.query``, but measures a cell that is missing (seconds for the digits)."""
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
                logger.warning("%s: cannot be read (%s); what it may hold is measured again", self.journal, error)
        if cell.hash not in self._kept:
            self._measure(cell)
        return self._kept[cell.hash]

    def _read_new(self) -> None:
        """Reads what any process has appended since the last time, complete lines alone."""
        from nas.tabular.measure import Measurement

        if not self.journal.exists():
            return
        with self.journal.open("rb") as file:
            file.seek(self._read_bytes)
            content = file.read()
        complete = content[: content.rfind(b"\n") + 1]
        self._read_bytes += len(complete)
        for line in complete.splitlines():
            if not line:
                continue
            try:
                measurement = Measurement.from_line(line.decode())
            except (ValueError, KeyError, TypeError):
                # Torn by a full disk or a network's file system; the cell is simply measured again.
                logger.warning("%s: passed over a line that is no measurement", self.journal)
                continue
            self._kept.setdefault(measurement.cell.hash, measurement)

    def _measure(self, cell: Cell) -> None:
        from nas.tabular.datasets import load_labelled_images
        from nas.tabular.measure import measure_cell

        spec = TrainingSpec.from_dict(self.table.provenance["training"])
        logger.info("table %s lacks cell %s: measuring it, and keeping what comes out", self.table.name, cell.hash[:8])
        measurement = measure_cell(cell, load_labelled_images(self.table.provenance["dataset"]), spec)
        self._kept[cell.hash] = measurement
        try:
            self._keep(measurement)
        except OSError as error:
            logger.warning(
                "%s: cell %s was measured but cannot be kept (%s); let NASBOHB_CACHE name a folder that can be written",
                self.journal,
                cell.hash,
                error,
            )

    def _keep(self, measurement: Measurement) -> None:
        """Appends a measurement to the journal."""
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        # One write of one line in append mode, so that lines of several processes do not mix; the line break before
        # it ends whatever a process that was killed, or a full disk, left behind.
        line = f"\n{measurement.to_line()}\n".encode()
        descriptor = os.open(self.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            if os.write(descriptor, line) < len(line):
                raise OSError("it was written in part; is the disk full?")
        finally:
            os.close(descriptor)


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
