"""A study on a real Slurm, where one runs: slow, because Slurm waits two minutes before it starts a requeued job."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from results.master_status import Ending, read_status
from results.reading import read_results
from results.records import Status
from results.run_directory import RunDirectory
from tests.waiting import wait_for

ROOT = Path(__file__).parents[3]


def output_of(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def slurm_runs() -> bool:
    return (
        shutil.which("sinfo") is not None
        and subprocess.run(["sinfo"], capture_output=True, check=False).returncode == 0
    )


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not slurm_runs(), reason="no Slurm runs here")]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    """A study of ten searches, in jobs of three minutes; its jobs are cancelled at the end."""
    study = ["--dataset", "digits", "--min-budget", "20", "--max-budget", "40", "--iterations", "4", "--workers", "2"]
    jobs = ["--gres", "none", "--cpus", "1", "--memory", "900M", "--walltime-h", "0.05", "--master-sbatch", "mem=900M"]
    search = ["--search", "init_channels=8", "cells_per_stack=1", "batch_size=32", "threads=1"]
    command = [sys.executable, str(ROOT / "run_bohb.py"), "launch", "--slurm", "--run-dir", str(tmp_path / "my run")]
    printed = output_of(*command, *study, *jobs, *search)
    yield RunDirectory.open(tmp_path / "my run")
    subprocess.run(["scancel", *printed.partition("scancel ")[2].split()[:2]], check=True)


def test_a_study_survives_a_requeued_worker_and_the_limits_of_its_jobs(run: RunDirectory) -> None:
    def log(name: str) -> str:
        return "".join(path.read_text() for path in sorted((run.path / "slurm").glob(name)))

    wait_for(lambda: len(read_results(run)) >= 1, 300, pause_s=1)
    (worker,) = (run.path / "slurm").glob("worker-*_1.log")
    output_of("scontrol", "requeue", worker.stem.removeprefix("worker-"))
    wait_for(lambda: "it was told to stop (SIGTERM)" in worker.read_text(), 60, pause_s=1)
    wait_for(lambda: "suspended (SIGUSR1); the workers wait" in log("master-*.log"), 300, pause_s=1)
    assert "requeueing job" in log("master-*.log")

    def has_ended() -> bool:
        status = read_status(run)
        return status is not None and status.ending is Ending.FINISHED

    wait_for(has_ended, 1800, pause_s=1)
    assert [result.evaluation.status for result in read_results(run)] == [Status.OK] * 10
    assert "requeueing job" in log("worker-*.log")
