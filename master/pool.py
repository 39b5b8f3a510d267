"""The pool knows the place of each job: waiting, handed to a worker, or lost with one.  It is a pure state machine.

It knows neither Pyro nor threads nor a clock: ``now`` is an argument, in seconds of any clock that does not run
backwards.  The dispatcher drives it over a network, a simulation in virtual time.

* Jobs wait in a line; the worker that has been idle longest gets the next one.
* Each hand-over has its own ticket, so a late report of a worker that was given up changes nothing.
* The job of a lost worker goes to the head of the line, and ends when it has lost ``max_losses`` workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from master.jobs import TrialJob


@dataclass(frozen=True)
class Assignment:
    """A job to hand to a worker.

    Attributes:
        worker: Name of the worker.
        ticket: Name of this hand-over.
        job: Job to hand over.
    """

    worker: str
    ticket: str
    job: TrialJob


@dataclass(frozen=True)
class Loss:
    """The consequences of the loss of a worker.

    Attributes:
        job: Job that the worker ran; None if it ran none.
        is_given_up: True if that job has lost too many workers and therefore has ended.
    """

    job: TrialJob | None
    is_given_up: bool


@dataclass
class _Member:
    """A worker of the pool: the ticket that it holds, and its last sign of life."""

    last_life: float
    ticket: str | None = None
    is_suspect: bool = False


class Pool:
    """The jobs and the workers of a study."""

    def __init__(
        self, *, suspicion_s: float, silence_limit_s: float, max_losses: int, ticket_prefix: str = "ticket"
    ) -> None:
        """Makes an empty pool.

        Args:
            suspicion_s: Seconds without a sign of life after which a worker is a suspect.
            silence_limit_s: Seconds without a sign of life after which a worker may be given up.
            max_losses: Number of lost workers after which a job ends.
            ticket_prefix: Beginning of this pool's tickets; the pool of another master needs another one.
        """
        self._suspicion_s = suspicion_s
        self._silence_limit_s = silence_limit_s
        self._max_losses = max_losses
        self._ticket_prefix = ticket_prefix
        self._n_tickets = 0
        self._waiting: deque[TrialJob] = deque()
        self._running: dict[str, Assignment] = {}  # by ticket, the one that began first at the head
        self._members: dict[str, _Member] = {}
        self._idle: dict[str, None] = {}  # in the order in which they became idle

    @property
    def workers(self) -> list[str]:
        """The names of the workers, in the order in which they joined."""
        return list(self._members)

    @property
    def running(self) -> list[TrialJob]:
        """The jobs that workers are busy with, the one that began first at the head."""
        return [assignment.job for assignment in self._running.values()]

    @property
    def waiting(self) -> list[TrialJob]:
        """The jobs that wait, the next one at the head."""
        return list(self._waiting)

    @property
    def can_assign(self) -> bool:
        """Whether a job waits and a worker is idle."""
        return bool(self._waiting and self._idle)

    def submit(self, job: TrialJob) -> None:
        """Puts a job at the end of the line."""
        self._waiting.append(job)

    def clear(self) -> None:
        """Hands out no more of the jobs that wait."""
        self._waiting.clear()

    def assign(self) -> Assignment | None:
        """Gives the next job to the worker that has been idle longest; None if there is no such pair."""
        if not self.can_assign:
            return None
        worker = next(iter(self._idle))
        del self._idle[worker]
        ticket = f"{self._ticket_prefix}-{self._n_tickets}"
        self._n_tickets += 1
        assignment = Assignment(worker=worker, ticket=ticket, job=self._waiting.popleft())
        assignment.job.worker_name = worker
        self._members[worker].ticket = ticket
        self._running[ticket] = assignment
        return assignment

    def refuse(self, ticket: str) -> None:
        """Puts a job that its worker did not take at the head of the line; the worker is idle once it says so."""
        job = self._take_back(ticket)
        if job is not None:
            self._waiting.appendleft(job)

    def report(self, ticket: str) -> TrialJob | None:
        """Takes back the job of a ticket after a report; its worker becomes idle.  None if the ticket is void."""
        job = self._take_back(ticket)
        if job is not None and job.worker_name is not None:
            self._idle[job.worker_name] = None
        return job

    def join(self, worker: str, now: float, is_idle: bool) -> None:
        """Takes a worker into the pool; one that is busy gets a job after its next sign of life."""
        self._members[worker] = _Member(last_life=now)
        if is_idle:
            self._idle[worker] = None

    def beat(self, worker: str, tickets: Sequence[str], now: float) -> list[str] | None:
        """Takes a worker's own sign of life.

        Args:
            worker: Name of the worker.
            tickets: Tickets that the worker holds.
            now: Time of the sign of life, in seconds.

        Returns:
            The tickets that the worker must abandon, because they are void; None if it is not in the pool.
        """
        member = self._members.get(worker)
        if member is None:
            return None
        self.saw_life(worker, now)
        if not tickets and member.ticket is None:
            self._idle[worker] = None
        return [ticket for ticket in tickets if ticket != member.ticket]

    def saw_life(self, worker: str, now: float) -> None:
        """Notes that a worker lives; has no effect if it is not in the pool."""
        if worker in self._members:
            self._members[worker].last_life = now
            self._members[worker].is_suspect = False

    def suspect(self, worker: str) -> None:
        """Makes a worker a suspect until its next sign of life; has no effect if it is not in the pool."""
        if worker in self._members:
            self._members[worker].is_suspect = True

    def suspects(self, now: float) -> list[str]:
        """Lists the workers that should be asked for a sign of life."""
        return [
            name
            for name, member in self._members.items()
            if member.is_suspect or now - member.last_life > self._suspicion_s
        ]

    def silence_s(self, worker: str, now: float) -> float:
        """Computes the seconds since a worker's last sign of life; 0 if it is not in the pool."""
        return now - self._members[worker].last_life if worker in self._members else 0.0

    def is_silent_too_long(self, worker: str, now: float) -> bool:
        """Whether a worker that does not answer may be given up."""
        return self.silence_s(worker, now) > self._silence_limit_s

    def lose(self, worker: str, reason: str, counts: bool = True) -> Loss | None:
        """Removes a worker; its job goes to the head of the line, or ends.

        Args:
            worker: Name of the worker.
            reason: Reason of the loss, for messages.
            counts: True if the job's losses grow; False if the worker handed the job back.

        Returns:
            The consequences for its job; None if the worker is not in the pool.
        """
        member = self._members.pop(worker, None)
        if member is None:
            return None
        self._idle.pop(worker, None)
        assignment = self._running.pop(member.ticket or "", None)
        if assignment is None:
            return Loss(job=None, is_given_up=False)
        job = assignment.job
        if counts:
            job.losses.append(reason)
        is_given_up = len(job.losses) >= self._max_losses
        if not is_given_up:
            self._waiting.appendleft(job)
        return Loss(job=job, is_given_up=is_given_up)

    def _take_back(self, ticket: str) -> TrialJob | None:
        """Makes a ticket void and returns its job; None if the ticket was void before."""
        assignment = self._running.pop(ticket, None)
        if assignment is None:
            return None
        self._members[assignment.worker].ticket = None
        return assignment.job
