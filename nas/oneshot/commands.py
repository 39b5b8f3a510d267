"""The command ``run_bohb.py search``: typed options, and what to do with them."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from nas.oneshot import EpochReport, SearchSpec, run_search
from nas.tabular import Table, open_table
from nas.tabular.on_demand import measuring
from spaces import SEARCH_SPACES, Cell


@dataclass(frozen=True)
class Search:
    """Run one architecture search by itself and look up the cell of every epoch in the table.

    Attributes:
        spec: What to search, and how.
        directory: Gets the trajectory, the result and a checkpoint; a search that was stopped goes on there.
        table: digits, nasbench101, the path of a table's directory, or none.
    """

    spec: Annotated[SearchSpec, tyro.conf.arg(name="")] = field(default_factory=SearchSpec)
    directory: Path | None = None
    table: str = "digits"

    def run(self) -> int:
        """Searches, with a line for each epoch; 1 if the search failed."""
        table = None if self.table == "none" else open_table(self.table)
        result = run_search(self.spec, table, self.directory, self._show)
        if result.status != "ok" or result.architecture is None:
            print(f"the search ended as {result.status}: {result.error}", file=sys.stderr)
            return 1
        space = SEARCH_SPACES[self.spec.search_space]
        cell = space.cell(space.decode(result.architecture)).pruned
        print(f"\nfound cell {result.cell_hash} (architecture {result.architecture} of space {space.name})")
        print(f"  operations: {', '.join(cell.operations)}")
        print(f"  adjacency:  {' '.join(''.join(map(str, row)) for row in cell.adjacency)}")
        if table is not None:
            print("\n".join(_answers(table, cell)))
        if self.directory is not None:
            print(f"files: {self.directory}")
        return 0

    def _show(self, report: EpochReport) -> None:
        one_shot = report.one_shot_validation_error
        parts = [f"epoch {report.epoch:>3}/{self.spec.epochs}", f"loss {report.train_loss:.4f}"]
        parts += [] if one_shot is None else [f"one-shot error {one_shot:.4f}"]
        parts += [report.cell_hash[:8]]
        if report.table:
            answer = report.table[max(report.table)]
            parts += [f"table: validation {answer.validation_error:.4f}, test {answer.test_error:.4f}"]
        print("  ".join([*parts, f"{report.search_s:.1f} s"]), flush=True)


def _answers(table: Table, cell: Cell) -> Iterator[str]:
    """What the table says of a cell, a line a budget; a cell that it lacks is measured if it can be."""
    source = measuring(table)
    for budget in table.budgets:
        entry = source.query(cell, budget)
        yield (
            f"  table {table.name} at {budget} epochs: validation error {entry.mean_validation_error:.4f}, "
            f"test error {entry.mean_test_error:.4f}, training time {entry.mean_training_time_s:.2f} s"
        )
