"""The workers of a dispatcher and their jobs: who is there, and what becomes of a report or of a loss.

A crew has no lock, no thread and no connection of its own.  The dispatcher's lock is held during each of its calls.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any

from master.admission import Admission
from master.bugs import OwnBugs
from master.jobs import TrialJob
from master.pool import Assignment, Leave, Loss, Pool
from master.protocol import HeartbeatAnswer, short_name
from master.remote_worker import RemoteWorker
from master.settings import DispatcherSettings
from results.master_status import WorkerStatus
from results.records import Status

logger = logging.getLogger("nasbohb.master")


class Crew:
    """A pool, the ways to call its workers, and those that ask to join.

    Attributes:
        pool: Pool, which knows the place of each job.
        admission: Workers outside of the pool.
    """

    def __init__(self, settings: DispatcherSettings, max_workers: int) -> None:
        """Makes a crew without workers.

        Args:
            settings: Limits after which workers count as lost.
            max_workers: Largest number of workers.
        """
        self.pool = Pool(
            suspicion_s=settings.suspicion_s,
            silence_limit_s=settings.silence_limit_s,
            max_losses=settings.max_losses,
            epoch_timeout_s=settings.epoch_timeout_s,
            trial_timeout_s=settings.trial_timeout_s,
            ticket_prefix=secrets.token_hex(4),
        )
        self.admission = Admission(max_workers)
        self._own_bugs = OwnBugs()
        self._remote: dict[str, RemoteWorker] = {}  # of the pool's workers

    @property
    def remote(self) -> Mapping[str, RemoteWorker]:
        """The calls to the workers of the pool, by their names."""
        return self._remote

    def statuses(self) -> tuple[WorkerStatus, ...]:
        """What each worker does."""
        return tuple(self._status_of(name) for name in self.pool.workers)

    def join(self, remote: RemoteWorker, is_idle: bool) -> None:
        """Takes a worker into the pool."""
        self.admission.admitted(remote.name)
        self._remote[remote.name] = remote
        self.pool.join(remote.name, time.monotonic(), is_idle=is_idle)

    def beat(self, worker: str, tickets: Mapping[str, int], connection: Any) -> HeartbeatAnswer:
        """Takes a worker's own sign of life, and the connection over which it came."""
        abandon = self.pool.beat(worker, tickets, time.monotonic())
        if abandon is None:
            return {"known": False, "abandon": [], "reason": self.admission.reason(worker)}
        self._remote[worker].connection = connection
        job = self.pool.job_of(worker)
        if job is not None and job.started is None:  # an earlier master handed it out
            job.started = time.time()
        return {"known": True, "abandon": abandon, "reason": None}

    def assign(self) -> tuple[Assignment, RemoteWorker]:
        """Gives the next job to a worker; the pool can assign one."""
        assignment = self.pool.assign(time.monotonic())
        assert assignment is not None, "it can assign"
        assignment.job.started = time.time()
        return assignment, self._remote[assignment.worker]

    def report(self, ticket: str, report: Any) -> tuple[TrialJob | None, bool]:
        """Takes a report.

        Returns:
            Its job, None if the trial has a result already; and whether the job has ended.
        """
        worker, job = self.pool.worker_of(ticket), self.pool.report(ticket)
        if job is None:
            return None, False
        job.finish({} if report is None else report, time.time())
        return job, self._settle(job, "an earlier worker" if worker is None else worker)

    def suspects(self) -> list[RemoteWorker]:
        """Lists the workers that should be asked for a sign of life."""
        return [self._remote[name] for name in self.pool.suspects(time.monotonic())]

    def suspect(self, connection: Any) -> None:
        """Makes the worker of a connection that has ended a suspect."""
        for remote in self._remote.values():
            if remote.connection is connection:
                self.pool.suspect(remote.name)

    def lose(self, worker: str, reason: str, leave: Leave) -> Loss | None:
        """Removes a worker; returns the consequences for its job, None if it is not in the pool."""
        self._remote.pop(worker, None)
        return self.pool.lose(worker, reason, leave)

    def _settle(self, job: TrialJob, worker: str) -> bool:
        """Decides whether a report ends its job; a bug is first tried on another worker."""
        if job.result().evaluation.status is Status.BUG:
            if self.pool.retry_bug(job, worker):
                logger.warning("a bug of worker %s in %s is tried on another worker", short_name(worker), job.name)
                return False
            if len(job.bugs) == 1 and self._own_bugs.note_alone(worker):
                self._bar(worker, "its last trials had bugs, and no other worker was there to try them", job)
            return True
        for barred in self._own_bugs.note_success(job, worker):
            self._bar(barred, "other workers ran the trials in which it had bugs", job)
        return True

    def _bar(self, worker: str, why: str, job: TrialJob) -> None:
        """Lets a worker take part no more; the job is the last one in which it had a bug."""
        reason = f"worker {short_name(worker)} is barred: {why}"
        logger.warning("%s; the last one:\n%s", reason, job.bugs[worker])
        self.admission.bar(worker, reason)
        self.lose(worker, reason, Leave.NOT_BEGUN)

    def _status_of(self, worker: str) -> WorkerStatus:
        name, n_done = short_name(worker), self.pool.members[worker].n_done
        job = self.pool.job_of(worker)
        if job is None:
            return WorkerStatus(name=name, n_done=n_done)
        return WorkerStatus(
            name=name,
            config_id=job.trial.config_id,
            budget=job.trial.budget,
            epochs=job.epochs,
            since=job.started,
            n_done=n_done,
        )
