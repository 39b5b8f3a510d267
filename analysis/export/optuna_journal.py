"""Runs as studies in a file of Optuna's journal storage, which optuna-dashboard opens.

A configuration is a trial, and its loss at each budget an intermediate value, with the search epochs as step:

* ``COMPLETE``: it succeeded at the largest budget; that loss is the trial's value;
* ``PRUNED``: it succeeded, and has not been promoted to the largest budget; its value is the loss at the last budget;
* ``FAIL``: its last evaluation failed;
* ``WAITING``: it has no result yet.

The attributes of a trial are those of its last evaluation. Optuna holds one set per trial; CSV holds all.

Source: Optuna 5, ``optuna.storages.JournalStorage``. Its ``PRUNED`` trials have the last intermediate value as value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

from analysis.evaluations import check_values
from analysis.export.libraries import require
from analysis.importance import Categories, Float, Integer, Ordered, dimensions_of
from analysis.load import LoadedRun, run_names
from results.records import ConfigId, Proposal, Status, TrialResult, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

#: Fields of an evaluation that become attributes of the trial.
_ATTRIBUTES = (
    "test_error",
    "t_search_s",
    "t_train_s",
    "architecture_index",
    "cell_hash",
    "one_shot_validation_error",
    "seed",
    "worker",
    "error",
)


def journal_content(runs: Sequence[LoadedRun]) -> bytes:
    """A study per run, named as the run's directory.

    Raises:
        ValueError: ``optuna`` is not installed, the bounds of the hyperparameters are not known, or a value lies
            outside of them.
    """
    require("optuna", "optuna")
    import optuna
    from optuna.storages import JournalStorage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lines = _Lines()
    storage = JournalStorage(cast("Any", lines))  # it asks for the two methods alone
    for name, run in zip(run_names(runs), runs, strict=True):
        study = optuna.create_study(storage=storage, study_name=name, direction="minimize")
        for attribute, value in _study_attributes(run).items():
            study.set_user_attr(attribute, value)
        study.add_trials(_trials(run))
    return lines.content()


class _Lines:
    """The lines of a journal in memory: Optuna's own backend would synchronise the disk for each of them."""

    def __init__(self) -> None:
        self._logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """The lines from this number on."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Adds lines."""
        self._logs += logs

    def content(self) -> bytes:
        """The lines as ``JournalFileBackend`` writes them, with a fixed name of the writer: equal runs, equal bytes."""
        named = ({**log, "worker_id": "nasbohb"} for log in self._logs)
        return "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in named).encode()


def _study_attributes(run: LoadedRun) -> dict[str, Any]:
    spec = {} if run.description is None else run.description.spec.to_dict()
    return {"run": str(run.path), "best_test_error": run.best_test_error, **spec}


def _trials(run: LoadedRun) -> Iterator[FrozenTrial]:
    """The trials in the order of the proposals."""
    if run.tuner_space is None:
        raise ValueError(
            f"{run.path}: the bounds of the hyperparameters are not known, as there is no usable configspace.json"
        )
    distributions = _distributions(run)
    try:
        check_values(
            dimensions_of(run.tuner_space), {config_id: proposal.config for config_id, proposal in run.configs.items()}
        )
    except ValueError as error:
        raise ValueError(f"{run.path}: {error}") from error
    results: dict[ConfigId, dict[float, TrialResult]] = {}
    for result in run.results:  # of several results of a trial, the first one counts
        results.setdefault(result.config_id, {}).setdefault(result.budget, result)
    for config_id, proposal in run.configs.items():
        of_config = sorted(results.get(config_id, {}).values(), key=lambda result: result.budget)
        yield _trial(config_id, proposal, of_config, distributions, run.largest_budget)


def _trial(
    config_id: ConfigId,
    proposal: Proposal,
    results: Sequence[TrialResult],
    distributions: Mapping[str, BaseDistribution],
    largest_budget: float | None,
) -> FrozenTrial:
    """A configuration with its results by ascending budget."""
    from optuna.trial import FrozenTrial, TrialState

    last = results[-1] if results else None
    if last is None:
        state = TrialState.WAITING
    elif last.evaluation.status is not Status.OK:
        state = TrialState.FAIL
    else:
        state = TrialState.COMPLETE if last.budget == largest_budget else TrialState.PRUNED
    attributes: dict[str, Any] = {"config_id": list(config_id), "model_based": proposal.model_based}
    if last is not None:
        attributes |= {"budget": last.budget, "status": last.evaluation.status.value}
        known = {name: getattr(last.evaluation, name) for name in _ATTRIBUTES}
        attributes |= {name: value for name, value in known.items() if value is not None}
    succeeded = {state.COMPLETE, state.PRUNED}
    return FrozenTrial(
        number=-1,  # Optuna numbers it
        trial_id=-1,
        state=state,
        value=last.evaluation.loss if last is not None and state in succeeded else None,
        datetime_start=None if last is None else _utc(min(result.started for result in results)),
        datetime_complete=None if last is None else _utc(max(result.finished for result in results)),
        params={name: _within(value, distributions[name]) for name, value in proposal.config.items()},
        distributions={name: distributions[name] for name in proposal.config},
        user_attrs=attributes,
        system_attrs={},
        intermediate_values={
            _step(result.budget): result.evaluation.loss for result in results if result.evaluation.status is Status.OK
        },
    )


def _distributions(run: LoadedRun) -> dict[str, BaseDistribution]:
    """Hyperparameter to Optuna's description of its values."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    assert run.tuner_space is not None, "checked by the caller"
    found: dict[str, BaseDistribution] = {}
    for dimension in dimensions_of(run.tuner_space):
        if isinstance(dimension, Float):
            found[dimension.name] = FloatDistribution(dimension.lower, dimension.upper, log=dimension.log)
        elif isinstance(dimension, Integer):
            found[dimension.name] = IntDistribution(dimension.lower, dimension.upper, log=dimension.log)
        else:
            assert isinstance(dimension, Categories | Ordered)
            found[dimension.name] = CategoricalDistribution(dimension.choices)
    missing = {name for proposal in run.configs.values() for name in proposal.config} - set(found)
    if missing:
        raise ValueError(
            f"{run.path}: configspace.json lacks hyperparameters of the configurations: {', '.join(sorted(missing))}"
        )
    return found


def _within(value: Value, distribution: BaseDistribution) -> Value:
    """Moves a number to the bound that it misses by rounding alone."""
    from optuna.distributions import FloatDistribution

    if isinstance(distribution, FloatDistribution):
        nearest = min(max(float(value), distribution.low), distribution.high)
        return nearest if math.isclose(nearest, float(value), rel_tol=1e-9) else value
    return value


def _step(budget: float) -> int:
    """Steps of Optuna are whole numbers, and so are budgets, but for those of other programs.

    Raises:
        ValueError: The budget is not whole.
    """
    if budget != int(budget):
        raise ValueError(f"got the budget {budget:g}, expected whole search epochs, which Optuna's steps are")
    return int(budget)


def _utc(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, timezone.utc)
