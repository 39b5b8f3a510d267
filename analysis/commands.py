"""The command ``run_bohb.py analyze``."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Analyze:
    """Analyse a run, also while it goes on: incumbents, the default configuration beside them, times, plots.

    Attributes:
        run_dir: Directory of the run; the files go to its folder ``report``.
        table: Table to measure the test regret from; by default the study's.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    table: str | None = None

    def run(self) -> int:
        """Writes the report and prints its text."""
        print(report_text(self.run_dir, self.table))
        return 0


def report_text(run_dir: Path, table_name: str | None = None) -> str:
    """Writes the report of a run and returns its text.

    Where the table does not know the best cell of the space, the text has a line instead of the test regret.

    Raises:
        TableError: The table that was named cannot be opened.
    """
    from analysis.report import analyze
    from nas.tabular import TableError, open_table
    from results.run_directory import RunDirectory
    from spaces import SEARCH_SPACES

    spec = RunDirectory.open(run_dir).spec()
    name = table_name or spec.table
    try:
        table = open_table(name)
    except TableError as error:
        if table_name is not None:
            raise
        return f"{analyze(run_dir).text}\n(no test regret: {error})"
    held, size = table.coverage(SEARCH_SPACES[spec.search_space])
    if held < size:
        why = f"table {name} holds {held:,} of the {size:,} architectures of search space {spec.search_space}"
        return f"{analyze(run_dir).text}\n(no test regret: {why}, so its best cell is not known)"
    return analyze(run_dir, table).text
