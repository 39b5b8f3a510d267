"""Worker processes on this machine: replaced when they die, gone at the end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.local import LocalWorkers, LocalWorkersFailedError

SLEEP = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited 30 s"
        time.sleep(0.02)


def pids(workers: LocalWorkers, slot: int) -> list[int]:
    return [int(line) for line in workers.log(slot).read_text().split()]


def test_a_dead_worker_is_replaced_and_all_end_with_the_context(tmp_path: Path) -> None:
    workers = LocalWorkers(SLEEP, 2, tmp_path / "logs", farewell_s=0.1)
    with workers:
        wait_for(lambda: all(pids(workers, slot) for slot in (0, 1)))
        os.kill(pids(workers, 0)[0], signal.SIGKILL)

        def replaced() -> bool:
            workers.watch()
            return len(pids(workers, 0)) == 2

        wait_for(replaced)
        assert len(pids(workers, 1)) == 1
    for slot in (0, 1):
        for pid in pids(workers, slot):
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


def watch_for_ever(workers: LocalWorkers) -> None:
    while True:
        workers.watch()
        time.sleep(0.02)


def test_workers_that_keep_dying_end_the_study_with_their_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such library')"]
    with LocalWorkers(command, 1, tmp_path) as workers:
        with pytest.raises(LocalWorkersFailedError, match="no such library"):
            watch_for_ever(workers)
        assert workers.log(0).read_text().count("no such library") == 4  # one, and three replacements


def test_a_worker_that_ended_early_is_replaced_whatever_its_status(tmp_path: Path) -> None:
    with LocalWorkers([sys.executable, "-c", "print('done')"], 1, tmp_path) as workers:

        def ran_twice() -> bool:
            if workers.log(0).read_text().count("done") < 2:
                workers.watch()
                return False
            return True

        wait_for(ran_twice)
