"""Measuring a table: trains every given cell at every budget, over several processes, resumably.

Every measured cell is one line of a journal (``results.journal``).  Therefore a measurement that was interrupted goes
on where it was; the cell of a torn last line is measured again.
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.datasets import Dataset, DatasetId, identify, load_dataset
from nas.tabular.contents import TableData
from nas.tabular.measured.network import CellNetwork
from nas.tabular.measured.training import BudgetResult, LabelledImages, train_cell
from nas.tabular.measured.training_spec import NetworkSize, TrainingSpec
from results import journal as journals
from results.atomic_file import write_atomically
from spaces import Cell
from spaces.cell import INPUT, OUTPUT


@dataclass(frozen=True)
class Measurement:
    """One cell, measured at every budget.

    Attributes:
        cell: Pruned cell, as it was trained.
        trainable_parameters: Number of parameters of one network.
        results: Budget to the results of its repeats.
        seconds: Processor seconds of the measurement, evaluation included.
    """

    cell: Cell
    trainable_parameters: int
    results: dict[int, BudgetResult]
    seconds: float

    def to_record(self) -> dict[str, Any]:
        """Turns the measurement into built-in types, for a line of the journal."""
        return {
            "hash": self.cell.hash,
            "adjacency": ["".join(map(str, row)) for row in self.cell.adjacency],
            "operations": list(self.cell.operations),
            "trainable_parameters": self.trainable_parameters,
            "budgets": {str(budget): asdict(result) for budget, result in self.results.items()},
            "seconds": round(self.seconds, 4),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Measurement:
        """Inverts ``to_record``.

        Raises:
            ValueError: A value is wrong, so the record is no measurement.
            KeyError: A field is missing.
            TypeError: A field has another type or is unknown.
        """
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


def read_journal(path: Path) -> Iterator[Measurement]:
    """Yields the measurements of a journal; skips a torn last line.

    Raises:
        ValueError: A complete line is no measurement.
    """
    for number, record in enumerate(journals.read(path), start=1):
        try:
            yield Measurement.from_record(record)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: the line is no measurement of `table measure` ({error}); "
                "give another --journal or remove the line"
            ) from None


def measure(
    cells: Sequence[Cell],
    dataset: str,
    spec: TrainingSpec,
    journal: Path,
    *,
    n_processes: int,
    data_dir: Path | str | None = None,
    on_measured: Callable[[Measurement], None] = lambda measurement: None,
) -> None:
    """Measures every cell that the journal lacks, and appends it.

    Args:
        cells: Distinct cells, in the order in which they are started.
        dataset: Key of ``nas.datasets.DATASETS``, or the path of an ``.npz`` file.
        spec: Settings of the training; an existing journal must have the same.
        journal: Path of the journal; created if missing.
        n_processes: Number of processes, with one thread each.
        data_dir: Folder of the data set's files; None for the default folder.
        on_measured: Callback in this process, after each cell is safely in the journal.

    Raises:
        ValueError: The journal was written with other settings, or the data set is wrong.
        concurrent.futures.process.BrokenProcessPool: A process was killed; call again to go on.
    """
    claim_journal(journal, identify(dataset, data_dir), spec)
    done = {measurement.cell.hash for measurement in read_journal(journal)}
    todo = [cell for cell in cells if cell.hash not in done]
    with ProcessPoolExecutor(
        n_processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_process,
        initargs=(dataset, data_dir, spec),
    ) as pool:
        for measurement in _as_finished(pool, todo, 2 * n_processes):
            journals.append(journal, measurement.to_record())
            on_measured(measurement)


def check_network_fits(data: Dataset, size: NetworkSize) -> None:
    """Raises ``ValueError`` if the network cannot take the images or has too few classes."""
    channels, height = data.parts["train"].pixels.shape[1:3]
    n_classes = data.n_classes
    if channels != size.image_channels or n_classes > size.n_classes:
        raise ValueError(
            f"--network.image-channels, --network.n-classes: got {size.image_channels} and {size.n_classes}, expected "
            f"{channels} and {n_classes} for these images"
        )
    if height // (size.stem_stride * 2 ** (size.n_stacks - 1)) < 1:
        raise ValueError(
            f"--network.n-stacks: {size.n_stacks} stacks and a stem of stride {size.stem_stride} leave no pixel of "
            f"{height}; give fewer stacks"
        )


def claim_journal(journal: Path, dataset: DatasetId, spec: TrainingSpec) -> None:
    """Ties a journal to its data set and its settings; raises ``ValueError`` if it has others already."""
    settings = journal.with_suffix(".settings.json")
    text = json.dumps({"dataset": dataset.key, "training": asdict(spec)}, indent=2) + "\n"
    if not settings.exists():
        journal.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(settings, text)
    elif settings.read_text() != text:
        raise ValueError(
            f"{journal}: this journal belongs to another data set or other training settings (see {settings}); "
            "give another --journal, or the same settings"
        )


def _as_finished(pool: ProcessPoolExecutor, cells: Iterable[Cell], ahead: int) -> Iterator[Measurement]:
    """Yields measurements as they finish; keeps ``ahead`` submitted, so an interruption loses little."""
    pending: set[Future[Measurement]] = set()
    for cell in cells:
        pending.add(pool.submit(_measure_here, cell))
        if len(pending) >= ahead:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
    yield from (future.result() for future in wait(pending).done)


_process: dict[str, Any] = {}


def _start_process(dataset: str, data_dir: Path | str | None, spec: TrainingSpec) -> None:
    torch.set_num_threads(1)
    data = LabelledImages.of(load_dataset(dataset, data_dir))
    # The first training of a process pays for torch's own set-up, which is no cell's training time.
    train_cell(Cell(((0, 1), (0, 0)), (INPUT, OUTPUT)), data, spec, budget=1)
    _process.update(data=data, spec=spec)


def _measure_here(cell: Cell) -> Measurement:
    return measure_cell(cell, _process["data"], _process["spec"])


def table_data(measurements: Sequence[Measurement], budgets: tuple[int, ...]) -> TableData:
    """Turns measurements into a table's arrays; accuracies are one minus errors."""

    def gathered(name: str) -> list[list[tuple[float, ...]]]:
        return [[getattr(m.results[budget], name) for m in measurements] for budget in budgets]

    return TableData.of_cells(
        [m.cell for m in measurements],
        budgets,
        [m.trainable_parameters for m in measurements],
        {
            "validation_accuracy": 1.0 - np.array(gathered("validation_error")),
            "test_accuracy": 1.0 - np.array(gathered("test_error")),
            "train_accuracy": 1.0 - np.array(gathered("train_error")),
            "training_time_s": np.array(gathered("training_time_s")),
        },
    )


def provenance(
    dataset: DatasetId, spec: TrainingSpec, measurements: Sequence[Measurement], command: str
) -> dict[str, Any]:
    """Records the origin of a table, so that a reader can judge and repeat it.

    Returns:
        Built-in types: command, data set, settings, numbers of cells and seconds, processor, versions, spread.
    """
    return {
        "command": command,
        **dataset.to_provenance(),
        "training": asdict(spec),
        "measured_cells": len(measurements),
        "processor_seconds": round(sum(m.seconds for m in measurements), 1),
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "scikit-learn", "torch")},
        "spread": {str(budget): asdict(spread(measurements, budget)) for budget in spec.budgets},
    }


@dataclass(frozen=True)
class Spread:
    """Spread of the test error between cells and between repeats.

    Attributes:
        mean: Mean over all cells and repeats.
        between_cells: Standard deviation, between cells, of the mean over the repeats.
        between_repeats: Standard deviation between repeats, as root mean square over the cells.
        best: Lowest mean over the repeats of any cell.
        worst: Highest mean over the repeats of any cell.
    """

    mean: float
    between_cells: float
    between_repeats: float
    best: float
    worst: float


def spread(measurements: Sequence[Measurement], budget: int) -> Spread:
    """Computes the spread at one budget; a deviation of too few values is 0."""
    errors = np.array([m.results[budget].test_error for m in measurements])  # [N, R]
    means = errors.mean(axis=1)
    return Spread(
        mean=float(means.mean()),
        between_cells=float(means.std(ddof=1)) if len(means) > 1 else 0.0,
        between_repeats=float(np.sqrt(errors.var(axis=1, ddof=1).mean())) if errors.shape[1] > 1 else 0.0,
        best=float(means.min()),
        worst=float(means.max()),
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
