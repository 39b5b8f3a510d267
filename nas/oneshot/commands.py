"""The command ``run_bohb.py search``: typed options, and what to do with them."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from nas.oneshot import EpochReport, SearchSpec, run_search
from nas.tabular import Table, open_table
from nas.tabular.on_demand import measuring
from spaces import SEARCH_SPACES, Cell


@dataclass(frozen=True)
class Search:
    """Run one architecture search by itself and look up the cell of every epoch in the table.

    The found cell is measured where a table that can grow lacks it, as the digits table lacks most cells of spaces 2
    and 3: some minutes at most.

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
        parts = [f"epoch {report.epoch:>3}/{self.spec.epochs}", f"loss {report.train_loss:.4f}"]
        parts += [f"one-shot error {report.one_shot_validation_error:.4f}", report.cell_hash[:8]]
        if report.table:
            answer = report.table[max(report.table)]
            parts += [f"table: validation {answer.validation_error:.4f}, test {answer.test_error:.4f}"]
        print("  ".join([*parts, f"{report.search_s:.1f} s"]), flush=True)


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


def _answers(table: Table, cell: Cell) -> Iterator[str]:
    """What the table says of a cell, a line a budget; a cell that it lacks is measured if it can be."""
    source = measuring(table)
    for budget in table.budgets:
        entry = source.query(cell, budget)
        yield (
            f"  table {table.name} at {budget} epochs: validation error {entry.mean_validation_error:.4f}, "
            f"test error {entry.mean_test_error:.4f}, training time {entry.mean_training_time_s:.2f} s"
        )
