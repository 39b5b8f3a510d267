"""The evaluations of a run as importances take them: budget by budget, with the reasons why others are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from analysis.importance import Dimension, FanovaSettings, Surrogate, dimensions_of, surrogate_of, with_budget
from analysis.importance.axes import FloatArray
from analysis.importance.dimensions import is_missing
from analysis.load import LoadedRun
from analysis.summary import best_of
from results.records import ConfigId, Status, TrialResult, Value

#: Below this number of evaluations a forest says nothing: shuffled losses reach the same importances.
LEAST_EVALUATIONS = 10
#: Largest number of evaluations per tree, so that a run of 100,000 evaluations takes seconds.
EVALUATIONS_PER_TREE = 1_000


class NoImportancesError(ValueError):
    """A run has no evaluations that importances can be computed from; the message says why."""


@dataclass(frozen=True, kw_only=True, eq=False)  # they are a key of a cache
class Evaluations:
    """The evaluations at one budget, or at all budgets.

    Attributes:
        budget: Search epochs; None for all budgets, where the budget is a hyperparameter.
        dimensions: Configuration space.
        configurations: Hyperparameter to value, one per evaluation that succeeded.
        losses: Losses of these evaluations, [n].
        groups: What tells the configurations of these evaluations apart, [n]; None where each counts on its own.
        failed: Configurations of the evaluations that failed.
        left_out: Kind of failure to the number of evaluations that are left out for it.
        default: Default configuration; None where the run states none.
        default_loss: Lowest loss of the default configuration; None where it has none.
        incumbent: Configuration of the lowest loss; None where no evaluation succeeded.
        is_error: Whether losses are validation errors of a study, and not losses of another program.
    """

    budget: float | None
    dimensions: tuple[Dimension, ...]
    configurations: Sequence[Mapping[str, Value]]
    losses: FloatArray
    failed: Sequence[Mapping[str, Value]]
    left_out: Mapping[Status, int]
    default: Mapping[str, Value] | None
    default_loss: float | None
    incumbent: Mapping[str, Value] | None
    is_error: bool
    groups: Sequence[Hashable] | None = None

    @property
    def where(self) -> str:
        """The budget in words, at the start of a sentence."""
        return "Over all budgets" if self.budget is None else f"At {self.budget:g} search epochs"

    @property
    def loss_name(self) -> str:
        """The loss as axes name it."""
        return "Validation error (fraction)" if self.is_error else "Loss (of another program, no unit)"

    @property
    def counted(self) -> str:
        """The number of evaluations, and of those left out by kind of failure."""
        kinds = ", ".join(f"{self.left_out[status]} {status.value}" for status in Status if self.left_out.get(status))
        return f"{len(self.losses)} evaluations used" + (f", left out: {kinds}" if kinds else "")


#: What figures of one run share; it lasts as long as the run.
_by_budget_of: WeakKeyDictionary[LoadedRun, tuple[Evaluations, ...]] = WeakKeyDictionary()
_forests_of: WeakKeyDictionary[Evaluations, dict[tuple[FanovaSettings, int], Surrogate]] = WeakKeyDictionary()


def evaluations_by_budget(run: LoadedRun) -> tuple[Evaluations, ...]:
    """The evaluations at each budget, ascending, and last, where there are several budgets, at all of them.

    Raises:
        NoImportancesError: The configuration space is not known, lacks a hyperparameter or a value of a
            configuration, or no evaluation has ended.
    """
    if run not in _by_budget_of:
        _by_budget_of[run] = _by_budget(run)
    return _by_budget_of[run]


def _by_budget(run: LoadedRun) -> tuple[Evaluations, ...]:
    if run.tuner_space is None:
        raise NoImportancesError(
            "the bounds of the hyperparameters are not known, as there is no usable configspace.json"
        )
    if not run.results:
        raise NoImportancesError("there is no result of an evaluation")
    dimensions = dimensions_of(run.tuner_space)
    known = {dimension.name for dimension in dimensions}
    unknown = {name for result in run.results for name in result.config} - known
    if unknown:
        raise NoImportancesError(
            f"configspace.json lacks hyperparameters of the configurations: {', '.join(sorted(unknown))}"
        )
    try:
        check_values(dimensions, {result.config_id: result.config for result in _split(run.results)[0]})
    except ValueError as error:
        raise NoImportancesError(str(error)) from error
    budgets = sorted({result.budget for result in run.results})
    at_each = [_at(budget, [r for r in run.results if r.budget == budget], run, dimensions) for budget in budgets]
    if len(budgets) == 1:
        return tuple(at_each)
    together = _at(None, run.results, run, dimensions)
    name = "budget" if "budget" not in known else "search_epochs"
    ok, failed = _split(run.results)
    groups = [tuple(sorted(result.config.items())) for result in ok]  # before the budget makes them differ
    dimensions, configurations = with_budget(dimensions, together.configurations, _budgets(ok), name)
    _, with_failed = with_budget((), together.failed, _budgets(failed), name)
    together = replace(
        together, dimensions=dimensions, configurations=configurations, failed=with_failed, groups=groups
    )
    return (*at_each, together)


def check_values(dimensions: Sequence[Dimension], configs: Mapping[ConfigId, Mapping[str, Value]]) -> None:
    """Checks that configurations have values of the configuration space; they may lack some,
    and constants say nothing.

    Raises:
        ValueError: A value is none of its hyperparameter's; the message names the first such configuration.
    """
    for dimension in dimensions:
        of_each = {config_id: config.get(dimension.name) for config_id, config in configs.items()}
        known = {config_id: value for config_id, value in of_each.items() if not is_missing(value)}
        if dimension.is_constant or not known:
            continue
        try:
            dimension.columns(list(known.values()))
        except ValueError:
            for config_id, value in known.items():
                try:
                    dimension.columns([value])
                except ValueError as error:
                    raise ValueError(f"configuration {config_id}: {error}") from error
            raise


def fit_forest(evaluations: Evaluations, settings: FanovaSettings | None = None, seed: int = 0) -> Surrogate:
    """Fits the forest to the evaluations at a budget; equal settings and seeds have the same forest.

    Raises:
        ValueError: The evaluations cannot be decomposed; the message is a sentence that says why and where.
    """
    n = len(evaluations.losses)
    if n < LEAST_EVALUATIONS:
        raise ValueError(
            f"{evaluations.where}: {evaluations.counted}; importances need at least {LEAST_EVALUATIONS} that succeeded"
        )
    settings = settings or FanovaSettings()
    settings = replace(settings, evaluations_per_tree=min(settings.evaluations_per_tree, EVALUATIONS_PER_TREE))
    forests = _forests_of.setdefault(evaluations, {})
    if (settings, seed) not in forests:
        try:
            forests[settings, seed] = surrogate_of(
                evaluations.dimensions,
                evaluations.configurations,
                evaluations.losses,
                settings,
                seed,
                evaluations.groups,
            )
        except ValueError as error:
            raise ValueError(f"{evaluations.where}: {error}") from error
    return forests[settings, seed]


def forests_of(run: LoadedRun, *, at_most: int | None = None) -> list[tuple[Evaluations, Surrogate]]:
    """Fits a forest per budget; budgets at which there can be none are left out.

    Args:
        run: The run.
        at_most: Number of budgets, the largest ones; None for all.

    Returns:
        Evaluations and forests by ascending budget.

    Raises:
        ValueError: There is a forest at no budget; the message says why for each.
    """
    found: list[tuple[Evaluations, Surrogate]] = []
    reasons: list[str] = []
    for evaluations in reversed(evaluations_by_budget(run)):
        if evaluations.budget is None or len(found) == at_most:
            continue
        try:
            found.append((evaluations, fit_forest(evaluations)))
        except ValueError as error:
            reasons.append(str(error))
    if not found:
        raise ValueError(". ".join(reversed(reasons)))
    return found[::-1]


def _at(
    budget: float | None, results: Sequence[TrialResult], run: LoadedRun, dimensions: tuple[Dimension, ...]
) -> Evaluations:
    ok, failed = _split(results)
    best = best_of(ok)
    default_ids = frozenset() if run.description is None else run.default_ids
    of_default = [result for result in ok if result.config_id in default_ids]
    listed = [run.configs[config_id].config for config_id in sorted(default_ids) if config_id in run.configs]
    return Evaluations(
        budget=budget,
        dimensions=dimensions,
        configurations=[result.config for result in ok],
        losses=np.array([result.evaluation.loss for result in ok]),
        failed=[result.config for result in failed],
        left_out=Counter(result.evaluation.status for result in failed),
        default=listed[0] if listed else None,
        default_loss=min((result.evaluation.loss for result in of_default), default=None),
        incumbent=None if best is None else best.config,
        is_error=run.description is not None,
    )


def _split(results: Iterable[TrialResult]) -> tuple[list[TrialResult], list[TrialResult]]:
    """Those that succeeded, and the others."""
    ok: list[TrialResult] = []
    failed: list[TrialResult] = []
    for result in results:
        (ok if result.evaluation.status is Status.OK else failed).append(result)
    return ok, failed


def _budgets(results: Iterable[TrialResult]) -> list[float]:
    return [result.budget for result in results]
