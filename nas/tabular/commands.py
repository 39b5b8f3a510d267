"""The commands of ``run_bohb.py table``."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from nas.tabular import TABLES, Table, TableError, open_table
from nas.tabular.errors import TableNotFoundError
from nas.tabular.measured.training_spec import TrainingSpec
from nas.tabular.table import Entry
from spaces import SEARCH_SPACES, Cell, SearchSpace


@dataclass(frozen=True)
class Import:
    """Import a TFRecord of NAS-Bench-101 into a compact table, and verify every checksum.

    Attributes:
        source: Path of nasbench_full.tfrecord or nasbench_only108.tfrecord.
        target: Directory to create.
        processes: Number of processes; by default one per processor.
    """

    source: Annotated[Path, tyro.conf.Positional]
    target: Annotated[Path, tyro.conf.Positional] = Path("data") / "nasbench101.table"
    processes: int | None = None

    def run(self) -> int:
        """Imports the file, with a progress bar."""
        from nas.tabular.nasbench101.importing import import_tfrecord

        self.target.parent.mkdir(parents=True, exist_ok=True)
        with _bytes_bar("importing") as progress:
            report = import_tfrecord(self.source, self.target, n_processes=self.processes, progress=progress)
        print(
            f"{self.target}: {report.cells:,} cells, budgets {list(report.budgets)}, {report.repeats} repeats, "
            f"from {report.rows:,} rows in {report.seconds:.1f} s ({report.store_bytes / 1e6:,.0f} MB)"
        )
        return 0


@dataclass(frozen=True)
class Download:
    """Download a file of NAS-Bench-101 from its official address and verify it; a broken download can be resumed.

    Attributes:
        file: File to download: only108 (499 MB: 108 epochs, enough for the paper) or full (1.95 GB: 4, 12, 36 and 108
            epochs).
        directory: Directory for the file; created if missing.
    """

    file: Annotated[Literal["only108", "full"], tyro.conf.Positional] = "only108"
    directory: Annotated[Path, tyro.conf.Positional] = Path("data")

    def run(self) -> int:
        """Downloads the file, with a progress bar."""
        from nas.tabular.nasbench101.download import NASBENCH101_FILES, download

        self.directory.mkdir(parents=True, exist_ok=True)
        with _bytes_bar("downloading") as progress:
            path = download(NASBENCH101_FILES[self.file], self.directory, progress=progress)
        print(f"{path}: complete and verified; import it with `run_bohb.py table import {path}`")
        return 0


@dataclass(frozen=True)
class Info:
    """Describe the contents of a table and the origin of its numbers.

    Attributes:
        table: Name of a table (digits, nasbench101), or path of its directory; by default every named table.
    """

    table: Annotated[str | None, tyro.conf.Positional] = None

    def run(self) -> int:
        """Prints one paragraph per table."""
        for name in [self.table] if self.table else TABLES:
            try:
                table = open_table(name)
            except TableNotFoundError as error:
                if self.table:
                    raise
                print(f"{name}: not here ({error})\n")
                continue
            print("\n".join(_describe(name, table)) + "\n")
        return 0


@dataclass(frozen=True)
class Query:
    """Look up one cell: by its hash, by its number in a search space, or by its graph.

    Attributes:
        table: Name of a table (digits, nasbench101), or path of its directory.
        hash: Hash of the cell, 32 hexadecimal digits.
        search_space: Search space of the index.
        index: Index of the architecture in the search space, as in results files.
        adjacency: Rows of the graph's adjacency matrix in 0 and 1, for example 011 001 000.
        operations: Operations of the interior vertices, for example conv3x3-bn-relu.
        budget: Epochs of training; by default every budget of the table.
        measure: Training of the cell now, if the table lacks it and was measured by this program.
        data_dir: Folder of the table's data set, if it has moved.
    """

    table: Annotated[str, tyro.conf.Positional] = "digits"
    hash: str | None = None
    search_space: str = "1"
    index: int | None = None
    adjacency: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    budget: int | None = None
    measure: bool = False
    data_dir: Path | None = None

    def run(self) -> int:
        """Prints all repeats and their means."""
        from nas.tabular.measured.on_demand import measuring

        if sum((self.hash is not None, self.index is not None, bool(self.adjacency))) != 1:
            raise TableError("query: give exactly one of --hash, --index and --adjacency")
        table = open_table(self.table)
        budgets = table.budgets if self.budget is None else (self.budget,)
        if self.hash is not None:
            entries = [table.query_hash(self.hash, budget) for budget in budgets]
        else:
            cell = self._cell()
            source = measuring(table, data_dir=self.data_dir) if self.measure else table
            entries = [source.query(cell, budget) for budget in budgets]
        print("\n".join(_entry_lines(entries)))
        return 0

    def _cell(self) -> Cell:
        if self.index is not None:
            space = _find_space(self.search_space)
            return space.cell_of(self.index)
        wrong = [row for row in self.adjacency if set(row) - set("01")]
        if wrong:
            raise TableError(f"--adjacency: got row {wrong[0]!r}, expected only 0 and 1")
        rows = [[int(value) for value in row] for row in self.adjacency]
        return Cell.from_matrix(rows, ["input", *self.operations, "output"])


@dataclass(frozen=True)
class Measure:
    """Measure a table: train every distinct cell of a search space, on the digits or on images of your own.

    The measurement can be stopped at any time; give the same command again to go on from its journal.

    Attributes:
        target: Directory to create for the table, for example data/own.table.
        dataset: Data set to train on: digits, cifar10, or an .npz file with images [N, C, S, S], labels, and indices
            train, validation, test.
        data_dir: Folder of the data set's files; by default ./data for cifar10, and the .npz file's own folder.
        search_space: Search space whose cells are trained.
        training: Network size, optimizer and budgets.
        processes: Number of processes; by default one per processor.
        journal: Journal that keeps each measured cell at once; by default beside the target.
        name: Name of the table in messages; by default the target's name.
        limit: Number of cells to train, the first ones in the order of their hashes (for a trial run); by default all.
    """

    target: Annotated[Path, tyro.conf.Positional]
    dataset: str = "digits"
    data_dir: Path | None = None
    search_space: str = "1"
    training: Annotated[TrainingSpec, tyro.conf.arg(name="")] = field(default_factory=TrainingSpec)
    processes: int | None = None
    journal: Path | None = None
    name: str | None = None
    limit: int | None = None

    def run(self) -> int:
        """Measures the cells that are missing, then writes the table."""
        from nas.datasets import load_dataset, locate
        from nas.tabular.measured.measure import (
            Measurement,
            check_network_fits,
            measure,
            provenance,
            read_journal,
            table_data,
        )
        from nas.tabular.store import check_target, write_store
        from spaces.enumeration import enumerate_space

        spec = replace(self.training, budgets=tuple(sorted(set(self.training.budgets))))
        space = _find_space(self.search_space)
        cells = enumerate_space(space).distinct_cells()[: self.limit]
        name, data_dir = locate(self.dataset, self.data_dir)
        dataset = load_dataset(name, data_dir)
        check_network_fits(dataset, spec.network)  # told here, not by each process
        self.target.parent.mkdir(parents=True, exist_ok=True)
        check_target(self.target, 0)
        journal = self.journal or self.target.with_name(f"{self.target.name}.jsonl")
        wanted = {cell.hash for cell in cells}
        done = sum(1 for m in read_journal(journal) if m.cell.hash in wanted)
        with tqdm(total=len(cells), initial=done, unit="cell", desc="measuring", disable=None) as bar:

            def show(measurement: Measurement) -> None:
                bar.update()

            processes = self.processes or os.cpu_count() or 1
            try:
                measure(cells, name, spec, journal, n_processes=processes, data_dir=data_dir, on_measured=show)
            except BrokenProcessPool:
                raise TableError(
                    f"measuring: one of {processes} processes was killed, perhaps for lack of memory; "
                    "give the same command again to go on, perhaps with fewer --processes"
                ) from None
        measured = [m for m in read_journal(journal) if m.cell.hash in wanted]
        origin = provenance(dataset.id, spec, measured, " ".join(["run_bohb.py", *sys.argv[1:]]))
        write_store(
            self.target,
            table_data(measured, spec.budgets),
            name=self.name or self.target.stem,
            provenance=origin,
            index=[space],
        )
        print("\n".join(_describe(str(self.target), open_table(self.target))))
        return 0


#: The commands below ``table``.
COMMANDS = {"import": Import, "download": Download, "info": Info, "query": Query, "measure": Measure}


def _find_space(name: str) -> SearchSpace:
    if name not in SEARCH_SPACES:
        raise TableError(f"--search-space: got {name!r}, expected one of {list(SEARCH_SPACES)}")
    return SEARCH_SPACES[name]


def _describe(name: str, table: Table) -> Iterator[str]:
    """Describes a table in a few lines: size, coverage of the search spaces, best cells, provenance."""
    yield f"{name}: {len(table):,} cells, budgets {list(table.budgets)} epochs, {table.n_repeats} repeats"
    for space in SEARCH_SPACES.values():
        held, size = table.coverage(space)
        if held:
            best = table.best_test_error(space)
            share = "every architecture" if held == size else f"{held:,} of {size:,} architectures"
            yield f"  search space {space.name}: {share}; lowest mean test error {best:.4f}"
    for budget, spread in table.provenance.get("spread", {}).items():
        yield (
            f"  test error at {budget:>3} epochs: mean {spread['mean']:.4f}, "
            f"between cells ±{spread['between_cells']:.4f}, between repeats ±{spread['between_repeats']:.4f}"
        )
    for key, value in table.provenance.items():
        if key != "spread":
            yield f"  {key}: {value}"


def _entry_lines(entries: list[Entry]) -> Iterator[str]:
    yield f"cell {entries[0].cell_hash}, {entries[0].trainable_parameters:,} parameters"
    for entry in entries:
        yield f"at {entry.budget} epochs"
        for name, mean, repeats in (
            ("validation error", entry.mean_validation_error, entry.validation_error),
            ("test error", entry.mean_test_error, entry.test_error),
            ("training time", entry.mean_training_time_s, entry.training_time_s),
        ):
            unit = " s" if name == "training time" else ""
            yield f"  {name:<17} {mean:.4f}{unit}  (repeats {', '.join(f'{value:.4f}' for value in repeats)})"


@contextmanager
def _bytes_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Shows a progress bar on a terminal, and nothing elsewhere."""
    with tqdm(desc=what, unit="B", unit_scale=True, disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
