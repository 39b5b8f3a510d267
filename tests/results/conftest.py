"""Records of a small study."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from results.records import Evaluation, Status, StudySpec, TrialResult
from results.run_directory import RunDirectory

CONFIGSPACE: dict[str, Any] = {"name": "CS1", "hyperparameters": [], "conditions": [], "forbiddens": []}


@pytest.fixture
def spec() -> StudySpec:
    return StudySpec(
        run_id="small",
        optimizer="darts",
        search_space="1",
        config_space="CS1",
        dataset="digits",
        data_dir=None,
        table="digits",
        table_epochs=12,
        min_budget=2,
        max_budget=8,
        n_workers=2,
        search_settings={"n_stacks": 3, "compile": False, "threads": 1, "dropout": 0.5},
    )


@pytest.fixture
def run(tmp_path: Path, spec: StudySpec) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", spec, CONFIGSPACE, {"python": "3.11.7", "torch": None})


@pytest.fixture
def succeeded() -> TrialResult:
    evaluation = Evaluation(
        status=Status.OK,
        validation_error=0.0625,
        test_error=0.07,
        t_search_s=12.5,
        t_train_s=100.25,
        architecture_index=17,
        cell_hash="00005c142e6f48ac74fdcf73e3439874",
        one_shot_validation_error=0.25,
        seed=2**40,
        worker="host-1",
    )
    config = {"weight_decay": 3e-4, "cutout_length": 16}
    return TrialResult(
        config_id=(3, 0, 1),
        config=config,
        model_based=True,
        budget=4,
        submitted=1e9 + 0.125,
        started=1e9 + 0.25,
        finished=1e9 + 13.5,
        evaluation=evaluation,
    )


@pytest.fixture
def diverged(succeeded: TrialResult) -> TrialResult:
    evaluation = Evaluation(
        status=Status.DIVERGED, t_search_s=3.5, seed=9, worker="host-2", error="loss is nan in epoch 2"
    )
    return replace(succeeded, config_id=(3, 0, 2), model_based=False, evaluation=evaluation)
