"""A study whose master ends in some way goes on, and comes to what an uninterrupted one comes to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from master.jobs import trial_key
from master.limits import StudyLimits
from master.loop import Progress
from master.signals import StopFlag
from master.study import run_master
from results import journal
from results.credentials import credentials_path
from results.master_status import Ending, read_status
from results.reading import read_journals, read_results
from results.records import Evaluation, Status, TrialSpec
from results.run_directory import RunDirectory
from results.run_lock import RunLockedError, locked
from results.trial_directory import read_outcome
from tests.waiting import wait_for
from worker.settings import WorkerSettings

from .conftest import MakeRun, StartWorkers, smooth_objective

ROOT = Path(__file__).parents[2]
#: A new master takes its time on a busy machine.
PATIENT = WorkerSettings(wait_s=60.0)


def resume(run: RunDirectory, start_workers: StartWorkers, **arguments: Any) -> Progress:
    """Goes on with a run; its worker starts when its master is there, as it leaves a study that has ended."""
    is_started: list[bool] = []

    def start(progress: Progress) -> None:
        if not is_started:
            is_started.append(True)
            start_workers(run, **arguments.get("workers", {}))

    limits = arguments.get("limits")
    return run_master(run, resume=True, limits=limits, on_progress=start)


def history(run: RunDirectory) -> list[Any]:
    """All that one worker and one seed decide, in the order of the results."""
    return [(r.config_id, r.config, r.model_based, r.budget, r.evaluation.seed, r.evaluation.loss)
            for r in read_results(run)]  # fmt: skip


def interrupt_at(n_done: int, stop: StopFlag) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        if progress.n_done == n_done:
            stop.signal = signal.SIGTERM

    return on_progress


@pytest.fixture
def uninterrupted(make_run: MakeRun, start_workers: StartWorkers) -> list[Any]:
    run = make_run("uninterrupted", n_iterations=9, n_workers=1, seed=3)
    start_workers(run)
    run_master(run)
    return history(run)


@pytest.mark.parametrize("n_done", [1, 9, 20])
def test_an_interrupted_study_with_one_worker_comes_to_the_same(
    make_run: MakeRun, start_workers: StartWorkers, uninterrupted: list[Any], n_done: int
) -> None:
    run = make_run(n_iterations=9, n_workers=1, seed=3)
    (worker,) = start_workers(run)
    stop = StopFlag()
    end = run_master(run, stop=stop, on_progress=interrupt_at(n_done, stop))
    worker.join(timeout=10)
    assert end.ending is Ending.INTERRUPTED
    assert n_done <= len(read_results(run)) <= n_done + 1
    assert not credentials_path(run).exists()
    start_workers(run)
    end = run_master(run, resume=True)
    assert (end.ending, end.n_done, end.n_total) == (Ending.FINISHED, 39, 39)
    assert n_done <= end.n_before <= n_done + 1
    assert history(run) == uninterrupted
    assert end.incumbent is not None
    assert end.incumbent.evaluation.loss == min(loss for *_, loss in uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_workers_wait_for_a_master_whose_scheduler_starts_it_again(
    make_run: MakeRun, start_workers: StartWorkers, uninterrupted: list[Any], number: signal.Signals
) -> None:
    run = make_run(n_iterations=9, n_workers=1, seed=3)
    (worker,) = start_workers(run, settings=PATIENT)
    stop = StopFlag()

    def notice(progress: Progress) -> None:
        if progress.n_done == 9:
            stop.signal = number

    assert run_master(run, stop=stop, comes_back=True, on_progress=notice).ending is Ending.SUSPENDED
    status = read_status(run)
    assert status is not None
    assert status.ending is Ending.SUSPENDED
    assert not credentials_path(run).exists()
    worker.join(timeout=1.5)  # more than a sign of life
    assert worker.is_alive()
    end = run_master(run, resume=True)
    assert (end.ending, end.n_done) == (Ending.FINISHED, 39)
    assert history(run) == uninterrupted


class Processes(Protocol):
    def __call__(self, script: str, *arguments: object) -> subprocess.Popen[str]: ...


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[Processes]:
    """Starts a script of this folder; what still runs at the end of the test is killed."""
    processes: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(Path(__file__).parent / script), *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with (tmp_path / "processes.log").open("a") as log:
            processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_a_killed_master_and_its_worker_come_to_the_same(
    make_run: MakeRun, start_workers: StartWorkers, start_process: Processes, uninterrupted: list[Any]
) -> None:
    """Kill -9 three times; the worker waits each time, and keeps its trial."""
    run = make_run(n_iterations=9, n_workers=1, seed=3)
    start_workers(run, settings=PATIENT)
    for n_results in (3, 11, 25):
        master = start_process("master_process.py", run.path)
        wait_for(lambda n=n_results: len(read_journals(run).results) >= n)  # type: ignore[misc]
        master.kill()
        master.wait()
    assert start_process("master_process.py", run.path).wait(timeout=60) == 0
    assert history(run) == uninterrupted
    status = read_status(run)
    assert status is not None
    assert status.ending is Ending.FINISHED


def test_what_is_finished_while_no_master_is_there_is_handed_in(
    make_run: MakeRun, start_workers: StartWorkers, start_process: Processes, tmp_path: Path
) -> None:
    """One evaluation; the master dies while it is computed, and the trial is computed once."""
    run = make_run(n_iterations=1, n_workers=1, min_budget=100)
    go_on, computed = tmp_path / "go on", []

    def objective(trial: TrialSpec, *arguments: Any) -> Evaluation:
        computed.append(trial)
        wait_for(go_on.exists)
        return smooth_objective(trial, *arguments)

    start_workers(run, objective=objective, settings=PATIENT)
    master = start_process("master_process.py", run.path)
    wait_for(lambda: bool(computed))
    master.kill()
    master.wait()
    go_on.touch()
    directory = run.trial_directory(computed[0].config_id, computed[0].budget)
    wait_for(lambda: read_outcome(directory, computed[0]) is not None)
    end = run_master(run, resume=True)
    assert end.n_done == 1
    assert len(computed) == 1
    (result,) = read_results(run)
    assert (result.config, result.evaluation.seed) == (computed[0].config, computed[0].seed)


def test_an_outcome_that_was_kept_is_reported_by_whoever_gets_the_trial(
    make_run: MakeRun, start_workers: StartWorkers
) -> None:
    """Master and worker are gone; what was finished is not computed again."""
    run = make_run(n_iterations=4, n_workers=1)
    computed: list[str] = []

    def objective(trial: TrialSpec, *arguments: Any) -> Evaluation:
        computed.append(trial_key(trial))
        return smooth_objective(trial, *arguments)

    (worker,) = start_workers(run, objective=objective)
    run_master(run)
    worker.join(timeout=10)
    lines = run.results_json.read_bytes().splitlines(keepends=True)
    run.results_json.write_bytes(b"".join(lines[:5]))
    expected = history(run)
    resume(run, start_workers, workers={"objective": objective})
    assert len(computed) == len(set(computed)) == 20
    assert history(run)[:5] == expected


def test_a_torn_last_line_is_tolerated_and_a_damaged_one_is_refused(
    make_run: MakeRun, start_workers: StartWorkers
) -> None:
    run = make_run(n_iterations=2)
    start_workers(run)
    run_master(run)
    results, configs = run.results_json.read_bytes(), run.configs_json.read_bytes()
    run.results_json.write_bytes(results[:-7])
    assert resume(run, start_workers).n_before == 9
    assert len(read_results(run)) == 10
    for path, content in ((run.results_json, results), (run.configs_json, configs)):
        path.write_bytes(content[:5] + b"?" + content[6:])
        with pytest.raises(
            ValueError, match=rf"the journal is damaged, .*{path.name}, line 1.*restore the file"
        ) as info:
            run_master(run, resume=True)
        assert "\n" not in str(info.value)
        path.write_bytes(content)
    run.configs_json.unlink()
    with pytest.raises(ValueError, match=r"configs\.json is missing; restore it"):
        run_master(run, resume=True)


def test_the_journal_of_another_study_is_refused(make_run: MakeRun, start_workers: StartWorkers) -> None:
    run, other = make_run(n_iterations=2), make_run("other", n_iterations=2, initial_configs=({"cutout_prob": 0.5},))
    start_workers(other)
    run_master(other)
    for name in ("configs.json", "results.json"):
        (run.path / name).write_bytes((other.path / name).read_bytes())
    with pytest.raises(ValueError, match="give the journal of this study"):
        run_master(run, resume=True)


@pytest.mark.parametrize("resume", [True, False])
def test_a_second_master_is_kept_out(make_run: MakeRun, resume: bool) -> None:
    run = make_run()
    with locked(run), pytest.raises(RunLockedError, match=rf"a master is at work .*process {os.getpid()} on "):
        run_master(run, resume=resume)
    with locked(run):  # free again
        pass


def test_the_lock_goes_with_its_process(make_run: MakeRun, start_process: Processes) -> None:
    run = make_run()
    master = start_process("master_process.py", run.path)
    wait_for(credentials_path(run).exists)
    with pytest.raises(RunLockedError, match=f"process {master.pid} on"), locked(run):
        pass
    master.kill()
    master.wait()
    with locked(run):
        pass


def test_a_study_ends_at_its_limits_and_goes_on(make_run: MakeRun, start_workers: StartWorkers) -> None:
    """The budgets of the first bracket are 25 x 4, 50 x 2, 100: 40 epochs are reached by the second result."""
    run = make_run(n_iterations=3, n_workers=1)
    for limits, n_done in (
        (StudyLimits(search_epochs=40.0), 2),
        (StudyLimits(evaluations=4), 4),
        (StudyLimits(simulated_s=6.0), 6),  # one second each
    ):
        end = resume(run, start_workers, limits=limits)
        assert end.ending is Ending.LIMIT
        assert n_done <= end.n_done <= n_done + 1
        status = read_status(run)
        assert status is not None
        assert status.message
        assert "is reached" in status.message
    assert run_master(run, resume=True, limits=StudyLimits(wall_s=1e-9)).ending is Ending.LIMIT
    assert resume(run, start_workers).n_done == 13
    assert {r.evaluation.status for r in read_results(run)} == {Status.OK}


def test_a_second_report_is_recorded_as_late(make_run: MakeRun, start_workers: StartWorkers) -> None:
    from master.protocol import connect, dispatcher_name, name_server_uri
    from results.bohb_lines import evaluation_to_info
    from results.credentials import read_credentials

    run = make_run(n_iterations=2)
    late = evaluation_to_info(Evaluation(status=Status.OK, validation_error=0.125))
    told: list[bool] = []

    def on_progress(progress: Progress) -> None:
        if progress.last is None or told:
            return
        credentials = read_credentials(run)
        with connect(name_server_uri(credentials.host, credentials.port)) as server:
            uri = str(server.lookup(dispatcher_name(credentials.run_id)))
        last = progress.last
        seed = last.evaluation.seed
        assert seed is not None
        trial = TrialSpec(
            study=run.spec(), config_id=last.config_id, budget=int(last.budget), config=last.config, seed=seed
        )
        with connect(uri) as dispatcher:
            told.append(dispatcher.register_result(f"{trial_key(trial)}/earlier-7", late))

    start_workers(run)
    run_master(run, on_progress=on_progress)
    assert told == [False]
    assert len(read_results(run)) == 10
    (line,) = journal.read(run.late_jsonl)
    assert line["ticket"].startswith("0_0_")
    assert line["report"] == late
