"""The pool knows the place of each job: waiting, handed to a worker, or lost with one.  It is a pure state machine.

It knows neither Pyro nor threads nor a clock: ``now`` is an argument, in seconds of any clock that does not run
backwards.  The dispatcher drives it over a network, a simulation in virtual time.

* Jobs wait in a line; the worker that has been idle longest gets the next one.
* Each hand-over has its own ticket, which also names the trial.  The first report of a trial counts, whichever
  hand-over it belongs to, also one by an earlier master.
* The job of a lost worker goes to the head of the line.  It ends when it has lost ``max_losses`` workers, or was handed
  back ``max_returns`` times, without progress between.
* A worker that comes back with a trial that waits keeps it.
* A bug is tried on another worker before it counts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from master.jobs import TrialJob

#: Number of workers that try a job which ends as a bug.
BUG_ATTEMPTS = 2


class Leave(Enum):
    """The way in which a worker leaves its job."""

    LOSS = "loss"  # it died, or was silent for too long
    RETURN = "return"  # it handed the job back
    NOT_BEGUN = "not begun"  # the job did not reach it


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
class Member:
    """A worker of the pool.

    Attributes:
        last_life: Time of the last sign of life, in seconds.
        ticket: Ticket that the worker holds.
        is_suspect: True if the worker should be asked for a sign of life.
        n_done: Number of its reports that counted.
        began: Time at which it was given its job, in seconds.
        progressed: Time of the last epoch that was saved, or of the beginning.
    """

    last_life: float
    ticket: str | None = None
    is_suspect: bool = False
    n_done: int = 0
    began: float = 0.0
    progressed: float = 0.0


class Pool:
    """The jobs and the workers of a study."""

    def __init__(
        self,
        *,
        suspicion_s: float,
        silence_limit_s: float,
        max_losses: int,
        max_returns: int = 20,
        epoch_timeout_s: float = math.inf,
        trial_timeout_s: float = math.inf,
        ticket_prefix: str = "ticket",
    ) -> None:
        """Makes an empty pool.

        Args:
            suspicion_s: Seconds without a sign of life after which a worker is a suspect.
            silence_limit_s: Seconds without a sign of life after which a worker may be given up.
            max_losses: Number of lost workers after which a job ends.
            max_returns: Number of times after which a job ends that is handed back.
            epoch_timeout_s: Seconds without a further epoch after which a job is taken from its worker.
            trial_timeout_s: Seconds on a worker after which a job ends.
            ticket_prefix: Beginning of this pool's tickets; the pool of another master needs another one.
        """
        self._suspicion_s = suspicion_s
        self._silence_limit_s = silence_limit_s
        self._max_losses = max_losses
        self._max_returns = max_returns
        self._epoch_timeout_s = epoch_timeout_s
        self._trial_timeout_s = trial_timeout_s
        self._ticket_prefix = ticket_prefix
        self._n_tickets = 0
        self._waiting: deque[TrialJob] = deque()
        self._running: dict[str, Assignment] = {}  # by ticket, the one that began first at the head
        self._members: dict[str, Member] = {}
        self._idle: dict[str, None] = {}  # in the order in which they became idle
        self._overdue: set[str] = set()  # tickets that were taken away

    @property
    def workers(self) -> list[str]:
        """The names of the workers, in the order in which they joined."""
        return list(self._members)

    @property
    def members(self) -> Mapping[str, Member]:
        """The workers by their names, in the order in which they joined."""
        return self._members

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
        """Whether a job waits, and a worker is idle that may have it."""
        return self._next_pair() is not None

    def job_of(self, worker: str) -> TrialJob | None:
        """Returns the job that a worker runs; None if it runs none, or is not in the pool."""
        member = self._members.get(worker)
        assignment = None if member is None or member.ticket is None else self._running.get(member.ticket)
        return None if assignment is None else assignment.job

    def worker_of(self, ticket: str) -> str | None:
        """Returns the worker that holds a ticket; None if the ticket is void."""
        assignment = self._running.get(ticket)
        return None if assignment is None else assignment.worker

    def submit(self, job: TrialJob) -> None:
        """Puts a job at the end of the line."""
        self._waiting.append(job)

    def clear(self) -> None:
        """Hands out no more of the jobs that wait."""
        self._waiting.clear()

    def assign(self, now: float) -> Assignment | None:
        """Gives the next job to the worker that has been idle longest; None if there is no such pair."""
        pair = self._next_pair()
        if pair is None:
            return None
        job, worker = pair
        self._waiting.remove(job)
        ticket = f"{job.key}/{self._ticket_prefix}-{self._n_tickets}"
        self._n_tickets += 1
        return self._give(job, worker, ticket, now)

    def refuse(self, ticket: str) -> None:
        """Puts a job that its worker did not take at the head of the line; the worker is idle once it says so."""
        job = self._take_back(ticket)
        if job is not None:
            self._waiting.appendleft(job)

    def report(self, ticket: str) -> TrialJob | None:
        """Takes back the job of a report; the worker that held the ticket becomes idle.

        A void ticket names the trial, too: the first report of a trial counts.  If another worker runs the trial
        meanwhile, it has to abandon it.

        Returns:
            The job; None if its trial has a result already, or is no trial of this study.
        """
        assignment = self._running.get(ticket)
        if assignment is not None:
            self._take_back(ticket)
            self._idle[assignment.worker] = None
            self._members[assignment.worker].n_done += 1
            return assignment.job
        job = self._waiting_job(ticket)
        if job is not None:
            self._waiting.remove(job)
            return job
        other = next((t for t in self._running if _key_of(t) == _key_of(ticket)), None)
        return None if other is None else self._take_back(other)

    def retry_bug(self, job: TrialJob, worker: str) -> bool:
        """Puts a job that a worker reported as a bug at the head of the line, if another worker can try it.

        Returns:
            False if the bug counts: enough workers had it, or no other worker is there.
        """
        job.bugs[worker] = job.report
        others = set(self._members) - set(job.bugs)
        if len(job.bugs) >= BUG_ATTEMPTS or not others:
            return False
        self._waiting.appendleft(job)
        return True

    def join(self, worker: str, now: float, is_idle: bool) -> None:
        """Takes a worker into the pool; one that is busy gets a job after its next sign of life."""
        self._members[worker] = Member(last_life=now)
        if is_idle:
            self._idle[worker] = None

    def beat(self, worker: str, tickets: Mapping[str, int], now: float) -> list[str] | None:
        """Takes a worker's own sign of life.

        Args:
            worker: Name of the worker.
            tickets: Tickets that the worker holds, with the numbers of epochs that are saved.
            now: Time of the sign of life, in seconds.

        Returns:
            The tickets that the worker must abandon, because they are void; None if it is not in the pool.
        """
        member = self._members.get(worker)
        if member is None:
            return None
        self.saw_life(worker, now)
        for ticket, epochs in tickets.items():
            if member.ticket is None:
                self._adopt(worker, ticket, now)
            if ticket == member.ticket:
                job = self._running[ticket].job
                if epochs > job.epochs:
                    job.epochs, member.progressed = epochs, now
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

    def take_overdue(self, now: float) -> list[tuple[str, str, Loss]]:
        """Takes jobs from workers that have been busy with them, or with an epoch of them, for too long.

        Such a worker stays in the pool, and gets its next job when it has let go of this one.

        Returns:
            Worker, reason, and the consequences for the job, for each.
        """
        taken = []
        for worker, member in self._members.items():
            if member.ticket is None:
                continue
            reason = None
            if now - member.began > self._trial_timeout_s:
                reason = f"the trial has taken longer than {self._trial_timeout_s:g} s"
            elif now - member.progressed > self._epoch_timeout_s:
                reason = f"an epoch has taken longer than {self._epoch_timeout_s:g} s"
            if reason is not None:
                is_final = now - member.began > self._trial_timeout_s
                self._overdue.add(member.ticket)
                job = self._take_back(member.ticket)
                assert job is not None, "its worker holds the ticket"
                loss = self._settle_loss(job, f"{worker}: {reason}", Leave.LOSS)
                if is_final and not loss.is_given_up:
                    self._waiting.remove(job)
                    loss = Loss(job=job, is_given_up=True)
                taken.append((worker, reason, loss))
        return taken

    def lose(self, worker: str, reason: str, leave: Leave = Leave.LOSS) -> Loss | None:
        """Removes a worker; its job goes to the head of the line, or ends.

        Args:
            worker: Name of the worker.
            reason: Reason of the loss, for messages.
            leave: Way in which the worker leaves its job.

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
        return self._settle_loss(assignment.job, reason, leave)

    def _settle_loss(self, job: TrialJob, reason: str, leave: Leave) -> Loss:
        """Puts a job whose worker is gone at the head of the line, unless it has ended."""
        job.note_progress()
        if leave is Leave.LOSS:
            job.losses.append(reason)
        elif leave is Leave.RETURN:
            job.returns.append(reason)
        is_given_up = len(job.losses) >= self._max_losses or len(job.returns) >= self._max_returns
        if not is_given_up:
            self._waiting.appendleft(job)
        return Loss(job=job, is_given_up=is_given_up)

    def _next_pair(self) -> tuple[TrialJob, str] | None:
        """Finds the first waiting job that an idle worker may have; a bug goes to a worker that did not have it."""
        if not self._idle:
            return None
        for job in self._waiting:
            is_new_to_some = not job.bugs or any(name not in job.bugs for name in self._members)
            for worker in self._idle:
                if not is_new_to_some or worker not in job.bugs:
                    return job, worker
        return None

    def _give(self, job: TrialJob, worker: str, ticket: str, now: float) -> Assignment:
        self._idle.pop(worker, None)
        assignment = Assignment(worker=worker, ticket=ticket, job=job)
        job.worker_name = worker
        member = self._members[worker]
        member.ticket, member.began, member.progressed = ticket, now, now
        self._running[ticket] = assignment
        return assignment

    def _adopt(self, worker: str, ticket: str, now: float) -> None:
        """Lets a worker that comes back keep its trial, if the trial waits."""
        job = self._waiting_job(ticket)
        if job is not None and worker not in job.bugs and ticket not in self._overdue:
            self._waiting.remove(job)
            self._give(job, worker, ticket, now)

    def _waiting_job(self, ticket: str) -> TrialJob | None:
        key = _key_of(ticket)
        return next((job for job in self._waiting if job.key == key), None)

    def _take_back(self, ticket: str) -> TrialJob | None:
        """Makes a ticket void and returns its job; None if the ticket was void before."""
        assignment = self._running.pop(ticket, None)
        if assignment is None:
            return None
        self._members[assignment.worker].ticket = None
        return assignment.job


def _key_of(ticket: str) -> str:
    """The trial's part of a ticket."""
    return ticket.rpartition("/")[0]
