"""Measuring a table: trains every given cell at every budget, over several processes, resumably.

Every measured cell is one line of a journal (``results.journal``), so a measurement that was interrupted in any way
goes on where it was, and a torn last line is measured again.
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
        cell: Pruned, as it was trained.
        trainable_parameters: Of one network.
        results: Budget to its results.
        seconds: Processor seconds that measuring took, evaluation included.
    """

    cell: Cell
    trainable_parameters: int
    results: dict[int, BudgetResult]
    seconds: float

    def to_record(self) -> dict[str, Any]:
        """The journal's line, as built-in types."""
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
        """The inverse of ``to_record``.

        Raises:
            ValueError: The record is no measurement; so are KeyError and TypeError.
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
    """Yields what a journal holds; a torn last line is passed over.

    Raises:
        ValueError: A complete line is no measurement.
    """
    for number, record in enumerate(journals.read(path), start=1):
        try:
            yield Measurement.from_record(record)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: got no measurement ({error}), expected what `table measure` wrote; "
                "give another journal or remove the line"
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
    """Measures every cell that the journal does not hold yet and appends it.

    Args:
        cells: Distinct cells, in the order in which they are started.
        dataset: Key of ``nas.datasets.DATASETS``, or the path of an ``.npz`` file.
        spec: Training; a journal must have been written with the same.
        journal: JSON lines; created where missing.
        n_processes: Processes of one thread each.
        data_dir: Folder of the data set's files; None for where it lies by default.
        on_measured: Called in this process after each cell is safely in the journal.

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
    """Raises ``ValueError`` where the network cannot take the images or lacks a label."""
    channels, height = data.parts["train"].pixels.shape[1:3]
    n_classes = data.n_classes
    if channels != size.image_channels or n_classes > size.n_classes:
        raise ValueError(
            f"network: got {size.image_channels} image channels and {size.n_classes} classes, expected {channels} and "
            f"{n_classes} for these images; give --network.image-channels and --network.n-classes"
        )
    if height // (size.stem_stride * 2 ** (size.n_stacks - 1)) < 1:
        raise ValueError(
            f"network: got {size.n_stacks} stacks and a stem of stride {size.stem_stride}, expected at least one pixel "
            f"left of {height}; give fewer --network.n-stacks"
        )


def claim_journal(journal: Path, dataset: DatasetId, spec: TrainingSpec) -> None:
    """Ties a journal to its data set and its settings; raises ``ValueError`` where it has others."""
    settings = journal.with_suffix(".settings.json")
    text = json.dumps({"dataset": dataset.key, "training": asdict(spec)}, indent=2) + "\n"
    if not settings.exists():
        journal.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(settings, text)
    elif settings.read_text() != text:
        raise ValueError(
            f"{journal}: got a journal of another data set or other training settings (see {settings}), expected the "
            "same; give another journal, or the same settings"
        )


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


def _start_process(dataset: str, data_dir: Path | str | None, spec: TrainingSpec) -> None:
    torch.set_num_threads(1)
    data = LabelledImages.of(load_dataset(dataset, data_dir))
    # The first training of a process pays for torch's own set-up, which is no cell's training time.
    train_cell(Cell(((0, 1), (0, 0)), (INPUT, OUTPUT)), data, spec, budget=1)
    _process.update(data=data, spec=spec)


def _measure_here(cell: Cell) -> Measurement:
    return measure_cell(cell, _process["data"], _process["spec"])


def table_data(measurements: Sequence[Measurement], budgets: tuple[int, ...]) -> TableData:
    """The measurements as a table's arrays; accuracies are one minus errors."""

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
    """What a reader needs to judge and to repeat a measurement: command, settings, versions, processor, seconds."""
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
    """Whether cells differ by more than repeats do, in test error.

    Attributes:
        mean: Over all cells and repeats.
        between_cells: Standard deviation of the cells' means over the repeats.
        between_repeats: Root mean square over the cells of the repeats' standard deviation.
        best: Lowest mean over the repeats.
        worst: Highest mean over the repeats.
    """

    mean: float
    between_cells: float
    between_repeats: float
    best: float
    worst: float


def spread(measurements: Sequence[Measurement], budget: int) -> Spread:
    """The spreads at one budget; 0 where there are too few values for one."""
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
