"""A study in numbers: counts, incumbents, how they compare with the default configuration, times."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum

from analysis.load import LoadedRun
from analysis.trajectory import IncumbentMode, improves, replay
from results.records import ConfigId, Status, TrialResult


class Verdict(str, Enum):
    """How the incumbent's test error compares with the default configuration's."""

    BETTER = "better"
    EQUAL = "equal"
    WORSE = "NOT better"


@dataclass(frozen=True)
class Comparison:
    """The incumbent beside the default configuration, over the same budgets.

    Both are chosen by validation error; their test errors are what is compared.

    Attributes:
        budget: The only budget (in epochs) that both were taken from; None: any budget, for each its best.
        incumbent: The best evaluation of the study.
        default: The best evaluation of the default configuration.
        verdict: On the test errors; None where one of them is unknown.
    """

    budget: float | None
    incumbent: TrialResult
    default: TrialResult
    verdict: Verdict | None


@dataclass(frozen=True)
class Utilisation:
    """How busy the workers were, by the wall clock.

    Attributes:
        span_s: From the first job's start to the last one's end.
        busy_s: Worker to the seconds it spent on jobs; evaluations that name no worker are under ``"unknown"``.
        n_workers: How many workers the study was made for.
        fraction: The busy seconds over ``n_workers * span_s``; None where nothing took any time.
    """

    span_s: float
    busy_s: Mapping[str, float]
    n_workers: int
    fraction: float | None


@dataclass(frozen=True)
class Times:
    """Seconds of all evaluations, failed ones included.

    Attributes:
        t_search_s: Measured searches, summed.
        t_train_s: The table's training times of the found cells, summed.
        mean_t_search_s: The first by the number of evaluations.
        mean_t_sim_s: ``t_search + t_train`` by the number of evaluations.
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
        n_pending: Configurations without any result yet.
        counts: Budget in epochs to status to the number of evaluations.
        incumbents: Mode to the incumbent at the end; None where no evaluation may be it.
        comparisons: With the default configuration: over any budget, and at the largest budget at which
            the default succeeded. Empty where it did not succeed (yet).
        default_statuses: Of all evaluations of the default configuration, budget to status.
        times: None without evaluations.
        utilisation: None without evaluations.
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
    """A study in numbers."""
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
    """Budget in epochs, ascending, to status to the number of evaluations."""
    counts: defaultdict[float, Counter[Status]] = defaultdict(Counter)
    for result in results:
        counts[result.budget][result.evaluation.status] += 1
    return {budget: dict(counts[budget]) for budget in sorted(counts)}


def best_of(results: Sequence[TrialResult], mode: IncumbentMode = IncumbentMode.ANY_BUDGET) -> TrialResult | None:
    """The incumbent at the end of ``results``; the first finished one of equals."""
    best: TrialResult | None = None
    for result in sorted(results, key=lambda result: result.finished):
        if improves(result, best, mode):
            best = result
    return best


def compare_with_default(results: Sequence[TrialResult], default_ids: Set[ConfigId]) -> tuple[Comparison, ...]:
    """The incumbent beside the default configuration, over any budget and at the default's largest budget."""
    default_ok = [r for r in results if r.config_id in default_ids and r.evaluation.status is Status.OK]
    if not default_ok:
        return ()
    largest = max(result.budget for result in default_ok)
    comparisons = []
    for budget, ours, theirs in (
        (None, best_of(results), best_of(default_ok)),
        (largest, best_of(_at(largest, results)), best_of(_at(largest, default_ok))),
    ):
        if ours is not None and theirs is not None:
            comparisons.append(Comparison(budget, ours, theirs, compare_test_errors(ours, theirs)))
    return tuple(comparisons)


def _at(budget: float, results: Sequence[TrialResult]) -> list[TrialResult]:
    return [result for result in results if result.budget == budget]


def compare_test_errors(incumbent: TrialResult, default: TrialResult) -> Verdict | None:
    """How the incumbent's test error compares with the default's; None where one is unknown."""
    ours, theirs = incumbent.evaluation.test_error, default.evaluation.test_error
    if ours is None or theirs is None:
        return None
    if ours == theirs:
        return Verdict.EQUAL
    return Verdict.BETTER if ours < theirs else Verdict.WORSE


def sum_times(results: Sequence[TrialResult], n_workers: int) -> Times:
    """The times of at least one evaluation; ``n_workers`` is for the simulated parallel time."""
    t_search = sum(result.evaluation.t_search_s for result in results)
    t_train = sum(result.evaluation.t_train_s or 0.0 for result in results)
    n = len(results)
    return Times(t_search, t_train, t_search / n, (t_search + t_train) / n, replay(results, n_workers)[-1].end_s)


def utilisation(results: Sequence[TrialResult], n_workers: int) -> Utilisation:
    """How busy the workers were in at least one evaluation."""
    span = max(result.finished for result in results) - min(result.started for result in results)
    busy: defaultdict[str, float] = defaultdict(float)
    for result in results:
        busy[result.evaluation.worker or "unknown"] += result.finished - result.started
    fraction = sum(busy.values()) / (n_workers * span) if span > 0 else None
    return Utilisation(span, dict(sorted(busy.items())), n_workers, fraction)
