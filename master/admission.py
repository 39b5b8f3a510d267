"""The workers that ask to join, and the reasons for which some may not or cannot."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Any

from master.protocol import refusal, short_name
from master.remote_worker import RemoteWorker

logger = logging.getLogger("nasbohb.master")

#: Seconds after which a worker that could not join has probably given up.
_ASKING_S = 30.0


class Admission:
    """What a dispatcher knows of workers outside of its pool; the dispatcher's lock protects it.

    Args:
        max_workers: Largest number of workers.
    """

    def __init__(self, max_workers: int) -> None:
        self._max_workers = max_workers
        self._joining: dict[str, RemoteWorker] = {}
        self._barred: dict[str, str] = {}  # reasons, by worker
        self._unreachable: dict[str, tuple[float, str]] = {}  # by worker: when it was tried last, and the reason

    def ask(self, worker: str, uri: str, version: Any, members: Collection[str]) -> str | None:
        """Takes a worker's wish to join.

        Args:
            worker: Name of the worker.
            uri: Address of the worker.
            version: Version that the worker states, unchecked.
            members: Names of the workers in the pool.

        Returns:
            Why it may not; None if it may, once it is known to answer.
        """
        reason = refusal(short_name(worker), version) or self._barred.get(worker)
        if reason is None and len({worker, *members, *self._joining}) > self._max_workers:
            reason = (
                f"worker {short_name(worker)} is one more than the {self._max_workers} for which the master has file "
                "descriptors; raise `ulimit -n` where the master runs"
            )
        if reason is None:
            self._joining[worker] = RemoteWorker(worker, uri)
        else:
            logger.warning("refused: %s", reason)
        return reason

    def candidates(self, members: Collection[str]) -> list[RemoteWorker]:
        """Takes the workers that have asked and are not in the pool."""
        new = [remote for name, remote in self._joining.items() if name not in members]
        self._joining.clear()
        return new

    def withdraw(self, worker: str) -> None:
        """Forgets a worker that does not want to join any more."""
        self._joining.pop(worker, None)
        self._unreachable.pop(worker, None)

    def bar(self, worker: str, reason: str) -> None:
        """Refuses a worker from now on."""
        self._barred[worker] = reason

    def admitted(self, worker: str) -> None:
        """Forgets that a worker could not be reached."""
        self._unreachable.pop(worker, None)

    def unreachable(self, remote: RemoteWorker) -> None:
        """Notes that a worker cannot be reached, and warns once; the worker goes on asking, and learns the reason."""
        reason = f"worker {short_name(remote.name)} wants to join, but does not answer at {remote.uri}; see its --host"
        if remote.name not in self._unreachable:
            logger.warning("%s", reason)
        self._unreachable[remote.name] = (time.monotonic(), reason)

    def reason(self, worker: str) -> str | None:
        """Explains why a worker that asked is not admitted yet; None if nothing is known against it."""
        return self._unreachable[worker][1] if worker in self._unreachable else None

    def problems(self) -> tuple[str, ...]:
        """Lists why workers cannot join, one sentence for each."""
        now = time.monotonic()
        asking = (reason for tried, reason in self._unreachable.values() if now - tried < _ASKING_S)
        return (*self._barred.values(), *asking)
