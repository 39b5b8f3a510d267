"""The command ``run_bohb.py worker``."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from typing_extensions import Doc

if TYPE_CHECKING:
    from master.signals import StopFlag


@dataclass(frozen=True)
class Worker:
    """Run one worker of a study: wait for the master, evaluate the trials that it sends, and end with the study.

    Exit status: 0 when the study has ended, 1 without a master, 128 and the signal's number after a signal; the end
    before the wall time counts as SIGUSR1.

    Attributes:
        run_dir: Directory of the run, on a file system that master and workers share.
        host: Address to listen at; by default this machine's address towards the master.
        wait_s: Seconds to wait for the master: to start, and to come back after it fell silent.
        walltime_h: Hours after which the process will be ended from outside, as by a scheduler; the worker hands its
            trial back before, when it has saved an epoch.
        requeue: Requeue the Slurm job of this process when it ends before the study does: after the notice SIGUSR1, or
            at the wall time.
        data_dir: Folder of the data set's files on this machine, where it is not the study's.
        table: Path of the table on this machine, where it is not the study's; its numbers must be the same.
        attached: End when standard input is closed, as a study's own workers do when the study is gone.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    host: str | None = None
    port_range: Annotated[
        str | None, Doc("First and last of the ports to listen at, as 5000-5010; by default any free one.")
    ] = None
    nat_host: Annotated[
        str | None,
        Doc(
            "Address at which the master reaches this worker from outside of its network, as gate.example.org, or "
            "gate.example.org:6000 if port 6000 there leads to the first of the --port-range, 6001 to the next."
        ),
    ] = None
    gpus: Annotated[
        str | None,
        Doc(
            "GPUs for a worker process each: numbers as in CUDA_VISIBLE_DEVICES, as 0,1, or all; by default this "
            "process is the one worker."
        ),
    ] = None
    workers_per_gpu: Annotated[int, Doc("Number of worker processes on each of the --gpus.")] = 1
    data_dir: Path | None = None
    table: Path | None = None
    wait_s: float = 3600.0
    walltime_h: float = math.inf
    requeue: bool = False
    attached: bool = False

    def run(self) -> int:
        """Works until the study ends."""
        from master.signals import stop_flag
        from worker.launch.gpus import gpu_environments
        from worker.launch.slurm import run_and_requeue

        if not self.walltime_h > 0:
            raise ValueError(f"--walltime-h: got {self.walltime_h}, expected a number above 0")
        environments = gpu_environments(self.gpus, self.workers_per_gpu)

        def work() -> int:
            with stop_flag() as stop:
                return self._start_processes(environments, stop) if environments else self._work(stop)

        return run_and_requeue(work, self.walltime_h * 3600) if self.requeue else work()

    def _work(self, stop: "StopFlag") -> int:
        """Is the one worker."""
        from master.ports import Ports
        from master.signals import NOTICE
        from worker.master_link import MasterNotFoundError
        from worker.objective import evaluate
        from worker.placement import Placement
        from worker.service import OUT_OF_TIME, WorkerRefusedError, run_worker
        from worker.settings import WorkerSettings

        placement = Placement(self.data_dir, self.table)
        settings = WorkerSettings(wait_s=self.wait_s, walltime_s=self.walltime_h * 3600)
        try:
            reason = run_worker(
                self.run_dir,
                objective=partial(evaluate, placement=placement),
                host=self.host,
                ports=Ports.parse(self.port_range, self.nat_host),
                settings=settings,
                attached=self.attached,
                stop=stop,
                check=placement.check,
            )
        except (MasterNotFoundError, WorkerRefusedError) as error:
            print(f"worker: {error}", file=sys.stderr)
            return 1
        print(f"worker ended: {reason}", flush=True)
        return 128 + NOTICE if reason == OUT_OF_TIME else stop.status

    def _start_processes(self, environments: Sequence[Mapping[str, str]], stop: "StopFlag") -> int:
        """Starts a worker for each GPU, and waits for them."""
        from worker.launch.gpus import VISIBLE
        from worker.launch.local import own_command, run_together

        given = {
            "--host": self.host,
            "--port-range": self.port_range,
            "--nat-host": self.nat_host,
            "--data-dir": self.data_dir,
            "--table": self.table,
            "--wait-s": self.wait_s,
            "--walltime-h": self.walltime_h,
        }
        options = [part for name, value in given.items() if value is not None for part in (name, value)]
        gpus = ", ".join(dict.fromkeys(environment[VISIBLE] for environment in environments))
        print(f"{len(environments)} workers on GPU {gpus}", flush=True)
        return run_together(own_command("worker", self.run_dir, *options, "--attached"), environments, stop)
