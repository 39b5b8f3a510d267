"""Worker processes on this machine: those of a study in one command, and those of one ``worker`` on several GPUs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from master.signals import NOTICE, StopFlag

logger = logging.getLogger("nasbohb.worker")

#: Number of early ends without a success between them, per worker asked for, that the study survives.
_DEATHS_PER_WORKER = 3
_LAST_LINES = 15
#: Seconds between two looks at processes that run by themselves.
_PAUSE_S = 0.1
_PROGRAM = Path(__file__).parents[2] / "run_bohb.py"


def own_command(*arguments: object) -> list[str]:
    """Makes a command line of this program, with this interpreter."""
    return [sys.executable, str(_PROGRAM), *map(str, arguments)]


class LocalWorkersFailedError(RuntimeError):
    """Too many workers have ended early."""


class LocalWorkers:
    """Worker processes; ``watch`` starts them, and replaces dead ones.  As a context manager, it ends them on exit.

    Args:
        command: Command that starts one worker; its standard input is closed when this process ends in whatever way.
        environments: [n] Variables for the environment of each worker, besides those of this process.
        logs: Folder for the output of the workers, one file per slot; created if missing.
        farewell_s: Seconds in which the workers may end by themselves before they are stopped.
    """

    def __init__(
        self,
        command: Sequence[str],
        environments: Sequence[Mapping[str, str]],
        logs: Path,
        farewell_s: float = 10.0,
    ) -> None:
        self._command = list(command)
        self._environments = environments
        self._logs = logs
        self._farewell_s = farewell_s
        self._deaths_left = self._max_deaths = _DEATHS_PER_WORKER * len(environments)
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * len(environments)

    def __enter__(self) -> LocalWorkers:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        alive = [process for process in self._processes if process is not None and process.poll() is None]
        if kind is not None:
            for process in alive:
                process.terminate()
        for process in alive:
            _end(process, self._farewell_s)

    def log(self, slot: int) -> Path:
        """Path of the output of the worker in this slot, and of all its successors."""
        return self._logs / f"worker-{slot}.log"

    def watch(self, has_succeeded: bool = False) -> None:
        """Starts the workers, and replaces those that have ended; call it only while the study runs.

        Args:
            has_succeeded: True if an evaluation has succeeded since the last call; earlier ends then count no more.

        Raises:
            LocalWorkersFailedError: Too many workers have ended; the message ends with the last output of one.
        """
        if has_succeeded:
            self._deaths_left = self._max_deaths
        for slot, process in enumerate(self._processes):
            if process is None:
                self._start(slot)
                continue
            status = process.poll()
            if status is None:
                continue
            if self._deaths_left == 0:
                raise LocalWorkersFailedError(
                    f"workers: one ended with status {status}, and {_DEATHS_PER_WORKER} for each of "
                    f"{len(self._processes)} had ended before, without a success between; the end of "
                    f"{self.log(slot)}:\n{self._last_words(slot)}"
                )
            self._deaths_left -= 1
            logger.warning("a worker ended with status %d (see %s); starting another", status, self.log(slot))
            _close_stdin(process)
            self._start(slot)

    def _start(self, slot: int) -> None:
        with self.log(slot).open("ab") as log:
            self._processes[slot] = _start(self._command, self._environments[slot], log)

    def _last_words(self, slot: int) -> str:
        lines = self.log(slot).read_text(errors="replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:])


def run_together(command: Sequence[str], environments: Sequence[Mapping[str, str]], stop: StopFlag) -> int:
    """Runs processes until all have ended by themselves; none is replaced.  They write where this process writes.

    Args:
        command: Command of every process; its standard input is closed when this process ends in whatever way.
        environments: [n] Variables for the environment of each process, besides those of this one.
        stop: Flag whose signals are passed on.

    Returns:
        128 and SIGUSR1's number if a process ended so, because it has more to do; else the largest status, where 128
        and a signal's number stands for the end by a signal.
    """
    processes = [_start(command, environment) for environment in environments]
    passed_on = None
    while any(process.poll() is None for process in processes):
        if stop.signal is not None and stop.signal is not passed_on:
            passed_on = stop.signal
            for process in processes:
                process.send_signal(passed_on)
        time.sleep(_PAUSE_S)
    for process in processes:
        _close_stdin(process)
    statuses = [status if status >= 0 else 128 - status for status in (process.wait() for process in processes)]
    return 128 + NOTICE if 128 + NOTICE in statuses else max(statuses)


def _start(
    command: Sequence[str], environment: Mapping[str, str], output: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C reaches this process alone, which then tells the workers.
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    for stop in (process.terminate, process.kill):
        try:
            process.wait(patience_s)
            break
        except subprocess.TimeoutExpired:
            stop()
    process.wait()
    _close_stdin(process)


def _close_stdin(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
