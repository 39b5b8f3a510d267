"""Logs that hpbandster's own logger wrote become runs, which the analysis and a warm start take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hpbandster.core.dispatcher import Job
from hpbandster.core.result import json_result_logger, logged_results_to_HBS_result

import run_bohb
from analysis.load import load_run
from master.study import create_run, run_master
from results.reading import read_results
from results.records import Status
from results.run_directory import RunDirectory
from spaces import CONFIG_SPACES

#: The worker of NAS-Bench-1Shot1's public code returns this beside the loss.
PUBLIC_INFO = {"val_error": [0.0625], "test_error": [0.07], "runtime": [1234.5], "params": [8.5], "config": "{}"}
CONFIGS = {
    (0, 0, 0): {"cutout_prob": 0, "learning_rate": 0.025, "weight_decay": 3e-4},  # an integer, as JSON may have it
    (0, 0, 1): {"cutout_prob": 0.5, "learning_rate": 0.5, "weight_decay": 1e-4},
    (1, 0, 0): {"cutout_prob": 0.25, "learning_rate": 0.1, "weight_decay": 1e-5},
}
#: Configuration, budget, seconds, result, exception: in the order of their arrival.
JOBS: list[tuple[tuple[int, int, int], float, float, Any, str | None]] = [
    ((0, 0, 0), 25.0, 10.0, {"loss": 0.0625, "info": PUBLIC_INFO}, None),
    ((0, 0, 1), 25.0, 11.0, None, "Traceback ...\nRuntimeError: out of luck\n"),
    ((0, 0, 0), 50.0, 20.0, {"loss": 0.05, "info": {}}, None),
    ((1, 0, 0), 50.0, 21.0, {"loss": float("inf"), "info": None}, None),
]


def write_log(directory: Path, configs: Mapping[Any, Any] = CONFIGS, jobs: Any = JOBS) -> Path:
    """Lets hpbandster's logger write a log; each evaluation begins a second after it was submitted."""
    logger, now = json_result_logger(str(directory)), 1.6e9
    for config_id, config in configs.items():
        logger.new_config(config_id, config, {"model_based_pick": config_id[0] == 1})
    for config_id, budget, took_s, result, exception in jobs:
        job = Job(config_id, config=configs[config_id], budget=budget)
        job.timestamps = {"submitted": now, "started": now + 1, "finished": now + 1 + took_s}
        job.result, job.exception = result, exception
        now += 1 + took_s
        logger(job)
    return directory


def call(log: Path, output: Path, *options: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    given = {"--optimizer": "darts", "--search-space": "1", "--config-space": "cs2", "--dataset": "digits"}
    given |= dict(zip(options[::2], options[1::2], strict=True))
    arguments = [text for pair in given.items() for text in pair]
    status = run_bohb.main(["import", str(log), "--output", str(output), *arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_a_log_becomes_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, output = write_log(tmp_path / "log"), tmp_path / "runs" / "old"
    status, out, _ = call(log, output, "--seed", "5", capsys=capsys)
    assert status == 0
    assert "4 evaluations of 3 configurations: 2 at 25 epochs, 2 at 50 epochs; 2 failed" in out
    run = RunDirectory.open(output)
    spec, results = run.spec(), read_results(run)
    assert run.describe().imported_from == str(log)
    assert (spec.run_id, spec.optimizer, spec.search_space, spec.config_space) == ("old", "darts", "1", "cs2")
    assert (spec.dataset, spec.table, spec.table_epochs, spec.seed) == ("digits", "digits", 12, 5)
    assert (spec.min_budget, spec.max_budget, spec.eta, spec.n_iterations, spec.n_workers) == (25, 50, 2, 2, 1)
    assert [(r.config_id, r.budget, r.evaluation.status) for r in results] == [
        ((0, 0, 0), 25, Status.OK),
        ((0, 0, 1), 25, Status.BUG),
        ((0, 0, 0), 50, Status.OK),
        ((1, 0, 0), 50, Status.BUG),
    ]
    first, failed, *_ = (result.evaluation for result in results)
    assert (first.validation_error, first.test_error, first.t_search_s, first.t_train_s) == (0.0625, 0.07, 10, 1234.5)
    assert failed.error == "Traceback ...\nRuntimeError: out of luck\n"
    assert (results[0].started, results[0].finished) == (1.6e9 + 1, 1.6e9 + 11)
    assert [r.model_based for r in results] == [False, False, False, True]
    assert {r.config_id: dict(r.config) for r in results} == CONFIGS
    assert all(type(value) is float for result in results for value in result.config.values())
    theirs = logged_results_to_HBS_result(str(output))
    assert sorted((r.config_id, r.budget, r.loss) for r in theirs.get_all_runs())[:2] == [
        ((0, 0, 0), 25.0, 0.0625),
        ((0, 0, 0), 50.0, 0.05),
    ]


def test_a_study_starts_from_it_and_the_analysis_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The default configuration is found in the log by its values."""
    output = tmp_path / "old"
    call(write_log(tmp_path / "log"), output, capsys=capsys)
    loaded = load_run(output)
    assert loaded.default_ids == {(0, 0, 0)}
    assert any("imported from a log of hpbandster" in note for note in loaded.notes)
    assert run_bohb.main(["export", str(output), "--format", "csv"]) == 0
    header, first, *_ = (output / "report" / "evaluations.csv").read_text().splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert (row["validation_error"], row["test_error"], row["t_train_s"]) == ("0.0625", "0.07", "1234.5")
    spec = RunDirectory.open(output).spec()
    new = create_run(tmp_path / "new", type(spec)(**{**spec.to_dict(), "warm_start": (str(output),)}))
    assert len((new.path / "warm_start.jsonl").read_text().splitlines()) == 4
    with pytest.raises(ValueError, match=f"imported from .*log, so it cannot go on here; .* --warm-start {output}"):
        run_master(RunDirectory.open(output), resume=True)


def test_damage_a_warm_start_and_repeats_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = {(-1, 0, 0): CONFIGS[0, 0, 1], **CONFIGS}
    jobs = [((-1, 0, 0), 25.0, 1.0, {"loss": 0.5, "info": {}}, None), *JOBS, JOBS[0]]
    log = write_log(tmp_path / "log", configs, jobs)
    with (log / "results.json").open("a") as file:
        file.write('null\n[[0, 0, 1], 50.0, {"submi')
    status, out, _ = call(log, tmp_path / "old", capsys=capsys)
    assert status == 0
    assert "4 evaluations of 3 configurations" in out
    assert "line left out: results.json, line 7: got None" in out
    assert "left out: results of negative iterations, which a warm start took from another run: 1" in out
    assert "left out: further results of a configuration at the same budget: 1" in out
    assert len(read_results(tmp_path / "old")) == 4


def test_configspace_json_of_an_older_version_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Written as ConfigSpace 0.4 did: ``default`` and ``q``."""
    log = write_log(tmp_path / "log")
    content = CONFIG_SPACES["cs2"].build(0).to_serialized_dict()
    for hyperparameter in content["hyperparameters"]:
        hyperparameter.update(default=hyperparameter.pop("default_value"), q=None)
    content["json_format_version"] = 0.2
    del content["format_version"]
    (log / "configspace.json").write_text(json.dumps(content))
    assert call(log, tmp_path / "old", capsys=capsys)[0] == 0
    content["hyperparameters"][0]["upper"] = 0.9
    (log / "configspace.json").write_text(json.dumps(content))
    status, _, err = call(log, tmp_path / "other", capsys=capsys)
    assert status == 2
    assert "configspace.json: got other hyperparameters than those of configuration space cs2: cutout_prob" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--config-space", "cs1"), r"configuration [0, 0, 0]: configuration space cs1: got ['learning_rate']"),
        (("--config-space", "cs3"), "momentum, cutout_length"),
        (("--config-space", "cs9"), "got 'cs9', expected one of cs1, cs2, cs3"),
        (("--search-space", "4"), "--search-space: got '4', expected 1 or 2 or 3"),
        (("--optimizer", "adam"), "got 'adam'"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    status, _, err = call(write_log(tmp_path / "log"), tmp_path / "old", *options, capsys=capsys)
    assert status == 2
    assert message in err
    assert not (tmp_path / "old").exists()


@pytest.mark.parametrize(
    ("budget", "loss", "message"),
    [
        (25.0, 7.5, "got losses from 7.5 to 7.5 in 1 of 1 results, expected validation errors, fractions in [0, 1]"),
        (33.3, 0.5, "got budgets from 33.3 to 33.3, expected search epochs: all above 0, the largest a "),
        (0.0, 0.5, "got budgets from 0 to 0, expected search epochs"),
    ],
)
def test_results_of_another_kind_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], budget: float, loss: float, message: str
) -> None:
    log = write_log(tmp_path / "log", jobs=[((0, 0, 0), budget, 1.0, {"loss": loss, "info": {}}, None)])
    status, _, err = call(log, tmp_path / "old", capsys=capsys)
    assert status == 2
    assert message in err


def test_what_is_no_log_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for log, message in (
        (tmp_path, "configs.json and results.json of a log of hpbandster is missing"),
        (write_log(tmp_path / "empty", {}, []), "got a log without a result"),
    ):
        status, _, err = call(log, tmp_path / "old", capsys=capsys)
        assert status == 2
        assert message in err
    call(write_log(tmp_path / "log"), tmp_path / "old", capsys=capsys)
    status, _, err = call(tmp_path / "old", tmp_path / "older", capsys=capsys)
    assert status == 2
    assert "this is a run already" in err


def test_fractional_budgets_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Hpbandster divides 100 by 9 and by 3."""
    jobs = [((0, 0, 0), budget, 1.0, {"loss": 0.5, "info": {}}, None) for budget in (100 / 9, 100 / 3, 100.0)]
    status, out, _ = call(write_log(tmp_path / "log", jobs=jobs), tmp_path / "old", capsys=capsys)
    assert status == 0
    spec = RunDirectory.open(tmp_path / "old").spec()
    assert (spec.min_budget, spec.max_budget, spec.eta) == (11, 100, 3)
    assert [result.budget for result in read_results(tmp_path / "old")] == [100 / 9, 100 / 3, 100]
    assert "1 at 11.1111 epochs, 1 at 33.3333 epochs, 1 at 100 epochs" in out
