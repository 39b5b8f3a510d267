"""The incumbent over time: the configuration that a user would have held had the study ended there.

The VALIDATION error alone chooses the incumbent; its test error and test regret are only reported. At any
time the incumbent depends on what has ended by then and on nothing later: before the first successful
evaluation has ended there is none.

Notation:
    t_sim: the paper's simulated time of an evaluation in seconds, ``t_search + t_train``: the measured
        search, and the training time that the table holds for the cell that was found. A failed
        evaluation has no cell; it costs its ``t_search`` and can never be the incumbent.

Time axes, all starting at 0:
    * ``serial``: the sum of t_sim in the order in which the evaluations finished, as in the paper: one
      worker does everything.
    * ``parallel``: n workers in simulated time, see ``replay``.
    * ``wall_clock``: what the study really took since its first job was submitted. It holds the
      searches and the master's overhead but no training of the found cells, which the table spares.

Differs from the original (automl/nasbench-1shot1): its public code chose incumbents by test error, drew
parallel workers on the serial axis, dropped failed evaluations with their cost, and filled early times with
later results.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from results.records import Status, TrialResult


class IncumbentMode(str, Enum):
    """Which evaluations may be the incumbent.

    * ``any_budget``: the lowest validation error so far, whatever the budget.
    * ``largest_budget``: the lowest validation error so far among evaluations at the study's largest budget.
    * ``larger_preferred``: the lowest validation error so far among evaluations at the largest budget that
      any successful evaluation has had so far; the error rises where a larger budget is first reached.
    """

    ANY_BUDGET = "any_budget"
    LARGEST_BUDGET = "largest_budget"
    LARGER_PREFERRED = "larger_preferred"


class TimeAxis(str, Enum):
    """What time means; see the module's docstring."""

    SERIAL = "serial"
    PARALLEL = "parallel"
    WALL_CLOCK = "wall_clock"


@dataclass(frozen=True)
class TimedResult:
    """An evaluation on a time axis.

    Attributes:
        start_s: When it began.
        end_s: When it ended, from which on it can be the incumbent.
        result: The evaluation.
        test_regret: Its test error minus the best test error in the space; None where either is unknown.
    """

    start_s: float
    end_s: float
    result: TrialResult
    test_regret: float | None = None


@dataclass(frozen=True)
class Trajectory:
    """A step function of time: each incumbent holds from its ``end_s`` on, until the next one's.

    Attributes:
        axis: What time means.
        mode: Which evaluations may be the incumbent.
        evaluations: All of them, in the order in which they ended on the axis.
        incumbents: Those that became the incumbent, in the same order.
        end_s: When the last evaluation ended; 0 without evaluations. The last incumbent holds until then.
    """

    axis: TimeAxis
    mode: IncumbentMode
    evaluations: tuple[TimedResult, ...]
    incumbents: tuple[TimedResult, ...]
    end_s: float

    def at(self, time_s: float) -> TimedResult | None:
        """The incumbent at a time, or None before the first one."""
        position = bisect_right(self.incumbents, time_s, key=lambda incumbent: incumbent.end_s)
        return self.incumbents[position - 1] if position else None


def incumbent_trajectory(
    results: Iterable[TrialResult],
    axis: TimeAxis,
    mode: IncumbentMode = IncumbentMode.ANY_BUDGET,
    *,
    n_workers: int = 1,
    largest_budget: float | None = None,
    best_test_error: float | None = None,
) -> Trajectory:
    """The incumbent over time.

    Args:
        results: A run's results, in any order.
        axis: What time means.
        mode: Which evaluations may be the incumbent.
        n_workers: For the parallel axis.
        largest_budget: The study's, in epochs, for the mode ``largest_budget``; None: the largest in the results.
        best_test_error: The lowest in the search space by the table, for the regret; None: no regrets.

    Raises:
        ValueError: ``n_workers`` is below 1.
    """
    placed = [
        TimedResult(timed.start_s, timed.end_s, timed.result, _regret(timed.result, best_test_error))
        for timed in place(results, axis, n_workers)
    ]
    if largest_budget is None:
        largest_budget = max((timed.result.budget for timed in placed), default=0)
    incumbents: list[TimedResult] = []
    for timed in placed:
        if mode is IncumbentMode.LARGEST_BUDGET and timed.result.budget != largest_budget:
            continue
        if improves(timed.result, incumbents[-1].result if incumbents else None, mode):
            incumbents.append(timed)
    end_s = placed[-1].end_s if placed else 0.0
    return Trajectory(axis, mode, tuple(placed), tuple(incumbents), end_s)


def improves(candidate: TrialResult, incumbent: TrialResult | None, mode: IncumbentMode) -> bool:
    """Whether ``candidate`` takes the incumbent's place; at equal errors the incumbent keeps it."""
    error = candidate.evaluation.validation_error
    if candidate.evaluation.status is not Status.OK or error is None:
        return False
    if incumbent is None or incumbent.evaluation.validation_error is None:
        return True
    if mode is IncumbentMode.LARGER_PREFERRED and candidate.budget != incumbent.budget:
        return candidate.budget > incumbent.budget
    return error < incumbent.evaluation.validation_error


def place(results: Iterable[TrialResult], axis: TimeAxis, n_workers: int = 1) -> tuple[TimedResult, ...]:
    """The evaluations on a time axis, in the order in which they end there.

    Args:
        results: A run's results, in any order.
        axis: What time means.
        n_workers: For the parallel axis.

    Raises:
        ValueError: ``n_workers`` is below 1.
    """
    by_finish = sorted(results, key=lambda result: result.finished)
    if axis is TimeAxis.PARALLEL:
        return replay(by_finish, n_workers)
    if axis is TimeAxis.WALL_CLOCK:
        origin = min((result.submitted for result in by_finish), default=0.0)
        return tuple(TimedResult(result.started - origin, result.finished - origin, result) for result in by_finish)
    placed, now = [], 0.0
    for result in by_finish:
        end = now + result.evaluation.t_sim_s
        placed.append(TimedResult(now, end, result))
        now = end
    return tuple(placed)


def replay(results: Sequence[TrialResult], n_workers: int) -> tuple[TimedResult, ...]:
    """A run as it would have gone had each evaluation taken t_sim on one of n workers.

    The evaluations are handed out in the order in which they really started (ties: in which they finished).
    Each goes to the worker that is free first (ties: the first of them), and starts when that worker is
    free and everything has ended that it really waited for:

    * the evaluations of its own iteration at smaller budgets that had finished when it started, because
      successive halving compared them before it was promoted;
    * earlier results of the same trial, in logs that hold several.

    A worker that waits so stays idle: no later evaluation overtakes on it. What the model had learned from
    other iterations is not waited for, as the asynchronous master does not wait for it either.

    Args:
        results: A run's results, in any order.
        n_workers: How many workers share them; with one, the order of starts is the order of ends.

    Returns:
        The evaluations in the order in which they end; ties in the order in which they were handed out.

    Raises:
        ValueError: ``n_workers`` is below 1.
    """
    if n_workers < 1:
        raise ValueError(f"n_workers: got {n_workers}, expected at least 1")
    free_s = [0.0] * n_workers
    ended: dict[int, list[TimedResult]] = {}
    placed = []
    for result in sorted(results, key=lambda result: (result.started, result.finished)):
        siblings = ended.setdefault(result.config_id[0], [])
        waited_for = (sibling.end_s for sibling in siblings if _waits_for(result, sibling.result))
        worker = free_s.index(min(free_s))
        start = max(free_s[worker], max(waited_for, default=0.0))
        timed = TimedResult(start, start + result.evaluation.t_sim_s, result)
        free_s[worker] = timed.end_s
        siblings.append(timed)
        placed.append(timed)
    return tuple(sorted(placed, key=lambda timed: timed.end_s))


def _waits_for(result: TrialResult, sibling: TrialResult) -> bool:
    is_smaller = sibling.budget < result.budget
    is_attempt = sibling.config_id == result.config_id and sibling.budget == result.budget
    return (is_smaller or is_attempt) and sibling.finished <= result.started


def _regret(result: TrialResult, best_test_error: float | None) -> float | None:
    test_error = result.evaluation.test_error
    return None if test_error is None or best_test_error is None else test_error - best_test_error
