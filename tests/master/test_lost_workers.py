"""Studies with real worker processes that are killed, stopped, or end by themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from master.settings import DispatcherSettings
from master.study import run_master
from results.reading import read_results
from results.records import Status
from results.run_directory import RunDirectory

from .conftest import MakeRun

ROOT = Path(__file__).parents[2]


class StartProcess(Protocol):
    def __call__(self, run: RunDirectory, *arguments: str) -> subprocess.Popen[str]: ...


@pytest.fixture
def start_process() -> Iterator[StartProcess]:
    """Starts worker processes; they end with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(run: RunDirectory, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(Path(__file__).parent / "worker_process.py"), str(run.path), *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


class Strike(threading.Thread):
    """Sends a signal to the process that is the first to be busy, as soon as it is, and notes when."""

    def __init__(self, sentinel: Path, number: int) -> None:
        super().__init__(daemon=True)
        self.sentinel, self.number = sentinel, number
        self.process_id, self.unix_s = 0, 0.0
        self.start()

    def run(self) -> None:
        while not (self.sentinel.exists() and self.sentinel.read_text()):
            time.sleep(0.02)
        self.process_id = int(self.sentinel.read_text())
        time.sleep(0.2)
        self.unix_s = time.time()
        os.kill(self.process_id, self.number)


def test_the_job_of_a_killed_process_runs_on_the_other(
    make_run: MakeRun, start_process: StartProcess, tmp_path: Path
) -> None:
    run = make_run(n_iterations=2)
    sentinel = tmp_path / "busy"
    processes = [start_process(run, "first_hangs", str(sentinel)) for _ in range(2)]
    strike = Strike(sentinel, signal.SIGKILL)
    progress = run_master(run)
    results = read_results(run)
    assert progress.n_done == len(results) == 10
    assert {r.evaluation.status for r in results} == {Status.OK}
    (survivor,) = (p for p in processes if p.pid != strike.process_id)
    assert {str(r.evaluation.worker).split(".")[-2] for r in results} == {str(survivor.pid)}
    lost = max(results, key=lambda r: r.started - r.submitted)
    assert lost.submitted < strike.unix_s < lost.started
    assert lost.config_id in ((0, 0, 0), (0, 0, 1))  # whichever of the first two jobs said first that it hangs
    assert survivor.wait(timeout=10) == 0


def test_a_stopped_process_loses_its_job_and_comes_back(
    make_run: MakeRun, start_process: StartProcess, tmp_path: Path
) -> None:
    run = make_run(n_iterations=1)
    sentinel = tmp_path / "busy"
    processes = [start_process(run, "first_hangs", str(sentinel)) for _ in range(2)]
    strike = Strike(sentinel, signal.SIGSTOP)
    settings = DispatcherSettings(ping_interval_s=0.2, suspicion_s=1.5, silence_limit_s=2.0)
    progress = run_master(run, dispatcher_settings=settings)
    assert progress.n_done == 7
    (stopped,) = (p for p in processes if p.pid == strike.process_id)
    assert f".{stopped.pid}." not in {r.evaluation.worker for r in read_results(run)}
    stopped.send_signal(signal.SIGCONT)
    assert stopped.wait(timeout=10) == 0
    assert stopped.stdout is not None
    assert "the study has ended (finished)" in stopped.stdout.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_process_that_is_told_to_end_hands_its_job_over(
    make_run: MakeRun, start_process: StartProcess, tmp_path: Path, number: signal.Signals
) -> None:
    run = make_run(n_iterations=1)
    sentinel = tmp_path / "busy"
    processes = [start_process(run, "first_hangs", str(sentinel)) for _ in range(2)]
    strike = Strike(sentinel, number)
    assert run_master(run).n_done == 7
    (told,) = (p for p in processes if p.pid == strike.process_id)
    assert told.wait(timeout=10) == 0
    assert told.stdout is not None
    assert f"it was told to stop ({number.name})" in told.stdout.read()


def test_a_trial_that_kills_its_workers_is_recorded_as_worker_lost(
    make_run: MakeRun, start_process: StartProcess
) -> None:
    run = make_run(n_iterations=1, min_budget=100)  # one evaluation
    for _ in range(2):
        start_process(run, "suicide")
    progress = run_master(run, dispatcher_settings=DispatcherSettings(max_losses=2))
    (result,) = read_results(run)
    assert progress.n_done == 1
    assert result.evaluation.status is Status.WORKER_LOST
    assert str(result.evaluation.error).count("its process has ended") == 2
    assert result.started <= result.finished
