"""A worker as the dispatcher calls it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any

from master.protocol import COMMUNICATION_ERRORS, PROBE_TIMEOUT_S, connect, is_timeout, short_name

logger = logging.getLogger("nasbohb.master")

#: Calls of several workers at once; a silent one takes its whole time-out.
_N_AT_ONCE = 16


class Pulse(Enum):
    """What asking a worker for a sign of life gave."""

    IDLE = "idle"
    BUSY = "busy"
    SILENT = "silent"  # no answer in time: stopped, overloaded, or out of reach
    DEAD = "dead"  # the connection was refused or broken, or the worker does not know the call


class HandOverError(Exception):
    """A worker could not be given a job."""


class RemoteWorker:
    """A proxy of a worker, with time-outs.

    Pyro raises here what the worker raised, so each call expects any exception: it is that worker's fault, and
    ends no thread of the dispatcher.

    Attributes:
        name: Its name, as it gave it when it joined.
        uri: Its address.
        connection: The connection that its last sign of life came through.
    """

    def __init__(self, name: str, uri: str, key: str) -> None:
        self.name = name
        self.uri = uri
        self.connection: Any = None
        self._proxy = connect(uri, key)
        self._key = key

    def start(self, ticket: str, trial: Mapping[str, Any]) -> bool:
        """Hands a job over; whether the worker accepts it.

        Raises:
            HandOverError: It did not answer, or the call failed on its side.
        """
        try:
            return bool(self._proxy.start_computation(ticket, trial))
        except Exception as error:
            raise HandOverError(f"{type(error).__name__}: {error}") from error

    def pulse(self) -> Pulse:
        """Asks for a sign of life, through a connection of its own, as the other one may be in use."""
        try:
            with connect(self.uri, self._key, PROBE_TIMEOUT_S) as proxy:
                return Pulse.BUSY if proxy.is_busy() else Pulse.IDLE
        except COMMUNICATION_ERRORS as error:
            return Pulse.SILENT if is_timeout(error) else Pulse.DEAD
        except Exception as error:
            logger.warning("worker %s failed to give a sign of life: %s", short_name(self.name), error)
            return Pulse.DEAD

    def shutdown(self) -> None:
        """Tells the worker to end; one that does not hear it ends by itself when the master is gone."""
        try:
            with connect(self.uri, self._key, PROBE_TIMEOUT_S) as proxy:
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
    """Tells several workers to end, at the same time."""
    with ThreadPoolExecutor(_N_AT_ONCE) as executor:
        list(executor.map(RemoteWorker.shutdown, workers))
