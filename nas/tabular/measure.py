"""Measures a table: trains every given cell at every budget, over several processes, resumably.

Every measured cell is one line of a journal (JSON lines, appended and flushed), so a measurement that
was interrupted in any way goes on where it was, and a torn last line is measured again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nas.tabular.digits import load_digits_split
from nas.tabular.network import CellNetwork
from nas.tabular.training import BudgetResult, LabelledImages, TrainingSpec, train_cell
from spaces import Cell
from spaces.cell import INPUT, OUTPUT


@dataclass(frozen=True)
class Measurement:
    """One cell, measured at every budget.

    Attributes:
        cell: Pruned, as it was trained.
        trainable_parameters: Of one network.
        results: Budget to its results.
        seconds: Processor seconds that measuring took, evaluation included.
    """

    cell: Cell
    trainable_parameters: int
    results: dict[int, BudgetResult]
    seconds: float

    def to_line(self) -> str:
        """The journal's line, without its end."""
        record = {
            "hash": self.cell.hash,
            "adjacency": ["".join(map(str, row)) for row in self.cell.adjacency],
            "operations": list(self.cell.operations),
            "trainable_parameters": self.trainable_parameters,
            "budgets": {str(budget): asdict(result) for budget, result in self.results.items()},
            "seconds": round(self.seconds, 4),
        }
        return json.dumps(record, allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> Measurement:
        """The inverse of ``to_line``."""
        record = json.loads(line)
        cell = Cell.from_matrix([[int(v) for v in row] for row in record["adjacency"]], record["operations"])
        results = {
            int(budget): BudgetResult(**{name: tuple(values) for name, values in result.items()})
            for budget, result in record["budgets"].items()
        }
        return cls(cell, int(record["trainable_parameters"]), results, float(record["seconds"]))


def measure_cell(cell: Cell, data: LabelledImages, spec: TrainingSpec) -> Measurement:
    """Trains one cell at every budget of ``spec``."""
    started = time.process_time()
    pruned = cell.pruned
    results = {budget: train_cell(pruned, data, spec, budget) for budget in spec.budgets}
    parameters = CellNetwork(pruned, spec.network).n_parameters
    return Measurement(pruned, parameters, results, time.process_time() - started)


def digits_data(device: str = "cpu") -> LabelledImages:
    """The digits with the split of the embedded table."""
    digits = load_digits_split()
    return LabelledImages.from_arrays(
        digits.images, digits.labels, digits.train, digits.validation, digits.test, device
    )


def read_journal(path: Path) -> Iterator[Measurement]:
    """Yields what a journal holds; a torn last line is passed over.

    Raises:
        ValueError: A complete line is no measurement.
    """
    if not path.exists():
        return
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            yield Measurement.from_line(line.decode())
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: got no measurement ({error}), expected what `table measure` wrote; "
                "give another journal or remove the line"
            ) from None


def measure(
    cells: Sequence[Cell],
    load_data: Callable[[], LabelledImages],
    spec: TrainingSpec,
    journal: Path,
    *,
    n_processes: int,
    on_measured: Callable[[Measurement], None] = lambda measurement: None,
) -> None:
    """Measures every cell that the journal does not hold yet and appends it.

    Args:
        cells: Distinct cells, in the order in which they are started.
        load_data: Called once in every process; must be picklable, so a module-level function or partial.
        spec: Training; a journal must have been written with the same.
        journal: JSON lines; created where missing.
        n_processes: Processes of one thread each.
        on_measured: Called in this process after each cell is safely in the journal.

    Raises:
        ValueError: The journal was written with other settings.
        concurrent.futures.process.BrokenProcessPool: A process was killed; call again to go on.
    """
    _claim(journal, spec)
    done = {measurement.cell.hash for measurement in read_journal(journal)}
    todo = [cell for cell in cells if cell.hash not in done]
    with (
        journal.open("ab") as out,
        ProcessPoolExecutor(
            n_processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_process,
            initargs=(load_data, spec),
        ) as pool,
    ):
        for measurement in _as_finished(pool, todo, 2 * n_processes):
            out.write(measurement.to_line().encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())
            on_measured(measurement)


def _claim(journal: Path, spec: TrainingSpec) -> None:
    """Ties the journal to the training's settings and cuts a torn last line."""
    settings = journal.with_suffix(".settings.json")
    text = json.dumps(asdict(spec), indent=2)
    if settings.exists():
        if settings.read_text() != text:
            raise ValueError(
                f"{journal}: got a journal of other training settings (see {settings}), expected the same; "
                "give another journal, or the same settings"
            )
    else:
        journal.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(text)
    if journal.exists():
        with journal.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _as_finished(pool: ProcessPoolExecutor, cells: Iterable[Cell], ahead: int) -> Iterator[Measurement]:
    """Keeps ``ahead`` cells submitted, so that an interruption loses little."""
    pending: set[Future[Measurement]] = set()
    for cell in cells:
        pending.add(pool.submit(_measure_here, cell))
        if len(pending) >= ahead:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
    yield from (future.result() for future in wait(pending).done)


_process: dict[str, Any] = {}


def _start_process(load_data: Callable[[], LabelledImages], spec: TrainingSpec) -> None:
    torch.set_num_threads(1)
    data = load_data()
    # The first training of a process pays for torch's own set-up, which is no cell's training time.
    train_cell(Cell(((0, 1), (0, 0)), (INPUT, OUTPUT)), data, spec, budget=1)
    _process.update(data=data, spec=spec)


def _measure_here(cell: Cell) -> Measurement:
    return measure_cell(cell, _process["data"], _process["spec"])


def provenance(spec: TrainingSpec, measurements: Sequence[Measurement], command: str) -> dict[str, Any]:
    """What a reader needs to judge and to repeat a measurement: command, versions, processor, seconds."""
    return {
        "command": command,
        "training": asdict(spec),
        "cells": len(measurements),
        "processor_seconds": round(sum(m.seconds for m in measurements), 1),
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "scikit-learn", "torch")},
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
