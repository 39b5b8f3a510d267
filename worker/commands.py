"""The command ``run_bohb.py worker``."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Worker:
    """Run one worker of a study: wait for the master, evaluate the trials that it sends, and end with the study.

    Attributes:
        run_dir: Directory of the run, on a file system that master and workers share.
        host: Address to listen at; by default this machine's address towards the master.
        wait_s: Seconds to wait for the master: to start, and to come back after it fell silent.
        walltime_h: Hours after which the process will be ended from outside, as by a scheduler; the worker hands its
            trial back before, when it has saved an epoch.
        attached: End when standard input is closed, as a study's own workers do when the study is gone.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    host: str | None = None
    wait_s: float = 3600.0
    walltime_h: float = math.inf
    attached: bool = False

    def run(self) -> int:
        """Works until the study ends."""
        from worker.master_link import MasterNotFoundError
        from worker.service import WorkerRefusedError, WorkerSettings, run_worker

        if not self.walltime_h > 0:
            raise ValueError(f"--walltime-h: got {self.walltime_h}, expected a number above 0")
        settings = WorkerSettings(wait_s=self.wait_s, walltime_s=self.walltime_h * 3600)
        try:
            reason = run_worker(self.run_dir, host=self.host, settings=settings, attached=self.attached)
        except (MasterNotFoundError, WorkerRefusedError) as error:
            print(f"worker: {error}", file=sys.stderr)
            return 1
        print(f"worker ended: {reason}")
        return 0
