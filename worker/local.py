"""Worker processes on this machine, for a study in one command."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

logger = logging.getLogger("nasbohb.worker")

#: Number of early ends without a success between them, per worker asked for, that the study survives.
_DEATHS_PER_WORKER = 3
_LAST_LINES = 15


class LocalWorkersFailedError(RuntimeError):
    """Too many workers have ended early."""


class LocalWorkers:
    """Worker processes; ``watch`` starts them, and replaces dead ones.  As a context manager, it ends them on exit.

    Args:
        command: Command that starts one worker; its standard input is closed when this process ends in whatever way.
        n_workers: Number of processes.
        logs: Folder for the output of the workers, one file per slot; created if missing.
        farewell_s: Seconds in which the workers may end by themselves before they are stopped.
    """

    def __init__(self, command: Sequence[str], n_workers: int, logs: Path, farewell_s: float = 10.0) -> None:
        self._command = list(command)
        self._logs = logs
        self._farewell_s = farewell_s
        self._deaths_left = self._max_deaths = _DEATHS_PER_WORKER * n_workers
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * n_workers

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
            # A session of its own: Ctrl-C reaches the master alone, which then tells the workers.
            self._processes[slot] = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    def _last_words(self, slot: int) -> str:
        lines = self.log(slot).read_text(errors="replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:])


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
