"""A study as jobs of Slurm: the scripts of its master and of an array of workers, and jobs that requeue themselves.

Each script replaces its shell by the process (``exec``), because Slurm's ``--signal=B:...`` reaches the shell alone.
Therefore nobody is left to requeue the job, and the process does so itself: when it has ended after the notice, or at
the last moment before its limit.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from master.signals import NOTICE

logger = logging.getLogger("nasbohb.slurm")

#: Longest time between the notice and the limit of a job, in seconds; a short job has a quarter of its limit.
_NOTICE_S = 300
#: Seconds that a job is older than its process: the start of Python, and Slurm's clock, which looks twice a minute.
_START_S = 30
#: Seconds before its wall time at which a worker requeues its job, whatever it is doing.
_LAST_MOMENT_S = 5.0
#: Shortest limit of a job, in hours: Slurm counts minutes, and a worker needs some to begin.
MIN_WALLTIME_H = 2 / 60


@dataclass(frozen=True)
class SlurmSettings:
    """Requests of a study's jobs.

    Attributes:
        name: Name of the study; the jobs' names begin with it.
        logs: Folder for the output of the jobs.
        walltime_h: Limit of each job, in hours.
        partition: Partition of all jobs; None for Slurm's default.
        account: Account of all jobs; None for Slurm's default.
        gres: Generic resources of each worker's job, as ``gpu:1``; None for none.
        cpus: Processors of each worker's job.
        memory: Memory of each worker's job, with its unit.
        worker_lines: Further options of the workers' sbatch, without dashes.
        master_lines: The same of the master's.
    """

    name: str
    logs: Path
    walltime_h: float
    partition: str | None
    account: str | None
    gres: str | None
    cpus: int
    memory: str
    worker_lines: Sequence[str] = ()
    master_lines: Sequence[str] = ()

    @property
    def n_gpus(self) -> int:
        """Number of GPUs of each worker's job, of any type."""
        return sum(_n_gpus(resource) for resource in (self.gres or "").split(","))

    @property
    def process_walltime_h(self) -> float:
        """Hours from the start of a worker's process to the limit of its job."""
        return self.walltime_h - _START_S / 3600


def _n_gpus(resource: str) -> int:
    """Counts the GPUs of a resource: ``gpu``, ``gpu:2``, ``gpu:a100:2``."""
    kind, *parts = resource.split(":")
    if kind != "gpu":
        return 0
    return int(parts[-1]) if parts and parts[-1].isdecimal() else 1


def master_script(settings: SlurmSettings, command: Sequence[str]) -> str:
    """Writes the script of the master's job, which needs one processor and no GPU."""
    lines = [
        f"job-name={shlex.quote(f'{settings.name}-master')}",
        f"output={_log(settings, 'master-%j.log')}",
        *_common_lines(settings),
        "cpus-per-task=1",
        "mem=4G",
        *settings.master_lines,
    ]
    return _script(lines, command)


def worker_script(settings: SlurmSettings, command: Sequence[str], n_jobs: int) -> str:
    """Writes the script of the array of the workers' jobs."""
    lines = [
        f"job-name={shlex.quote(f'{settings.name}-worker')}",
        f"output={_log(settings, 'worker-%A_%a.log')}",
        f"array=1-{n_jobs}",
        *_common_lines(settings),
        *([] if settings.gres is None else [f"gres={settings.gres}"]),
        f"cpus-per-task={settings.cpus}",
        f"mem={settings.memory}",
        *settings.worker_lines,
    ]
    return _script(lines, command)


def _log(settings: SlurmSettings, name: str) -> str:
    folder = str(settings.logs.absolute()).replace("%", "%%")  # Slurm's own patterns begin so
    return shlex.quote(f"{folder}/{name}")


def _common_lines(settings: SlurmSettings) -> list[str]:
    notice_s = min(_NOTICE_S, round(settings.walltime_h * 3600 / 4))
    given = {"partition": settings.partition, "account": settings.account}
    return [
        "open-mode=append",
        *(f"{name}={value}" for name, value in given.items() if value is not None),
        f"time={math.floor(settings.walltime_h * 60)}",
        f"signal=B:{NOTICE.name.removeprefix('SIG')}@{notice_s}",
        "requeue",
    ]


def _script(lines: Sequence[str], command: Sequence[str]) -> str:
    options = "".join(f"#SBATCH --{line}\n" for line in lines)
    comment = "# exec: Slurm's notice, SIGUSR1, reaches the process in place of a shell, and it requeues the job.\n"
    return f"#!/bin/sh\n{options}{comment}exec {shlex.join(command)}\n"


def submit(script: Path, after: str | None = None) -> str:
    """Submits a script.

    Args:
        script: The script.
        after: Job that must have begun before the script's jobs may; None for none.

    Returns:
        Number of the job.

    Raises:
        ValueError: Slurm is not installed, or refuses the script; the message holds its words.
    """
    command = ["sbatch", "--parsable", *([] if after is None else [f"--dependency=after:{after}"]), str(script)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ValueError(
            f"--slurm: sbatch cannot be run ({error.strerror}); run this on a login node of the cluster, or see the "
            "scripts with --dry-run"
        ) from None
    if done.returncode:
        raise ValueError(f"--slurm: sbatch refused {script}: {done.stderr.strip()}")
    return done.stdout.strip().partition(";")[0]


def cancel(job: str) -> None:
    """Takes a job back that was submitted a moment ago."""
    try:
        subprocess.run(["scancel", job], check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("job %s could not be cancelled: %s; cancel it by hand", job, error)


def run_and_requeue(work: Callable[[], int], walltime_s: float = math.inf) -> int:
    """Does the work of this process's job; requeues the job if it ends for the notice, or reaches its wall time.

    At the wall time the job is requeued from a thread, so an epoch that takes too long cannot prevent it.

    Args:
        work: Function that returns the exit status, 128 and SIGUSR1's number if there is more to do.
        walltime_s: Seconds from now to the limit of the job; infinite for none.

    Returns:
        The status of the work.

    Raises:
        ValueError: This process runs in no job.
    """
    job = _own_job()
    timer = threading.Timer(min(walltime_s - _LAST_MOMENT_S, threading.TIMEOUT_MAX), _requeue, [job])
    timer.daemon = True
    timer.start()
    try:
        status = work()
    finally:
        timer.cancel()
    if status == 128 + NOTICE:
        _requeue(job)
    return status


def _own_job() -> str:
    """Finds the job in which this process runs; one of an array by its place there.

    The number of an array's last job is that of the whole array, so the number alone would requeue all of them.
    """
    job, array = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_ARRAY_JOB_ID")
    if job is None:
        raise ValueError("--requeue: this process runs in no job of Slurm (SLURM_JOB_ID is not set); leave it out")
    return job if array is None else f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"


def _requeue(job: str) -> None:
    """Requeues a job: Slurm ends it, and runs its script again, some minutes later at the earliest."""
    logger.info("requeueing job %s", job)
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("job %s could not be requeued: %s; submit it again", job, error)
