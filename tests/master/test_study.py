"""Whole studies over real Pyro, with workers in threads: counts, order, reproducibility, failures."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hpbandster.core.result import logged_results_to_HBS_result

from master.loop import Progress, StudyFailedError, bug_kind
from master.samplers import make_sampler
from master.settings import WaitSettings
from master.study import create_run, run_master
from master.tuner import Tuner, trial_seed
from results.credentials import credentials_path
from results.epoch import EpochRecord
from results.reading import read_journals, read_results
from results.records import Evaluation, Status, StudySpec, TrialResult, TrialSpec
from results.run_directory import RunDirectory
from spaces import CONFIG_SPACES

from .conftest import MakeRun, StartWorkers, smooth_objective

ROOT = Path(__file__).parents[2]
Answer = Callable[[TrialSpec], Any]


def answering(answer: Answer) -> Any:
    """An objective that answers as a function of the trial alone."""

    def objective(
        trial: TrialSpec,
        directory: Path,
        on_epoch: Callable[[EpochRecord], None] | None = None,
        worker: str | None = None,
        on_saved: Callable[[EpochRecord], None] | None = None,
    ) -> Any:
        return answer(trial)

    return objective


def by_budget(results: list[TrialResult]) -> Counter[int]:
    return Counter(r.budget for r in results)


def test_the_papers_study_completes(make_run: MakeRun, start_workers: StartWorkers) -> None:
    run = make_run(n_iterations=64, n_workers=4)
    start_workers(run, 4)
    progress = run_master(run)
    results = read_results(run)
    assert progress.n_done == progress.n_total == len(results) == 280
    assert by_budget(results) == {25: 88, 50: 86, 100: 106}
    assert len({(r.config_id, r.budget) for r in results}) == 280
    first = next(r for r in results if r.config_id == (0, 0, 0))  # it need not be the first to finish
    assert first.config == CONFIG_SPACES["cs2"].default
    # A third of the configurations is drawn at random, and the first ones, before there is a model.
    starts = {r.config_id: r.model_based for r in results}
    assert len(starts) == 22 * 4 + 21 * 2 + 21 * 3 == 193
    assert 0.45 < np.mean(list(starts.values())) < 0.75
    assert all(r.submitted <= r.started <= r.finished for r in results)
    best = min(results, key=lambda r: r.evaluation.loss)
    assert progress.incumbent is not None
    assert progress.incumbent.evaluation == best.evaluation


def test_rungs_promote_the_best_half(make_run: MakeRun, start_workers: StartWorkers) -> None:
    run = make_run(n_iterations=6)
    start_workers(run, 2)
    run_master(run)
    results = read_results(run)
    for iteration in (0, 3):
        at = {b: {r.config_id: r.evaluation.loss for r in results if r.config_id[0] == iteration and r.budget == b}
              for b in (25, 50, 100)}  # fmt: skip
        assert [len(at[b]) for b in (25, 50, 100)] == [4, 2, 1]
        assert set(at[50]) == set(sorted(at[25], key=at[25].__getitem__)[:2])
        assert set(at[100]) == set(sorted(at[50], key=at[50].__getitem__)[:1])


def test_hpbandster_reads_the_journal(make_run: MakeRun, start_workers: StartWorkers) -> None:
    run = make_run()
    start_workers(run)
    progress = run_master(run)
    theirs = logged_results_to_HBS_result(str(run.path))
    assert len(theirs.get_all_runs()) == 13
    assert progress.incumbent is not None
    assert min(r.loss for r in theirs.get_all_runs()) == progress.incumbent.evaluation.loss


def test_a_study_with_one_worker_repeats_itself(make_run: MakeRun, start_workers: StartWorkers) -> None:
    def history(name: str, seed: int) -> list[Any]:
        run = make_run(name, n_iterations=12, n_workers=1, seed=seed)
        start_workers(run)
        run_master(run)
        return [(r.config_id, r.config, r.budget, r.evaluation.seed) for r in read_results(run)]

    first = history("first", seed=3)
    assert history("second", seed=3) == first
    assert history("third", seed=4)[1:] != first[1:]


def test_a_tuner_replayed_from_the_files_goes_on_as_the_study_did(
    make_run: MakeRun, start_workers: StartWorkers
) -> None:
    run = make_run(n_iterations=9, n_workers=1, seed=3)
    start_workers(run)
    run_master(run)
    journals, spec = read_journals(run), run.spec()
    for n_results, next_result in enumerate(journals.results):
        known = {result.config_id for result in journals.results[:n_results]}
        configs = {config_id: proposal for config_id, proposal in journals.configs.items() if config_id in known}
        tuner = Tuner(spec, make_sampler(spec))
        tuner.replay(configs, journals.results[:n_results])
        trial = tuner.ask()
        assert trial is not None
        assert (trial.config_id, trial.budget, trial.config, trial.seed) == (
            next_result.config_id, next_result.budget, next_result.config, next_result.evaluation.seed,
        )  # fmt: skip
        assert tuner.proposals[trial.config_id] == journals.configs[trial.config_id]


@pytest.mark.parametrize("status", [Status.DIVERGED, Status.OUT_OF_MEMORY, Status.BAD_CONFIG])
def test_failures_are_recorded_and_the_study_goes_on(
    make_run: MakeRun, start_workers: StartWorkers, status: Status
) -> None:
    failure = Evaluation(status=status, t_search_s=2.0, error="as told")
    run = make_run(n_iterations=4)
    start_workers(run, objective=answering(lambda t: failure if t.config_id[2] == 1 else smooth_objective(t, Path())))
    progress = run_master(run)
    results = read_results(run)
    assert progress.n_done == len(results) == 7 + 3 + 3 + 7
    failed = [r for r in results if r.config_id[2] == 1]
    assert {r.evaluation.status for r in failed} == {status}
    assert {(r.evaluation.loss, r.evaluation.t_search_s, r.evaluation.error) for r in failed} == {(1.0, 2.0, "as told")}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda trial: 1 / 0, "ZeroDivisionError"),
        (lambda trial: None, "got None, expected an Evaluation"),
        (lambda trial: {"loss": 0.1}, "expected an Evaluation"),
        (lambda trial: Evaluation(status=Status.OK, validation_error=float("nan")), "nan"),
        (lambda trial: Evaluation(status=Status.OK, validation_error=np.float32(0.5)), "float32"),
        (lambda trial: Evaluation(status=Status.OK), "validation error None"),
    ],
)
def test_the_same_bug_three_times_ends_the_study_with_it(
    make_run: MakeRun, start_workers: StartWorkers, answer: Answer, message: str
) -> None:
    run = make_run(n_workers=1)
    start_workers(run, objective=answering(answer))
    with pytest.raises(StudyFailedError, match=f"(?s)same bug occurred 3 times.*Traceback.*{message}"):
        run_master(run)
    results = read_results(run)
    assert {r.evaluation.status for r in results} == {Status.BUG}
    assert len(results) in (3, 4)  # what was reported meanwhile is recorded, too
    assert not credentials_path(run).exists()


def test_different_bugs_do_not_end_it(make_run: MakeRun, start_workers: StartWorkers) -> None:
    def answer(trial: TrialSpec) -> Evaluation:
        if trial.config_id[2] == 0:
            raise [KeyError, ValueError, ZeroDivisionError][trial.config_id[0]]("as told")
        return Evaluation(status=Status.OK, validation_error=0.5)

    run = make_run(n_iterations=3)
    start_workers(run, objective=answering(answer))
    run_master(run)
    counts = Counter(r.evaluation.status for r in read_results(run))
    assert counts == {Status.OK: 10, Status.BUG: 3}


def test_equal_bugs_have_the_same_class_and_place() -> None:
    def trace(message: str, line: int = 5) -> str:
        return f'Traceback (most recent call last):\n  File "a.py", line {line}, in f\n    x\nKeyError: {message}\n'

    assert bug_kind(trace("one")) == bug_kind(trace("another"))
    assert bug_kind(trace("one")) != bug_kind(trace("one", line=6))
    assert bug_kind(trace("one")) != bug_kind(trace("one").replace("KeyError", "ValueError"))
    assert bug_kind("a on 0_0_0: its report: got 1") == bug_kind("b on 1_0_0: its report: got 2")


def test_no_workers_end_the_study_with_a_message(make_run: MakeRun, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run = make_run(n_workers=16)
    waits = WaitSettings(message_interval_s=0.1, no_worker_limit_s=0.3)
    with pytest.raises(StudyFailedError, match="none of 16 workers was registered"):
        run_master(run, wait_settings=waits)
    assert "0 of 16 workers registered" in caplog.text


def test_it_starts_when_as_many_workers_as_asked_for_are_there(make_run: MakeRun, start_workers: StartWorkers) -> None:
    run = make_run()
    start_workers(run)
    alone: list[Progress] = []

    def on_progress(progress: Progress) -> None:
        if progress.n_workers == 1 and progress.last is None:
            alone.append(progress)
            if len(alone) == 3:  # the first worker had time enough
                start_workers(run)

    run_master(run, wait_settings=WaitSettings(min_workers=2, message_interval_s=0.1), on_progress=on_progress)
    assert len(alone) >= 3
    assert {(p.n_done, p.running) for p in alone} == {(0, ())}


def test_progress_tells_each_result_once(make_run: MakeRun, start_workers: StartWorkers) -> None:
    run = make_run()
    start_workers(run)
    reports: list[Progress] = []
    run_master(run, on_progress=reports.append)
    arrived = [p for p in reports if p.last is not None]
    assert [p.n_done for p in arrived] == list(range(1, 14))
    assert [p.last.config_id for p in arrived if p.last] == [r.config_id for r in read_results(run)]
    losses = [p.last.evaluation.loss for p in arrived if p.last]
    assert [p.incumbent.evaluation.loss for p in arrived if p.incumbent] == np.minimum.accumulate(losses).tolist()
    assert {p.n_total for p in reports} == {13}
    assert replace(arrived[-1], elapsed_s=30.0).rate_per_min == 26


def test_an_interrupt_ends_master_and_workers(make_run: MakeRun, start_workers: StartWorkers) -> None:
    run = make_run(n_iterations=64)
    workers = start_workers(run, 2)

    def on_progress(progress: Progress) -> None:
        if progress.n_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_master(run, on_progress=on_progress)
    for thread in workers:
        thread.join(timeout=5)
        assert not thread.is_alive()
    assert 3 <= len(read_results(run)) < 280  # what was acknowledged meanwhile is recorded, too
    assert not credentials_path(run).exists()


def test_two_studies_at_once_keep_apart(make_run: MakeRun, start_workers: StartWorkers) -> None:
    runs = [make_run(f"run{i}", seed=i, n_iterations=6) for i in range(2)]  # both have the run_id "test"
    commands = [["master_process.py", str(runs[1].path)], ["worker_process.py", str(runs[1].path), "smooth"]]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen([sys.executable, str(Path(__file__).parent / script), *arguments], env=environment)
        for script, *arguments in commands
    ]
    while not credentials_path(runs[1]).exists():
        assert processes[0].poll() is None
        time.sleep(0.02)
    start_workers(runs[0])
    run_master(runs[0])
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    for seed, run in enumerate(runs):
        results = read_results(run)
        assert len(results) == 26
        assert {r.evaluation.seed == trial_seed(seed, r.config_id, r.budget) for r in results} == {True}
        assert len({r.evaluation.worker for r in results}) == 1


def test_a_run_is_not_started_twice(make_run: MakeRun, start_workers: StartWorkers) -> None:
    run = make_run()
    start_workers(run)
    run_master(run)
    with pytest.raises(ValueError, match="this run was started already; go on with it by"):
        run_master(run)


@pytest.mark.parametrize("sampler", ["bohb", "random"])
def test_given_configurations_come_first_and_the_default_after_them(
    make_run: MakeRun, start_workers: StartWorkers, sampler: str
) -> None:
    run = make_run(sampler=sampler, initial_configs=({"learning_rate": 0.5}, {"cutout_prob": 1}), n_workers=1)
    start_workers(run)
    run_master(run)
    default = CONFIG_SPACES["cs2"].default
    first = [proposal.config for proposal in read_journals(run).configs.values()][:4]
    assert first[:3] == [default | {"learning_rate": 0.5}, default | {"cutout_prob": 1.0}, default]
    assert first[3] not in first[:3]
    assert run.spec().initial_configs == tuple(first[:3])


def test_a_list_is_evaluated_as_it_stands(make_run: MakeRun, start_workers: StartWorkers) -> None:
    run = make_run(sampler="listed", initial_configs=({"cutout_prob": 0.5}, {}, {"cutout_prob": 0.5}))
    start_workers(run)
    run_master(run)
    default = CONFIG_SPACES["cs2"].default
    results = sorted(read_results(run), key=lambda result: result.config_id)
    assert [r.config for r in results] == [default | {"cutout_prob": 0.5}, default, default | {"cutout_prob": 0.5}]
    assert {r.budget for r in results} == {100}
    assert len({r.evaluation.seed for r in results}) == 3


@pytest.mark.parametrize("name", ["darts@home", "my study", "größe ✓ 大", "a.worker.b", "%20;:/?#".replace("/", "_")])
def test_a_directory_of_any_name_will_do(make_run: MakeRun, start_workers: StartWorkers, name: str) -> None:
    run = make_run(name, run_id=name, n_iterations=1)
    start_workers(run)
    run_master(run)
    assert len(read_results(run)) == 7


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_budget": 200}, "min_budget: got 200, above max_budget 100"),
        ({"config_space": "cs9"}, "configuration space: got 'cs9'"),
        ({"n_workers": 0}, "n_workers: got 0, expected at least 1"),
        ({"n_iterations": 0}, "n_iterations: got 0, expected at least 1"),
        ({"n_iterations": True}, r"study, n_iterations: got True \(bool\), expected int"),
        ({"table_epochs": 12.0}, r"study, table_epochs: got 12.0 \(float\), expected int"),
        ({"sampler": "tpe"}, "--sampler: got 'tpe', expected one of bohb, bohb_pending, random, listed"),
        ({"sampler": "listed"}, "--sampler listed needs at least one configuration"),
        ({"initial_configs": ({},) * 3, "n_iterations": 1, "min_budget": 100}, "--try: got 3 configurations"),
        ({"initial_configs": ({"colour": 1},)}, r"got \['colour'\], expected some of \['weight_decay', 'cutout_prob'"),
        ({"initial_configs": ({}, {"cutout_prob": 1.5})}, "cutout_prob: got 1.5, expected a number from 0.0 to 1.0"),
        ({"initial_configs": ({"cutout_prob": "high"},)}, "cutout_prob: got 'high', expected a number"),
    ],
)
def test_an_impossible_study_writes_nothing(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    spec = StudySpec(
        run_id="test",
        optimizer="darts",
        search_space="1",
        config_space="cs2",
        dataset="digits",
        data_dir=None,
        table="digits",
        table_epochs=12,
    )
    with pytest.raises(ValueError, match=message):
        create_run(tmp_path / "run", msgspec.structs.replace(spec, **fields))
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_is_not_this_one_is_refused(make_run: MakeRun) -> None:
    run = make_run()
    with pytest.raises(OSError, match="assign"):
        run_master(run, host="192.0.2.1")  # reserved for documentation: nobody's
    assert not credentials_path(run).exists()


def test_the_configuration_space_stands_beside_the_journal(make_run: MakeRun) -> None:
    from ConfigSpace import ConfigurationSpace

    run: RunDirectory = make_run()
    assert ConfigurationSpace.from_json(run.configspace_json) == CONFIG_SPACES["cs2"].build(seed=0)
