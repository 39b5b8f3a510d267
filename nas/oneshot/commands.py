"""The commands ``run_bohb.py search`` and ``evaluate``: typed options, and what to do with them."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro
from tqdm import tqdm
from typing_extensions import Doc

from nas.datasets import locate
from nas.oneshot import SearchSpec
from nas.tabular import TABLES, Table
from nas.tabular.errors import CellNotInTableError
from nas.tabular.matching import table_to_look_up
from nas.tabular.measured.on_demand import MeasuringTable, measuring
from results.epoch import EpochRecord
from results.one_shot_errors import ONE_SHOT_ERRORS, ErrorFile, OneShotError
from spaces import SEARCH_SPACES, Cell

if TYPE_CHECKING:
    from nas.oneshot.shared_weights import SharedWeights

TableName = Annotated[
    str | None,
    Doc(
        f"Table of stand-alone results: {', '.join(TABLES)}, the path of a table's directory, or none; by default the "
        "one that belongs to the data set, if it is here."
    ),
]


@dataclass(frozen=True)
class Search:
    """Run one architecture search by itself and look up the cell of every epoch in the table.

    The found cell is measured where a table that can grow lacks it: some minutes at most. The digits table holds all
    architectures of search space 1, none of space 2, and a fifth of space 3.

    Attributes:
        spec: Specification of the search.
        directory: Folder for the trajectory, the result and a checkpoint; a search that was stopped goes on there.
        keep_every: Number of epochs between checkpoints that stay for ``evaluate --epoch``; 0 keeps only the last one.
    """

    spec: Annotated[SearchSpec, tyro.conf.arg(name="")] = field(default_factory=SearchSpec)
    directory: Path | None = None
    table: TableName = None
    keep_every: int = 0

    def run(self) -> int:
        """Searches, with a line for each epoch; 1 if the search failed."""
        from nas.oneshot.checkpoint import alone_in
        from nas.oneshot.search import run_search

        if self.keep_every < 0:
            raise ValueError(f"--keep-every: got {self.keep_every}, expected at least 0")
        if self.keep_every and self.directory is None:
            raise ValueError("--keep-every: got no --directory, expected one in which checkpoints can stay")
        dataset, data_dir = locate(self.spec.dataset, self.spec.data_dir)
        spec = replace(self.spec, dataset=dataset, data_dir=data_dir)  # found from other folders, too, when it goes on
        table = table_to_look_up(self.table, dataset, data_dir)
        reports: list[EpochRecord] = []

        def show(report: EpochRecord) -> None:
            reports.append(report)
            self._show(report)

        with alone_in(self.directory):
            result = run_search(spec, table, self.directory, show, keep_every=self.keep_every)
        if result.status != "ok" or result.architecture_index is None:
            print(f"the search ended as {result.status}: {result.error}", file=sys.stderr)
            return 1
        if not reports:
            print(f"{self.directory}: already finished, with all {result.epochs} epochs")
        space = SEARCH_SPACES[self.spec.search_space]
        cell = space.cell_of(result.architecture_index).pruned
        print(f"\nfound cell {result.cell_hash} (architecture {result.architecture_index} of space {space.name})")
        print(f"  operations: {', '.join(cell.operations)}")
        print(f"  adjacency:  {' '.join(''.join(map(str, row)) for row in cell.adjacency)}")
        if table is not None:
            print("\n".join(_answers(table, measuring(table, dataset, data_dir), cell)))
        if self.directory is not None:
            print(f"files: {self.directory}")
        return 0

    def _show(self, report: EpochRecord) -> None:
        parts = [f"epoch {report.epoch:>3}/{self.spec.epochs}", f"loss {report.train_loss:.4f}"]
        parts += [f"one-shot error {report.one_shot_validation_error:.4f}", report.cell_hash[:8]]
        if report.table:
            answer = report.table[max(report.table)]
            parts += [f"table: validation {answer.validation_error:.4f}, test {answer.test_error:.4f}"]
        print("  ".join([*parts, f"{report.search_s:.1f} s"]), flush=True)


@dataclass(frozen=True)
class Evaluate:
    """Evaluate architectures with the shared weights of a search, beside what the table says of their cells.

    Ends with the rank correlation of the two (the paper's section 5.2). What is evaluated is kept as it comes, in JSON
    lines, and only what is missing is computed when the command is called again.

    Attributes:
        directory: Directory of a search, or of a trial of a study.
        architectures: Number of architectures; 0 for all distinct ones of the search space. By default 200 of these,
            drawn at random; under ENAS 100 that its controller draws.
        images: Number of images of the architecture's half; 0 for all of them.
        epoch: Epoch whose weights are taken, one that ``search --keep-every`` has kept; by default the last one.
        seed: Seed of the draw.
        output: File of the errors; by default ``one_shot_errors.jsonl`` in the directory.
        data_dir: Folder of the search's data set, if it has moved.
        device: Device that computes: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` for a GPU if there is one.
        threads: CPU threads of the computation; None leaves PyTorch's choice.
    """

    directory: Annotated[Path, tyro.conf.Positional]
    architectures: int | None = None
    images: int = 0
    epoch: int | None = None
    seed: int = 0
    table: TableName = None
    output: Path | None = None
    data_dir: str | None = None
    device: str = "auto"
    threads: int | None = None

    def run(self) -> int:
        """Evaluates what is missing, with a progress bar; prints the correlations."""
        from nas.oneshot.shared_weights import SharedWeights

        self._check()
        file = ErrorFile(self.output or self.directory / ONE_SHOT_ERRORS)
        placement: dict[str, Any] = {"device": self.device, "threads": self.threads}
        if self.data_dir is not None:
            placement["data_dir"] = self.data_dir
        weights = SharedWeights(self.directory, self.epoch, **placement)
        table = table_to_look_up(self.table, weights.settings.dataset, weights.settings.data_dir)
        chosen = weights.choose(self.architectures, self.seed)
        self._show(self._errors(weights, file, chosen, table), weights, table)
        print(f"file: {file.path}")
        return 0

    def _check(self) -> None:
        for name in ("architectures", "images", "seed"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected at least 0")
        if self.images == 1:
            raise ValueError("--images: got 1, expected at least 2, or 0 for all: BatchNorm takes their mean")

    def _errors(
        self, weights: "SharedWeights", file: ErrorFile, chosen: Sequence[int], table: Table | None
    ) -> list[OneShotError]:
        """The errors of the chosen architectures: what the file holds, and what is computed now and added to it."""
        n_images = weights.n_images(self.images or None)
        kept = {
            error.architecture_index: error
            for error in file.read()
            if (error.fingerprint, error.n_images) == (weights.fingerprint, n_images)
        }
        missing = [index for index in chosen if index not in kept]
        old = [kept[index] for index in chosen if index in kept]
        looked_up = [new for error, new in zip(old, weights.beside(old, table), strict=True) if new != error]
        if looked_up:  # another table, or more in it
            file.append(looked_up)
        kept.update({error.architecture_index: error for error in looked_up})
        with tqdm(total=len(missing), unit="architecture", disable=None) as bar:
            for errors in weights.errors(missing, n_images, table):
                file.append(errors)
                kept.update({error.architecture_index: error for error in errors})
                bar.update(len(errors))
        return [kept[index] for index in chosen]

    def _show(self, errors: Sequence[OneShotError], weights: "SharedWeights", table: Table | None) -> None:
        from analysis.correlation import one_shot_correlations

        one_shot = [error.one_shot_validation_error for error in errors]
        print(
            f"{len(errors)} architectures with the weights of epoch {weights.epoch}, on {errors[0].n_images} images: "
            f"one-shot validation error {min(one_shot):.4f} to {max(one_shot):.4f}, mean "
            f"{sum(one_shot) / len(one_shot):.4f}{weights.averages_parents * '; parents averaged, as in training'}"
        )
        if table is None:
            return
        correlations = one_shot_correlations(errors)
        if not correlations:
            print(
                f"  no rank correlation: table {table.name} has fewer than 3 of their cells, or their errors are all "
                "equal; evaluate more, or measure or import a table of the space (run_bohb.py table) and give its "
                "path as --table"
            )
        for budget, by_name in correlations.items():
            said = []
            for name, found in by_name.items():
                lower, upper = found.interval
                said.append(f"{name.capitalize()} {found.coefficient:+.3f} ({lower:+.3f} to {upper:+.3f})")
            print(
                f"  rank correlation with the test error at {budget} epochs of table {table.name}: {', '.join(said)}, "
                f"{by_name['spearman'].n} cells"
            )
        if correlations:
            print("  (in brackets: 95 % bootstrap intervals over these architectures)")


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """``name=value`` texts as typed values, by the fields of ``SearchSpec``; ``none`` leaves an optional one open.

    Raises:
        ValueError: A name is no field, or a value is not of its type.
    """
    types = get_type_hints(SearchSpec)
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in types:
            raise ValueError(f"search: got {pair!r}, expected name=value with a name of {sorted(types)}")
        settings[name] = _typed(name, text, types[name])
    return settings


def _typed(name: str, text: str, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise ValueError(f"search: got {name}={text}, expected one of {list(get_args(kind))}")
        return text
    kinds = get_args(kind) or (kind,)
    if NoneType in kinds and text.lower() == "none":
        return None
    base = kinds[0]
    try:
        return {"true": True, "false": False}[text.lower()] if base is bool else base(text)
    except (KeyError, ValueError):
        raise ValueError(f"search: got {name}={text}, expected a value of type {base.__name__}") from None


def _answers(table: Table, source: Table | MeasuringTable, cell: Cell) -> Iterator[str]:
    """The answers of a table's source for a cell, one line per budget; one line where it lacks the cell."""
    for budget in table.budgets:
        try:
            entry = source.query(cell, budget)
        except CellNotInTableError:
            yield f"  table {table.name} holds no results of this cell; look it up in another one with `table query`"
            return
        yield (
            f"  table {table.name} at {budget} epochs: validation error {entry.mean_validation_error:.4f}, "
            f"test error {entry.mean_test_error:.4f}, training time {entry.mean_training_time_s:.2f} s"
        )
