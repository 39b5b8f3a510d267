"""A warm start: each budget's model is that of the same results told by hand; the study counts its own alone."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from hpbandster.core.result import logged_results_to_HBS_result

from analysis.load import load_run
from master.overview import read_overview
from master.recorder import Recorder
from master.samplers.kde import KdeSampler
from master.signals import StopFlag
from master.study import create_run, run_master
from master.tuner import Tuner
from results.reading import read_results
from results.records import ConfigId, Evaluation, Proposal, Status, StudySpec, TrialResult, Value
from results.run_directory import RunDirectory
from results.warm_start import FILE, read_warm_start
from spaces import CONFIG_SPACES

from .conftest import MakeRun, StartWorkers
from .test_resume import history, interrupt_at, resume

#: Budget to the number of an earlier run's results at it.
COUNTS = {25: 40, 50: 20, 100: 10}
FAILURES = {
    3: Status.DIVERGED,
    5: Status.OUT_OF_MEMORY,
    11: Status.BAD_CONFIG,
    7: Status.BUG,
    9: Status.WORKER_LOST,
}


def config_of(i: int) -> dict[str, Value]:
    return {
        "weight_decay": 10 ** (-5 + 2 * (i * 7 % 40) / 40),
        "cutout_prob": (i * 3 % 40) / 40,
        "learning_rate": 10 ** (-3 + 3 * (i * 11 % 40) / 40),
    }


def loss_of(i: int, budget: int) -> float:
    return (i * 13 % 40) / 40 / (1 + budget / 100)


def earlier_history() -> list[TrialResult]:
    """By hand: 40, 20 and 10 results at three budgets; some of the first ones failed in each way."""
    results = []
    for budget, n in COUNTS.items():
        for i in range(n):
            status = FAILURES.get(i, Status.OK)
            error = loss_of(i, budget) if status is Status.OK else None
            results.append(
                TrialResult(
                    config_id=(i, 0, 0), config=config_of(i), model_based=False, budget=budget, submitted=0.0,
                    started=1.0, finished=2.0,
                    evaluation=Evaluation(status=status, validation_error=error, error=None if error else "as told"),
                )
            )  # fmt: skip
    return results


def write(run: RunDirectory, results: list[TrialResult]) -> RunDirectory:
    with Recorder(run) as recorder:
        for result in results:
            recorder.take_config(result.config_id, Proposal(config=result.config, model_based=False))
            recorder.take_result(result)
        recorder.commit()
    return run


@pytest.fixture
def earlier(make_run: MakeRun) -> RunDirectory:
    return write(make_run("earlier", n_iterations=64, run_id="earlier"), earlier_history())


class WarmRun(Protocol):
    def __call__(self, *earlier: RunDirectory, name: str = "run", **fields: Any) -> RunDirectory: ...


@pytest.fixture
def warm_run(make_run: MakeRun) -> WarmRun:
    def make(*earlier: RunDirectory, name: str = "run", **fields: Any) -> RunDirectory:
        return make_run(name, warm_start=tuple(str(run.path) for run in earlier), **fields)

    return make


def sampler_after(run: RunDirectory) -> KdeSampler:
    sampler = KdeSampler(CONFIG_SPACES["cs2"].build(0))
    Tuner(run.spec(), sampler, read_warm_start(run))
    return sampler


def told_by_hand(budget: int) -> KdeSampler:
    """Knows the results at one budget; a failure that says something has the loss 1."""
    sampler = KdeSampler(CONFIG_SPACES["cs2"].build(0))
    for i in range(COUNTS[budget]):
        if i not in (7, 9):
            sampler.observe(config_of(i), budget, 1.0 if i in FAILURES else loss_of(i, budget))
    return sampler


@pytest.mark.parametrize("budget", COUNTS)
def test_each_budget_has_the_model_of_the_same_results_told_by_hand(
    warm_run: WarmRun, earlier: RunDirectory, budget: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A study's largest budget shows the model of each; larger budgets of the earlier run are left out, and named."""
    with caplog.at_level(logging.INFO):
        run = warm_run(earlier, min_budget=25, max_budget=budget)
    model = sampler_after(run).model(np.random.default_rng(0))
    expected = told_by_hand(budget).model(np.random.default_rng(0))
    assert model is not None
    assert expected is not None
    assert model.budget == budget
    for density, reference in ((model.good, expected.good), (model.bad, expected.bad)):
        np.testing.assert_array_equal(density.data, reference.data)
        np.testing.assert_array_equal(density.bandwidths, reference.bandwidths)
    n_above = sum(n for at, n in COUNTS.items() if at > budget)
    n_learned = {25: 38, 50: 56, 100: 64}[budget]  # at each budget all but one `bug` and one `worker_lost`
    assert f"{n_learned} results are learned" in caplog.text
    assert (f"{n_above} of 70 results above the largest budget of {budget} epochs" in caplog.text) == (n_above > 0)


def test_results_of_the_study_join_those_of_both_earlier_runs(
    warm_run: WarmRun, make_run: MakeRun, earlier: RunDirectory
) -> None:
    """Ten observations at 100 epochs, five of them from each run, make one model: 4 good and 6 bad ones."""
    ten = [result for result in earlier_history() if result.budget == 100 and result.evaluation.status.informs_model]
    halves = [write(make_run(name), of) for name, of in (("one", ten[:4]), ("two", ten[4:]))]
    model = sampler_after(warm_run(*halves)).model(np.random.default_rng(0))
    expected = told_by_hand(100).model(np.random.default_rng(0))
    assert model is not None
    assert expected is not None
    np.testing.assert_array_equal(model.good.data, expected.good.data)
    np.testing.assert_array_equal(model.bad.data, expected.bad.data)


@pytest.mark.parametrize("n_done", [2, 13])
def test_a_resumed_study_asks_the_same_when_the_earlier_run_is_gone(
    warm_run: WarmRun, start_workers: StartWorkers, make_run: MakeRun, earlier: RunDirectory, n_done: int
) -> None:
    fields = {"n_iterations": 5, "n_workers": 1, "seed": 3}
    runs = [warm_run(earlier, name=name, **fields) for name in ("whole", "cut")] + [make_run("cold", **fields)]
    shutil.rmtree(earlier.path)
    whole, cut, cold = runs
    for run in (whole, cold):
        start_workers(run)
        run_master(run)
    (worker,) = start_workers(cut)
    stop = StopFlag()
    run_master(cut, stop=stop, on_progress=interrupt_at(n_done, stop))
    worker.join(timeout=10)
    assert n_done <= len(read_results(cut)) < len(read_results(whole))
    resume(cut, start_workers)
    assert history(cut) == history(whole)
    assert history(whole) != history(cold)
    n_model_based = [sum(r.model_based for r in read_results(run)[:8]) for run in (whole, cold)]
    assert n_model_based[0] > n_model_based[1]


def test_earlier_results_count_nowhere(warm_run: WarmRun, start_workers: StartWorkers, earlier: RunDirectory) -> None:
    run = warm_run(earlier, n_iterations=1)
    start_workers(run)
    end = run_master(run)
    own = {(0, 0, i) for i in range(4)}
    assert (end.n_done, end.n_total) == (7, 7)
    assert end.incumbent is not None
    assert end.incumbent.evaluation.loss > min(result.evaluation.loss for result in earlier_history())
    assert read_overview(run).incumbent == end.incumbent
    loaded = load_run(run.path)
    assert {result.config_id for result in loaded.results} == own
    assert any(f"the sampler knew the results of {earlier.path}" in note for note in loaded.notes)
    theirs = logged_results_to_HBS_result(str(run.path))
    assert set(theirs.get_id2config_mapping()) == own
    assert len(theirs.get_all_runs()) == 7


def other_field(run: RunDirectory, field: str, value: Any) -> None:
    content = json.loads(run.run_json.read_text())
    content["spec"][field] = value
    run.run_json.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("optimizer", "gdas", "got a run with --optimizer gdas, expected darts; losses of different objectives"),
        ("search_space", "2", "--search-space 2, expected 1"),
        ("dataset", "cifar10", "--dataset cifar10, expected digits"),
        ("table", "/a/table", "--table /a/table, expected digits"),
        ("table_epochs", 4, "--table-epochs 4, expected 12"),
    ],
)
def test_another_objective_is_refused(
    warm_run: WarmRun, earlier: RunDirectory, tmp_path: Path, field: str, value: Any, message: str
) -> None:
    other_field(earlier, field, value)
    with pytest.raises(ValueError, match=message):
        warm_run(earlier)
    assert not (tmp_path / "run").exists()


def test_other_settings_of_the_searches_are_a_warning(
    warm_run: WarmRun, earlier: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    other_field(earlier, "search_settings", {"init_channels": 8, "threads": 3})
    with caplog.at_level(logging.WARNING):
        warm_run(earlier, search_settings={"init_channels": 4})
    assert "its searches were others: init_channels 8 there and 4 here" in caplog.text
    assert "threads" not in caplog.text


def change_space(run: RunDirectory, name: str, **fields: Any) -> None:
    content = json.loads(run.configspace_json.read_text())
    for hyperparameter in content["hyperparameters"]:
        if hyperparameter["name"] == name:
            hyperparameter.update(fields)
    run.configspace_json.write_text(json.dumps(content))


def test_the_configuration_space_is_compared_by_its_hyperparameters(
    warm_run: WarmRun, make_run: MakeRun, earlier: RunDirectory
) -> None:
    other_field(earlier, "config_space", "a name of long ago")
    change_space(earlier, "weight_decay", default_value=2e-4)
    warm_run(earlier, name="same")
    change_space(earlier, "learning_rate", upper=2.0)
    with pytest.raises(ValueError, match="other hyperparameters than those of configuration space cs2: learning_rate;"):
        warm_run(earlier)
    earlier.configspace_json.write_text("[1]")
    with pytest.raises(ValueError, match="this is no configuration space"):
        warm_run(earlier)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {**config_of(0), "learning_rate": 7.0},
            r"\[0, 0, 0\]: learning_rate: got 7.0, expected a number",
        ),
        ({"cutout_prob": 0.1, "weight_decay": 1e-4}, "learning_rate of configuration space cs2 is missing"),
        ({**config_of(0), "depth": 1}, "got .'depth'., expected some of"),
    ],
)
def test_a_configuration_outside_of_the_space_is_refused(
    warm_run: WarmRun, make_run: MakeRun, config: Mapping[str, Value], message: str
) -> None:
    damaged = write(make_run("damaged"), with_config(config))
    with pytest.raises(ValueError, match=message):
        warm_run(damaged)


def with_config(config: Mapping[str, Value]) -> list[TrialResult]:
    config_id: ConfigId = (0, 0, 0)
    evaluation = Evaluation(status=Status.OK, validation_error=0.5)
    return [
        TrialResult(
            config_id=config_id, config=config, model_based=False, budget=25, submitted=0.0, started=0.0, finished=1.0,
            evaluation=evaluation,
        )
    ]  # fmt: skip


def test_what_cannot_teach_is_refused(
    warm_run: WarmRun, make_run: MakeRun, earlier: RunDirectory, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"got .*earlier more than once"):
        warm_run(earlier, earlier)
    with pytest.raises(ValueError, match="--sampler random does not learn from results"):
        warm_run(earlier, sampler="random")
    with pytest.raises(ValueError, match="there is nothing to learn at up to 100 epochs"):
        warm_run(make_run("empty"))
    with pytest.raises(ValueError, match=r"holds no run.json.*`run_bohb.py import` makes a run"):
        create_run(tmp_path / "run", study(warm_start=(str(tmp_path),)))


def study(**fields: Any) -> StudySpec:
    return StudySpec(
        run_id="test", optimizer="darts", search_space="1", config_space="cs2", dataset="digits", data_dir=None,
        table="digits", table_epochs=12, **fields,
    )  # fmt: skip


def test_a_study_without_its_copy_does_not_go_on_as_another_one(warm_run: WarmRun, earlier: RunDirectory) -> None:
    run = warm_run(earlier)
    file = run.path / FILE
    first, _, *others = file.read_text().splitlines()
    file.write_text("\n".join([first, "{torn", *others]) + "\n")
    with pytest.raises(ValueError, match=r"warm_start.jsonl, line 2"):
        run_master(run)
    file.unlink()
    with pytest.raises(ValueError, match="results that this study began with are missing; restore the file"):
        run_master(run)


def test_a_damaged_line_of_an_earlier_run_is_named(
    warm_run: WarmRun, earlier: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    lines = earlier.results_json.read_text().splitlines()
    earlier.results_json.write_text("\n".join([lines[0], "[1]", *lines[1:], '[[0, 0, 0], 25.0, {"subm']))
    with caplog.at_level(logging.WARNING):
        run = warm_run(earlier)
    assert "results.json, line 2: got [1]" in caplog.text
    assert len(read_warm_start(run)) == 70
