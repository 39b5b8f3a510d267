"""The command ``run_bohb.py status``."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

#: Seconds between two looks.
_INTERVAL_S = 2.0


@dataclass(frozen=True)
class StatusCommand:
    """Say what a study does: its evaluations, failures, incumbent and workers, from the run's files alone.

    Attributes:
        run_dir: Directory of the run.
        watch: Repeat until the study has ended.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    watch: bool = False

    def run(self) -> int:
        """Prints the state; returns 0."""
        from master.overview import overview_text, read_overview
        from results.master_status import Ending
        from results.run_directory import RunDirectory

        run = RunDirectory.open(self.run_dir)
        while True:
            overview = read_overview(run)
            clear = "\033[2J\033[H" if self.watch and sys.stdout.isatty() else ""
            print(clear + overview_text(overview), flush=True)
            ending = None if overview.master is None else overview.master.ending
            if not self.watch or ending not in (None, Ending.SUSPENDED):
                return 0
            try:
                time.sleep(_INTERVAL_S)
            except KeyboardInterrupt:
                return 0
