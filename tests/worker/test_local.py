"""Worker processes on this machine: replaced when they die, gone at the end."""

from __future__ import annotations

import os
import signal
import subprocess
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
        workers.watch()
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
            workers.watch()
            return workers.log(0).read_text().count("done") >= 2

        wait_for(ran_twice)


def test_deaths_with_successes_between_do_not_end_the_study(tmp_path: Path) -> None:
    """F10: three deaths a worker for its whole life ended a study of 260 evaluations at 27."""
    with LocalWorkers([sys.executable, "-c", "print('done')"], 1, tmp_path) as workers:

        def ran_often() -> bool:
            workers.watch(has_succeeded=True)
            return workers.log(0).read_text().count("done") >= 8

        wait_for(ran_often)


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """Also if it is killed: their standard input is closed then."""
    read = [sys.executable, "-c", "import os, sys; print(os.getpid(), flush=True); sys.stdin.read(); print('ended')"]
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom worker.local import LocalWorkers\n"
        f"with LocalWorkers({read!r}, 2, Path({str(tmp_path)!r})) as workers:\n"
        "    workers.watch()\n    time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    logs = [tmp_path / f"worker-{slot}.log" for slot in (0, 1)]
    wait_for(lambda: all(log.exists() and log.read_text() for log in logs))
    process.kill()
    process.wait()
    wait_for(lambda: all("ended" in log.read_text() for log in logs))
