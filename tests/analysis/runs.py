"""Runs for tests that need no files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from analysis.load import LoadedRun
from results.records import ConfigId, Proposal, StudySpec, TrialResult
from results.run_directory import RunDescription
from spaces import SEARCH_SPACES


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
