"""A study in virtual time: the tuner and the pool of a real one, over simulated workers.

Nothing sleeps and nothing is computed but what the tuner decides: a trial's outcome and duration come from a function,
from a table, or from a recorded run. Workers join one after the other, are lost, are preempted, and are replaced; a
wall-clock limit ends the study. As a real master does, the simulated one asks for a trial where a worker is free, so
that proposals know the most.

Time is in seconds since the first worker began to start. Events at the same time are handled together, before the
next trials are asked for.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from master.jobs import TrialJob
from master.pool import Leave, Pool
from master.tuner import Tuner
from results.reading import first_results
from results.records import ConfigId, Evaluation, Status, TrialResult, TrialSpec


@dataclass(frozen=True)
class Answer:
    """What a trial gives, and how long it takes.

    Attributes:
        evaluation: The outcome.
        duration_s: Seconds on a worker.
    """

    evaluation: Evaluation
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The workers of a simulated study.

    Attributes:
        n_workers: How many are there at once; one that is gone is replaced.
        join_interval_s: Seconds between two first joins.
        lifetime_s: Seconds after which each worker is preempted; it hands its job back.
        mean_time_to_loss_s: Mean seconds until a worker is lost with its job, exponentially distributed.
        replacement_s: Seconds until the next worker takes the place of one that is gone.
        max_losses: How many workers a job may lose before it ends as ``worker_lost``.
        limit_s: Wall-clock seconds of the study; what has not ended by then is not told.
        seed: Seed of the losses.
    """

    n_workers: int
    join_interval_s: float = 0.0
    lifetime_s: float = math.inf
    mean_time_to_loss_s: float = math.inf
    replacement_s: float = 0.0
    max_losses: int = 3
    limit_s: float = math.inf
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_workers < 1:
            raise ValueError(f"--workers: got {self.n_workers}, expected at least 1")
        for name in ("join_interval_s", "replacement_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least 0")
        for name in ("lifetime_s", "mean_time_to_loss_s", "limit_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected more than 0")


@dataclass(kw_only=True)
class VirtualRun:
    """What a simulated study came to.

    Attributes:
        results: All results, in the order in which they arrived.
        duration_s: Seconds until the last result, or the limit.
        busy_s: Seconds that workers spent on trials, all of them together.
        lost_s: Seconds of these on trials that had to run again, or ended as lost.
        present_s: Seconds that workers were there, all of them together.
        n_lost: Workers that were lost.
        n_preempted: Workers that were preempted.
        is_done: Whether all results are there.
        model_based_share: Share of the configurations that the model proposed.
    """

    results: list[TrialResult] = field(default_factory=list)
    duration_s: float = 0.0
    busy_s: float = 0.0
    lost_s: float = 0.0
    present_s: float = 0.0
    n_lost: int = 0
    n_preempted: int = 0
    is_done: bool = False
    model_based_share: float = 0.0

    @property
    def idle_share(self) -> float:
        """Share of the workers' time in which they had nothing to do."""
        return max(0.0, 1 - self.busy_s / self.present_s) if self.present_s else 0.0


#: A preempted worker of virtual time loses all progress, so its job may come back often.
_NO_LIMIT = 10**9


class _Event(NamedTuple):
    """Something that will happen; ``number`` decides between equal times."""

    time_s: float
    number: int
    happen: Callable[[], None]


def simulate(tuner: Tuner, answer: Callable[[TrialSpec], Answer], fleet: Fleet) -> VirtualRun:
    """Runs a tuner to its end, or to the limit, over simulated workers.

    Args:
        tuner: What runs next; it may have been replayed from a journal.
        answer: Outcome and duration of a trial; asked again for a trial that runs again.
        fleet: The workers.

    Raises:
        ValueError: A trial lasts longer than a worker lives, so that it would never end, or ``answer`` raises it.
    """
    return _Simulation(tuner, answer, fleet).run()


class _Simulation:
    """See ``simulate``."""

    def __init__(self, tuner: Tuner, answer: Callable[[TrialSpec], Answer], fleet: Fleet) -> None:
        self._tuner, self._answer, self._fleet = tuner, answer, fleet
        self._pool = Pool(
            suspicion_s=math.inf, silence_limit_s=math.inf, max_losses=fleet.max_losses, max_returns=_NO_LIMIT
        )
        self._rng = np.random.default_rng(fleet.seed)
        self._events: list[_Event] = []
        self._n_events = 0
        self._n_joined = 0
        self._n_out = 0  # submitted and not finished
        self._joined_s: dict[str, float] = {}
        self._began_s: dict[str, float] = {}  # by worker, of the trial that it runs
        self._now = 0.0
        self._run = VirtualRun()

    def run(self) -> VirtualRun:
        for i in range(self._fleet.n_workers):
            self._at(i * self._fleet.join_interval_s, self._join)
        while self._events and not self._tuner.is_done and self._events[0].time_s <= self._fleet.limit_s:
            self._now = self._events[0].time_s
            while self._events and self._events[0].time_s == self._now:
                heapq.heappop(self._events).happen()
            self._hand_out()
        run = self._run
        run.is_done = self._tuner.is_done
        run.duration_s = self._now = self._now if run.is_done else self._fleet.limit_s
        for worker in list(self._joined_s):
            self._leave(worker)
        proposals = self._tuner.proposals.values()
        run.model_based_share = sum(proposal.model_based for proposal in proposals) / max(len(proposals), 1)
        return run

    def _at(self, time_s: float, happen: Callable[[], None]) -> None:
        if time_s < math.inf:
            heapq.heappush(self._events, _Event(time_s, self._n_events, happen))
            self._n_events += 1

    def _join(self) -> None:
        worker = f"worker-{self._n_joined}"
        self._n_joined += 1
        self._joined_s[worker] = self._now
        self._pool.join(worker, self._now, is_idle=True)
        self._at(self._now + self._fleet.lifetime_s, lambda: self._lose(worker, is_preempted=True))
        if self._fleet.mean_time_to_loss_s < math.inf:
            time_to_loss = float(self._rng.exponential(self._fleet.mean_time_to_loss_s))
            self._at(self._now + time_to_loss, lambda: self._lose(worker, is_preempted=False))

    def _hand_out(self) -> None:
        """Asks for as many trials as there are workers without one, and hands them out."""
        while self._n_out < len(self._joined_s) and (trial := self._tuner.ask()) is not None:
            self._n_out += 1
            model_based = self._tuner.proposals[trial.config_id].model_based
            self._pool.submit(TrialJob(trial, model_based, submitted=self._now))
        while (assignment := self._pool.assign(self._now)) is not None:
            self._begin(assignment.job, assignment.worker, assignment.ticket)

    def _begin(self, job: TrialJob, worker: str, ticket: str) -> None:
        answer = self._answer(job.trial)
        if answer.duration_s >= self._fleet.lifetime_s:
            raise ValueError(
                f"--preempt-every-h: got {self._fleet.lifetime_s:g} s, expected more than the {answer.duration_s:g} s "
                f"of {job.name}, which would never end"
            )
        job.started = self._began_s[worker] = self._now
        self._at(self._now + answer.duration_s, lambda: self._report(ticket, worker, answer.evaluation))

    def _report(self, ticket: str, worker: str, evaluation: Evaluation) -> None:
        if worker not in self._joined_s:
            return  # it was lost meanwhile
        job = self._pool.report(ticket)
        assert job is not None, "no other worker has the ticket"
        self._run.busy_s += self._now - self._began_s.pop(worker)
        job.finished = self._now
        self._tell(job.result_of(evaluation))

    def _tell(self, result: TrialResult) -> None:
        self._n_out -= 1
        self._run.results.append(result)
        self._tuner.tell(result)

    def _lose(self, worker: str, is_preempted: bool) -> None:
        if worker not in self._joined_s:
            return  # it is gone already
        self._leave(worker)
        loss = self._pool.lose(
            worker, "preempted" if is_preempted else "lost", Leave.RETURN if is_preempted else Leave.LOSS
        )
        self._run.n_preempted += is_preempted
        self._run.n_lost += not is_preempted
        if loss is not None and loss.job is not None and loss.is_given_up:
            loss.job.finish(None, self._now)
            self._tell(loss.job.result())
        self._at(self._now + self._fleet.replacement_s, self._join)

    def _leave(self, worker: str) -> None:
        """Settles the time of a worker that is gone, or that is there when the study ends."""
        self._run.present_s += self._now - self._joined_s.pop(worker)
        wasted_s = self._now - self._began_s.pop(worker, self._now)
        self._run.busy_s += wasted_s
        self._run.lost_s += wasted_s


class RecordedAnswers:
    """Answers with what a recorded run holds.

    A trial that the run holds, with the same configuration, gets its own outcome and duration. With another number of
    workers, the tuner soon proposes other configurations: these get those of a recorded trial at the same budget,
    which is drawn with the seed of the trial.

    Attributes:
        n_own: How often a trial got its own answer.
        n_drawn: How often it got that of another one.
    """

    def __init__(self, results: Iterable[TrialResult]) -> None:
        """Takes a run's results; of several results of a trial, the first counts."""
        self._own: dict[tuple[ConfigId, float], TrialResult] = {}
        self._at_budget: dict[float, list[TrialResult]] = {}
        for result in first_results(results):
            self._own[result.config_id, result.budget] = result
            self._at_budget.setdefault(result.budget, []).append(result)
        self.n_own = self.n_drawn = 0

    def __call__(self, trial: TrialSpec) -> Answer:
        """The answer to a trial.

        Raises:
            ValueError: The run has no result at the trial's budget.
        """
        own = self._own.get((trial.config_id, trial.budget))
        if own is not None and own.config == trial.config:
            self.n_own += 1
            return self._answer(own)
        others = self._at_budget.get(trial.budget)
        if not others:
            raise ValueError(
                f"run: got no result at {trial.budget} epochs, expected at least one to tell how long a trial takes; "
                "simulate a run that has got further"
            )
        self.n_drawn += 1
        return self._answer(others[int(np.random.default_rng(trial.seed).integers(len(others)))])

    @staticmethod
    def _answer(result: TrialResult) -> Answer:
        return Answer(result.evaluation, result.finished - result.started)


class PlannedAnswers:
    """Answers for a study that has not begun: so many seconds per epoch, and an error by chance.

    The errors decide on who advances, and on what the model proposes, but not on how many trials there are.
    """

    def __init__(self, seconds_per_epoch: float) -> None:
        """Takes the seconds of one search epoch.

        Raises:
            ValueError: They are no number above 0.
        """
        if not 0 < seconds_per_epoch < math.inf:
            raise ValueError(f"--plan: got {seconds_per_epoch}, expected the seconds of one search epoch, above 0")
        self._seconds_per_epoch = seconds_per_epoch

    def __call__(self, trial: TrialSpec) -> Answer:
        """The answer to a trial; its error is its seed, as a fraction of the largest seed."""
        evaluation = Evaluation(status=Status.OK, validation_error=trial.seed / 2**32, seed=trial.seed)
        return Answer(evaluation, trial.budget * self._seconds_per_epoch)
