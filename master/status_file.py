"""The master's writing of ``status.json``."""

from __future__ import annotations

import logging
import os
import socket
import time

import msgspec

from results.master_status import Ending, MasterStatus, WorkerStatus, write_status
from results.run_directory import RunDirectory

logger = logging.getLogger("nasbohb.master")


class StatusFile:
    """Says in the run's directory what a master does; a disk that cannot be written stops nothing.

    Args:
        run: The run.
        n_before: Number of evaluations that earlier masters had recorded.
        interval_s: Longest time between two calls of ``update``, in seconds.
    """

    def __init__(self, run: RunDirectory, n_before: int, interval_s: float) -> None:
        self._run = run
        now = time.time()
        self._status = MasterStatus(
            host=socket.gethostname(),
            process_id=os.getpid(),
            started=now,
            updated=now,
            interval_s=interval_s,
            n_before=n_before,
        )

    def update(self, workers: tuple[WorkerStatus, ...], problems: tuple[str, ...]) -> None:
        """Writes what the workers do, and what hinders the study."""
        self._write(msgspec.structs.replace(self._status, workers=workers, problems=problems))

    def end(self, ending: Ending, message: str) -> None:
        """Writes how the master ended; its workers are gone."""
        self._write(msgspec.structs.replace(self._status, workers=(), ending=ending, message=message))

    def _write(self, status: MasterStatus) -> None:
        self._status = msgspec.structs.replace(status, updated=time.time())
        try:
            write_status(self._run, self._status)
        except OSError as error:
            logger.debug("could not write the status: %s", error)
