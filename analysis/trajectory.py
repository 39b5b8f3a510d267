"""The incumbent of a study over time, or over another cost: what a user would choose if the study ended then.

The VALIDATION error alone chooses the incumbent (``results.incumbents``); its test error and test regret are only
reported.

Notation:
    t_sim: the paper's simulated time of an evaluation in seconds, ``t_search + t_train``: the measured
        search, and the training time of the found cell in the table. A failed evaluation has no cell; it
        costs its ``t_search`` and can never be the incumbent.

Axes, all starting at 0:
    * ``evaluations``: the number of evaluations that have ended, failed ones included.
    * ``epochs``: the sum of their budgets in search epochs. A failed evaluation counts with its whole budget,
      because its record does not have the epochs before the failure.
    * ``serial``: the sum of t_sim in the order in which the evaluations finished, as in the paper; one
      worker does everything.
    * ``parallel``: the simulated time of n workers, see ``replay``.
    * ``wall_clock``: the measured time since the first job was submitted. It holds the searches and the
      master's overhead, but no training of the found cells, which the table spares.

Differs from the original (automl/nasbench-1shot1): its public code chose incumbents by test error, drew
parallel workers on the serial axis, dropped failed evaluations with their cost, and filled early times with
later results.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import numpy.typing as npt

from results.incumbents import IncumbentMode, incumbent_positions
from results.records import Status, TrialResult


class Axis(str, Enum):
    """What a study has spent; see the module's docstring."""

    EVALUATIONS = "evaluations"
    EPOCHS = "epochs"
    SERIAL = "serial"
    PARALLEL = "parallel"
    WALL_CLOCK = "wall_clock"

    @property
    def is_time(self) -> bool:
        """Whether the axis is in seconds, and not a count."""
        return self not in (Axis.EVALUATIONS, Axis.EPOCHS)


@dataclass(frozen=True)
class PlacedResult:
    """An evaluation on an axis.

    Attributes:
        start: Seconds, evaluations or epochs at which the evaluation began.
        end: The same at which the evaluation ended; from then on it can be the incumbent.
        result: Evaluation.
        test_regret: Test error minus the best test error in the space; only incumbents have it, where both are known.
    """

    start: float
    end: float
    result: TrialResult
    test_regret: float | None = None


@dataclass(frozen=True)
class Trajectory:
    """A step function: each incumbent holds from its ``end`` on, until the next one's.

    Attributes:
        axis: What is spent.
        mode: Rule that chooses the incumbent.
        evaluations: All evaluations, in the order in which they ended on the axis.
        incumbents: Evaluations that became the incumbent, in the same order.
        end: Place at which the last evaluation ended; 0 without evaluations. The last incumbent holds until then.
    """

    axis: Axis
    mode: IncumbentMode
    evaluations: tuple[PlacedResult, ...]
    incumbents: tuple[PlacedResult, ...]
    end: float

    def at(self, place: float) -> PlacedResult | None:
        """Finds the incumbent at a place on the axis; None before the first one."""
        position = bisect_right(self.incumbents, place, key=lambda incumbent: incumbent.end)
        return self.incumbents[position - 1] if position else None


def incumbent_trajectory(
    results: Iterable[TrialResult],
    axis: Axis,
    mode: IncumbentMode = IncumbentMode.ANY_BUDGET,
    *,
    n_workers: int = 1,
    largest_budget: float | None = None,
    best_test_error: float | None = None,
) -> Trajectory:
    """Computes the incumbent over an axis.

    Args:
        results: Results of a run, in any order.
        axis: What is spent.
        mode: Rule that chooses the incumbent.
        n_workers: Number of workers, for the parallel axis.
        largest_budget: Largest budget of the study in epochs, for the mode ``largest_budget``; None for the largest
            in the results.
        best_test_error: Lowest test error of the search space in the table, for the regret; None for no regrets.

    Raises:
        ValueError: ``n_workers`` is below 1.
    """
    placed = place(results, axis, n_workers)
    return trajectory_of(placed, axis, mode, largest_budget=largest_budget, best_test_error=best_test_error)


def trajectory_of(
    placed: tuple[PlacedResult, ...],
    axis: Axis,
    mode: IncumbentMode,
    *,
    largest_budget: float | None = None,
    best_test_error: float | None = None,
) -> Trajectory:
    """Computes the incumbent over an axis on which the evaluations were placed; see ``incumbent_trajectory``."""
    positions = incumbents_after([timed.result for timed in placed], mode, largest_budget)
    incumbents = tuple(
        replace(placed[position], test_regret=_regret(placed[position].result, best_test_error))
        for position in dict.fromkeys(positions.tolist())
        if position >= 0
    )
    return Trajectory(axis, mode, placed, incumbents, placed[-1].end if placed else 0.0)


def incumbents_after(
    results: Sequence[TrialResult], mode: IncumbentMode, largest_budget: float | None = None
) -> npt.NDArray[np.int64]:
    """Finds the position of the incumbent after each of the results, which stand in the order of their ends."""
    return incumbent_positions(
        [validation_error_of(result) for result in results],
        [result.budget for result in results],
        mode,
        largest_budget,
    )


def validation_error_of(result: TrialResult) -> float:
    """The error that chooses; NaN for a failed evaluation."""
    error = result.evaluation.validation_error
    return math.nan if error is None or result.evaluation.status is not Status.OK else error


def place(results: Iterable[TrialResult], axis: Axis, n_workers: int = 1) -> tuple[PlacedResult, ...]:
    """Places the evaluations on an axis, in the order in which they end there.

    Args:
        results: Results of a run, in any order.
        axis: What is spent.
        n_workers: Number of workers, for the parallel axis.

    Raises:
        ValueError: ``n_workers`` is below 1.
    """
    by_finish = sorted(results, key=lambda result: result.finished)
    if axis is Axis.PARALLEL:
        return replay(by_finish, n_workers)
    if axis is Axis.WALL_CLOCK:
        origin = min((result.submitted for result in by_finish), default=0.0)
        return tuple(PlacedResult(result.started - origin, result.finished - origin, result) for result in by_finish)
    placed, now = [], 0.0
    for result in by_finish:
        end = now + _cost(result, axis)
        placed.append(PlacedResult(now, end, result))
        now = end
    return tuple(placed)


def _cost(result: TrialResult, axis: Axis) -> float:
    """The length of an evaluation on an axis on which evaluations follow each other."""
    if axis is Axis.EVALUATIONS:
        return 1.0
    return result.budget if axis is Axis.EPOCHS else result.evaluation.t_sim_s


def replay(results: Sequence[TrialResult], n_workers: int) -> tuple[PlacedResult, ...]:
    """Simulates a run in which each evaluation takes t_sim on one of n workers.

    The evaluations are handed out in the order in which they really started (ties: in which they finished).
    Each goes to the worker that is free first (ties: the first of them). It starts when that worker is free
    and when the evaluations have ended that it really waited for:

    * the evaluations of its own iteration at smaller budgets that had finished when it started, because
      successive halving compared them before it was promoted;
    * earlier results of the same trial, in logs that hold several.

    Such a waiting worker stays idle: no later evaluation overtakes on it. The simulation does not wait for the
    results of other iterations that the model had learned; the asynchronous master does not wait for them either.

    Args:
        results: Results of a run, in any order.
        n_workers: Number of workers; with one, the order of starts is the order of ends.

    Returns:
        The evaluations in the order in which they end; ties in the order in which they were handed out.

    Raises:
        ValueError: ``n_workers`` is below 1.
    """
    if n_workers < 1:
        raise ValueError(f"n_workers: got {n_workers}, expected at least 1")
    free_s = [0.0] * n_workers
    ended: dict[int, list[PlacedResult]] = {}
    placed = []
    for result in sorted(results, key=lambda result: (result.started, result.finished)):
        siblings = ended.setdefault(result.config_id[0], [])
        waited_for = (sibling.end for sibling in siblings if _waits_for(result, sibling.result))
        worker = free_s.index(min(free_s))
        start = max(free_s[worker], max(waited_for, default=0.0))
        timed = PlacedResult(start, start + result.evaluation.t_sim_s, result)
        free_s[worker] = timed.end
        siblings.append(timed)
        placed.append(timed)
    return tuple(sorted(placed, key=lambda timed: timed.end))


def _waits_for(result: TrialResult, sibling: TrialResult) -> bool:
    is_smaller = sibling.budget < result.budget
    is_attempt = sibling.config_id == result.config_id and sibling.budget == result.budget
    return (is_smaller or is_attempt) and sibling.finished <= result.started


def _regret(result: TrialResult, best_test_error: float | None) -> float | None:
    test_error = result.evaluation.test_error
    return None if test_error is None or best_test_error is None else test_error - best_test_error


def time_unit(duration_s: float) -> tuple[str, float]:
    """The name and the seconds of the unit that suits a duration."""
    units = (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0))
    return next(((name, unit_s) for name, unit_s in units if duration_s >= 3 * unit_s), ("seconds", 1.0))
