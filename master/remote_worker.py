"""A worker as the dispatcher sees it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from enum import Enum
from typing import Any

from hpbandster.core.dispatcher import Worker

from master.wire import COMMUNICATION_ERRORS, connect, is_timeout

logger = logging.getLogger("nasbohb.master")

_PROBE_TIMEOUT_S = 2.0


class Pulse(Enum):
    """What asking a worker for a sign of life gave."""

    IDLE = "idle"
    BUSY = "busy"
    SILENT = "silent"  # no answer in time: stopped, overloaded, or out of reach
    DEAD = "dead"  # the connection was refused or broken


class RemoteWorker(Worker):
    """hpbandster's proxy of a worker, with time-outs, and the time of its last sign of life.

    Attributes:
        name: In the name server.
        runs_job: The ticket of its job, or None.
        connection: The connection that its last sign of life came through.
    """

    def __init__(self, name: str, uri: str, key: str) -> None:
        self.name = name
        self.runs_job: str | None = None
        self.connection: Any = None
        self.proxy = connect(uri, key)
        self._uri = uri
        self._key = key
        self._last_life_s = time.monotonic()
        self._is_suspect = False

    @property
    def short_name(self) -> str:
        """Host, process and random part of the name, for messages."""
        return self.name.partition(".worker.")[2]

    def start(self, ticket: str, trial: Mapping[str, Any]) -> bool:
        """Hands a job over; whether the worker accepts it.  Raises COMMUNICATION_ERRORS."""
        return bool(self.proxy.start_computation(None, ticket, trial=trial))

    def pulse(self) -> Pulse:
        """Asks for a sign of life, through a connection of its own, as the other one may be in use."""
        try:
            with connect(self._uri, self._key, _PROBE_TIMEOUT_S) as proxy:
                return Pulse.BUSY if proxy.is_busy() else Pulse.IDLE
        except COMMUNICATION_ERRORS as error:
            return Pulse.SILENT if is_timeout(error) else Pulse.DEAD

    def shutdown(self) -> None:
        """Tells the worker to end; one that does not hear it ends by itself when the master is gone."""
        try:
            with connect(self._uri, self._key, _PROBE_TIMEOUT_S) as proxy:
                proxy.shutdown()
        except COMMUNICATION_ERRORS as error:
            logger.debug("worker %s could not be told to end: %s", self.short_name, error)

    def saw_life(self, connection: Any = None) -> None:
        """Takes note of a sign of life."""
        self._last_life_s = time.monotonic()
        self._is_suspect = False
        self.connection = connection or self.connection

    def suspect(self) -> None:
        """Makes ``needs_probe`` true until the next sign of life."""
        self._is_suspect = True

    def needs_probe(self, suspicion_s: float) -> bool:
        """Whether it is time to ask for a sign of life."""
        return self._is_suspect or self.silence_s() > suspicion_s

    def silence_s(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self._last_life_s
