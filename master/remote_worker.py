"""Calls of the dispatcher to workers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any

from master.protocol import (
    CALL_TIMEOUT_S,
    COMMUNICATION_ERRORS,
    PROBE_TIMEOUT_S,
    connect,
    is_broken,
    is_refused,
    short_name,
)

logger = logging.getLogger("nasbohb.master")

#: Number of calls at the same time; a silent worker takes its whole time-out.
_N_AT_ONCE = 16
#: Seconds for which the connection of a hand-over is kept; the worker ends it when it has been idle for the time-out.
_KEEP_S = CALL_TIMEOUT_S / 2


class Pulse(Enum):
    """The outcome of asking a worker for a sign of life."""

    IDLE = "idle"
    BUSY = "busy"
    SILENT = "silent"  # no answer: stopped, overloaded, or out of reach
    DEAD = "dead"  # the connection was refused, or the worker does not know the call


class HandOverError(Exception):
    """A job could not be handed to a worker.

    Attributes:
        has_died: True if the worker died while it took the job, so that the job may be the cause.
    """

    def __init__(self, message: str, has_died: bool) -> None:
        super().__init__(message)
        self.has_died = has_died


class RemoteWorker:
    """The calls to a worker, with time-outs.

    A hand-over uses the connection of the last one if that was a moment ago: with TLS, connections are dear, and jobs
    may be short.  Other calls are rare and have connections of their own.

    Pyro raises here what the worker raised, so each call expects any exception.  The exception is that worker's
    fault, and ends no thread of the dispatcher.

    Attributes:
        name: Name that the worker stated when it joined.
        uri: Address of the worker.
        connection: Connection of the worker's last sign of life.
    """

    def __init__(self, name: str, uri: str) -> None:
        self.name = name
        self.uri = uri
        self.connection: Any = None
        self._proxy: Any = None  # of the last hand-over
        self._handed_over_s = 0.0

    def start(self, ticket: str, trial: Mapping[str, Any]) -> bool:
        """Hands a job over; returns whether the worker accepts it.

        Raises:
            HandOverError: The worker did not answer, or the call failed on its side.
        """
        if time.monotonic() - self._handed_over_s > _KEEP_S:
            self._hang_up()
        try:
            if self._proxy is None:
                self._proxy = connect(self.uri)
            accepted = bool(self._proxy.start_computation(ticket, trial))
            self._handed_over_s = time.monotonic()
            return accepted
        except Exception as error:
            self._hang_up()
            raise HandOverError(f"{type(error).__name__}: {error}", has_died=is_broken(error)) from error

    def _hang_up(self) -> None:
        if self._proxy is not None:
            self._proxy._pyroRelease()
            self._proxy = None

    def pulse(self) -> Pulse:
        """Asks for a sign of life."""
        try:
            with connect(self.uri, PROBE_TIMEOUT_S) as proxy:
                return Pulse.BUSY if proxy.is_busy() else Pulse.IDLE
        except COMMUNICATION_ERRORS as error:
            return Pulse.DEAD if is_refused(error) else Pulse.SILENT
        except Exception as error:
            logger.warning("worker %s failed to give a sign of life: %s", short_name(self.name), error)
            return Pulse.DEAD

    def shutdown(self) -> None:
        """Tells the worker to end; a worker that does not receive this ends by itself when the master is gone."""
        try:
            with connect(self.uri, PROBE_TIMEOUT_S) as proxy:
                proxy.shutdown()
        except Exception as error:
            logger.debug("worker %s could not be told to end: %s", short_name(self.name), error)


def pulses(workers: Sequence[RemoteWorker]) -> list[tuple[RemoteWorker, Pulse]]:
    """Asks several workers for a sign of life, at the same time."""
    if not workers:
        return []
    with ThreadPoolExecutor(_N_AT_ONCE) as executor:
        return list(zip(workers, executor.map(RemoteWorker.pulse, workers), strict=True))


def tell_to_end(workers: Sequence[RemoteWorker]) -> None:
    """Tells several workers to end, at the same time; returns at once, because some may not answer."""
    for worker in workers:
        threading.Thread(target=worker.shutdown, name="farewell", daemon=True).start()
