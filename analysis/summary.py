"""A study in numbers: counts, incumbents, comparison with the default configuration, times."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum

from analysis.load import LoadedRun
from analysis.trajectory import incumbents_after, replay
from results.incumbents import IncumbentMode
from results.records import ConfigId, Status, TrialResult


class Verdict(str, Enum):
    """The result of comparing the incumbent's test error with the default configuration's."""

    BETTER = "better"
    EQUAL = "equal"
    WORSE = "NOT better"


@dataclass(frozen=True)
class Comparison:
    """The incumbent beside the default configuration, over the same budgets.

    Both are chosen by validation error; their test errors are compared.

    Attributes:
        budget: Budget (in epochs) of both; None if each is the best at any budget.
        incumbent: Best evaluation of the study.
        default: Best evaluation of the default configuration.
        n_evaluations: Number of evaluations of which the incumbent is the best.
        n_default: Number of evaluations of the default configuration of which ``default`` is the best.
        verdict: Comparison of the test errors; None if one of them is unknown.
    """

    budget: float | None
    incumbent: TrialResult
    default: TrialResult
    n_evaluations: int
    n_default: int
    verdict: Verdict | None


@dataclass(frozen=True)
class Utilisation:
    """Utilisation of the workers, by the wall clock.

    Attributes:
        span_s: Seconds from the first job's start to the last job's end.
        busy_s: Worker to its seconds on jobs; evaluations that name no worker are under ``"unknown"``.
        n_workers: Number of workers for which the study was planned.
        fraction: Busy seconds divided by ``n_workers * span_s``; None if the span is 0.
    """

    span_s: float
    busy_s: Mapping[str, float]
    n_workers: int
    fraction: float | None


@dataclass(frozen=True)
class Times:
    """Seconds of all evaluations, failed ones included.

    Attributes:
        t_search_s: Sum of the measured searches.
        t_train_s: Sum of the table's training times of the found cells.
        mean_t_search_s: Mean search time per evaluation.
        mean_t_sim_s: Mean of ``t_search + t_train`` per evaluation.
        parallel_s: Simulated time of the whole study on its own number of workers.
    """

    t_search_s: float
    t_train_s: float
    mean_t_search_s: float
    mean_t_sim_s: float
    parallel_s: float


@dataclass(frozen=True)
class Summary:
    """A study in numbers; see ``summarise``.

    Attributes:
        n_evaluations: Number of results, failures included.
        n_pending: Number of configurations without a result yet.
        counts: Budget in epochs to status to the number of evaluations.
        incumbents: Mode to the incumbent at the end; None if no evaluation may be the incumbent.
        comparisons: Comparisons with the default configuration: over any budget, and at the largest budget at which
            the default succeeded. Empty if the default has not succeeded (yet).
        default_statuses: Budget to the status of the default configuration's evaluation there.
        times: Times of all evaluations; None without evaluations.
        utilisation: Utilisation of the workers; None without evaluations.
    """

    n_evaluations: int
    n_pending: int
    counts: Mapping[float, Mapping[Status, int]]
    incumbents: Mapping[IncumbentMode, TrialResult | None]
    comparisons: Sequence[Comparison]
    default_statuses: Mapping[float, Status]
    times: Times | None
    utilisation: Utilisation | None


def summarise(run: LoadedRun) -> Summary:
    """Summarises a study in numbers."""
    results, n_workers, default_ids = run.results, run.n_workers, run.default_ids
    with_result = {result.config_id for result in results}
    at_largest = [] if run.largest_budget is None else _at(run.largest_budget, results)
    incumbents = {
        mode: best_of(at_largest if mode is IncumbentMode.LARGEST_BUDGET else results, mode) for mode in IncumbentMode
    }
    return Summary(
        n_evaluations=len(results),
        n_pending=len(set(run.configs) - with_result),
        counts=count_evaluations(results),
        incumbents=incumbents,
        comparisons=compare_with_default(results, default_ids),
        default_statuses={r.budget: r.evaluation.status for r in results if r.config_id in default_ids},
        times=sum_times(results, n_workers) if results else None,
        utilisation=utilisation(results, n_workers) if results else None,
    )


def count_evaluations(results: Sequence[TrialResult]) -> dict[float, dict[Status, int]]:
    """Counts the evaluations per budget (in epochs, ascending) and status."""
    counts: defaultdict[float, Counter[Status]] = defaultdict(Counter)
    for result in results:
        counts[result.budget][result.evaluation.status] += 1
    return {budget: dict(counts[budget]) for budget in sorted(counts)}


def best_of(results: Sequence[TrialResult], mode: IncumbentMode = IncumbentMode.ANY_BUDGET) -> TrialResult | None:
    """Finds the incumbent at the end of ``results``; of equals, the one that finished first."""
    by_finish = sorted(results, key=lambda result: result.finished)
    position = int(incumbents_after(by_finish, mode)[-1]) if by_finish else -1
    return by_finish[position] if position >= 0 else None


def compare_with_default(results: Sequence[TrialResult], default_ids: Set[ConfigId]) -> tuple[Comparison, ...]:
    """Compares the incumbent with the default configuration, over any budget and at the default's largest budget."""
    default_ok = [r for r in results if r.config_id in default_ids and r.evaluation.status is Status.OK]
    if not default_ok:
        return ()
    largest = max(result.budget for result in default_ok)
    ok = [result for result in results if result.evaluation.status is Status.OK]
    return (
        _compare(None, ok, default_ok),
        _compare(largest, _at(largest, ok), _at(largest, default_ok)),
    )


def _compare(budget: float | None, results: Sequence[TrialResult], of_default: Sequence[TrialResult]) -> Comparison:
    """The best of successful evaluations, of which there is at least one, beside the best of the default's."""
    ours, theirs = best_of(results), best_of(of_default)
    assert ours is not None, "the default's evaluations are among all"
    assert theirs is not None, "the default was evaluated"
    verdict = compare_test_errors(ours, theirs)
    return Comparison(budget, ours, theirs, len(results), len(of_default), verdict)


def _at(budget: float, results: Sequence[TrialResult]) -> list[TrialResult]:
    return [result for result in results if result.budget == budget]


def compare_test_errors(incumbent: TrialResult, default: TrialResult) -> Verdict | None:
    """Compares the incumbent's test error with the default's; None if one is unknown."""
    ours, theirs = incumbent.evaluation.test_error, default.evaluation.test_error
    if ours is None or theirs is None:
        return None
    if ours == theirs:
        return Verdict.EQUAL
    return Verdict.BETTER if ours < theirs else Verdict.WORSE


def sum_times(results: Sequence[TrialResult], n_workers: int) -> Times:
    """Sums the times of at least one evaluation; ``n_workers`` is for the simulated parallel time."""
    t_search = sum(result.evaluation.t_search_s for result in results)
    t_train = sum(result.evaluation.t_train_s or 0.0 for result in results)
    n = len(results)
    return Times(t_search, t_train, t_search / n, (t_search + t_train) / n, replay(results, n_workers)[-1].end)


def utilisation(results: Sequence[TrialResult], n_workers: int) -> Utilisation:
    """Computes the utilisation of the workers in at least one evaluation."""
    span = max(result.finished for result in results) - min(result.started for result in results)
    busy: defaultdict[str, float] = defaultdict(float)
    for result in results:
        busy[result.evaluation.worker or "unknown"] += result.finished - result.started
    fraction = sum(busy.values()) / (n_workers * span) if span > 0 else None
    return Utilisation(span, dict(sorted(busy.items())), n_workers, fraction)
