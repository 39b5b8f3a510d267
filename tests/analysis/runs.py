"""Runs for tests, in memory and as files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.load import LoadedRun
from results import journal
from results.bohb_lines import config_line, result_line
from results.records import ConfigId, Evaluation, Proposal, Status, StudySpec, TrialResult
from results.run_directory import RunDescription, RunDirectory
from spaces import SEARCH_SPACES
from spaces.config_spaces import TunerSpace


def study_spec(**changes: Any) -> StudySpec:
    fields: dict[str, Any] = {
        "run_id": "synthetic",
        "optimizer": "darts",
        "search_space": "1",
        "config_space": "CS1",
        "dataset": "digits",
        "data_dir": None,
        "table": "digits",
        "table_epochs": 12,
        "min_budget": 4,
        "max_budget": 16,
        "n_iterations": 9,
        "n_workers": 2,
    }
    return StudySpec(**{**fields, **changes})


def loaded_run(
    results: Sequence[TrialResult],
    config_ids: Iterable[ConfigId] = (),
    *,
    best_test_error: float | None = None,
    **changes: Any,
) -> LoadedRun:
    """A run as it would have been read; ``changes`` are fields of its study."""
    spec = study_spec(**changes)
    ids = [*dict.fromkeys([*config_ids, *(result.config_id for result in results)])]
    return LoadedRun(
        path=Path("/runs/synthetic"),
        description=RunDescription(spec=spec, versions={}, created="2026-01-31T12:00:00+00:00"),
        space=SEARCH_SPACES.get(spec.search_space),
        configs={config_id: Proposal(config={}, model_based=False) for config_id in ids},
        results=results,
        n_workers=spec.n_workers,
        largest_budget=spec.max_budget,
        best_test_error=best_test_error,
    )


def error_of(config: Mapping[str, Any], budget: float) -> float:
    """An error that the cutout probability decides, and a longer search lowers."""
    return 0.05 + 0.2 * abs(float(config["cutout_prob"]) - 0.3) + 0.1 / budget


def write_space_run(
    path: Path,
    space: TunerSpace,
    *,
    n: int,
    budgets: Sequence[int],
    n_failed: int = 0,
    fixed: Mapping[str, Any] | None = None,
    loss: Callable[[Mapping[str, Any], float], float] = error_of,
    draw: int = 0,
    **changes: Any,
) -> RunDirectory:
    """Writes a run of configurations that are drawn from a configuration space, the default one first.

    Args:
        path: The run's directory.
        space: The configuration space.
        n: Number of evaluations that succeed, at each budget.
        budgets: The budgets; each configuration is evaluated at each of them.
        n_failed: Number of further evaluations that diverge, at each budget.
        fixed: Hyperparameter to the value that all configurations have.
        loss: Validation error of a configuration at a budget.
        draw: Seed of the configurations.
        changes: Fields of the study.
    """
    built = space.build(seed=draw)
    study = {"config_space": space.name, "default_config": space.default, **changes}
    spec = study_spec(min_budget=min(budgets), max_budget=max(budgets), **study)
    run = RunDirectory.create(path, spec, built.to_serialized_dict(), {})
    drawn = [dict(built.sample_configuration()) for _ in range(n + n_failed)]
    configs, results = [], []
    for index, values in enumerate([space.default, *drawn][: n + n_failed]):
        config_id = (0, 0, index)
        # NumPy's numbers have no place in a journal.
        config = {h.name: (int if h.is_integer else float)(values[h.name]) for h in space.hyperparameters}
        config |= fixed or {}
        configs.append((config_id, Proposal(config=config, model_based=False)))
        for budget in budgets:
            error = loss(config, budget)
            ok = Evaluation(status=Status.OK, validation_error=error, test_error=error, t_search_s=float(budget))
            failed = Evaluation(status=Status.DIVERGED, t_search_s=1.0, error="loss is nan in epoch 1")
            results.append(
                TrialResult(
                    config_id=config_id,
                    config=config,
                    model_based=False,
                    budget=budget,
                    submitted=float(index),
                    started=float(index),
                    finished=index + 1.0,
                    evaluation=ok if index < n else failed,
                )
            )
    journal.append(run.configs_json, *(config_line(*config) for config in configs))
    journal.append(run.results_json, *(result_line(result) for result in results))
    return run
