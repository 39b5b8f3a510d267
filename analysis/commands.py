"""The command ``run_bohb.py analyze``."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Analyze:
    """Analyse a run, also while it goes on: incumbents, the default configuration beside them, times, plots.

    A log that hpbandster's own logger wrote is analysed, too.

    Attributes:
        run_dir: Directory of the run.
        table: Table to measure the test regret from; by default the study's.
        output: Folder for the files; by default ``report`` in the directory of the run.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    table: str | None = None
    output: Path | None = None

    def run(self) -> int:
        """Writes the report and prints its text."""
        from analysis.report import analyze

        print(analyze(self.run_dir, table=self.table, output=self.output).text)
        return 0
