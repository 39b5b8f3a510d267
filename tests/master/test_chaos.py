"""Workers are killed, told to end, stopped and continued at random, and nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from master.dispatcher import DispatcherSettings
from master.study import run_master
from results.reading import read_results
from results.records import Status
from results.run_directory import RunDirectory

from .conftest import MakeRun

ROOT = Path(__file__).parents[2]
N_WORKERS = 4
EVENTS = ["kill", "terminate", "stop", "continue"]


class Chaos(threading.Thread):
    """Worker processes, and what befalls them until ``end``; who dies is replaced."""

    def __init__(self, run: RunDirectory, seed: int) -> None:
        super().__init__(daemon=True)
        self.run_path = run.path
        self.rng = random.Random(seed)
        self.ended = threading.Event()
        self.events: Counter[str] = Counter()
        self.processes = [self.new_process() for _ in range(N_WORKERS)]
        self.start()

    def new_process(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(Path(__file__).parent / "worker_process.py"), str(self.run_path), "brief"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self) -> None:
        coming: list[str] = []
        while not self.ended.wait(self.rng.uniform(0.05, 0.4)):
            slot = self.rng.randrange(N_WORKERS)
            if not coming:  # a short study sees each of them, too
                coming = self.rng.sample(EVENTS, len(EVENTS))
            event = coming.pop()
            self.events[event] += 1
            process = self.processes[slot]
            if event == "stop":
                process.send_signal(signal.SIGSTOP)
            elif event == "continue":
                for other in self.processes:
                    other.send_signal(signal.SIGCONT)
            else:
                process.send_signal(signal.SIGCONT)
                process.kill() if event == "kill" else process.terminate()
                process.wait(timeout=20)
                self.processes[slot] = self.new_process()

    def end(self) -> None:
        self.ended.set()
        self.join()
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost(make_run: MakeRun, seed: int) -> None:
    run = make_run(n_iterations=64, n_workers=N_WORKERS, seed=seed)
    chaos = Chaos(run, seed)
    try:
        run_master(run, dispatcher_settings=DispatcherSettings(silence_limit_s=3.0, max_losses=20))
    finally:
        chaos.end()
    results = read_results(run)
    assert {r.evaluation.status for r in results} == {Status.OK}
    assert Counter(r.budget for r in results) == {25: 88, 50: 86, 100: 106}
    assert len({(r.config_id, r.budget) for r in results}) == 280
    assert set(chaos.events) == set(EVENTS)
