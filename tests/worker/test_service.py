"""A worker over real Pyro, opposite a real dispatcher."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from master.dispatcher import Dispatcher, DispatcherSettings
from master.jobs import TrialJob
from master.nameserver import name_server
from master.wire import configure_pyro, connect
from results.credentials import credentials_path, write_credentials
from results.epoch import EpochRecord
from results.records import Evaluation, Status, StudySpec, TrialSpec
from results.run_directory import RunDirectory
from worker.outcome import Objective
from worker.service import MasterNotFoundError, WorkerService, WorkerSettings, run_worker

STUDY = StudySpec(
    run_id="test",
    optimizer="darts",
    search_space="1",
    config_space="cs1",
    dataset="digits",
    data_dir=None,
    table="digits",
    table_epochs=12,
)
EPOCH = EpochRecord(
    epoch=1,
    train_loss=1.0,
    arch_loss=None,
    one_shot_validation_error=0.5,
    learning_rate=0.1,
    cutout_prob=0.0,
    architecture_index=0,
    cell_hash="0" * 32,
    table={},
    search_s=0.0,
)
QUICK = WorkerSettings(start_limit_s=5.0, message_interval_s=0.1, heartbeat_s=0.05, master_limit_s=0.5)


def answer_at_once(
    trial: TrialSpec,
    directory: Path,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    worker: str | None = None,
) -> Evaluation:
    return Evaluation(status=Status.OK, validation_error=0.5, seed=trial.seed, worker=worker)


class Epochs:
    """An objective that goes on from epoch to epoch until it is told to answer."""

    def __init__(self) -> None:
        self.begun: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self.may_answer = threading.Event()

    def __call__(
        self,
        trial: TrialSpec,
        directory: Path,
        on_epoch: Callable[[EpochRecord], None] | None = None,
        worker: str | None = None,
    ) -> Evaluation:
        self.begun.put(directory)
        assert on_epoch is not None
        while not self.may_answer.wait(0.02):
            on_epoch(EPOCH)
        return answer_at_once(trial, directory, on_epoch, worker)


class Scene:
    """A run with a name server, a dispatcher, and one worker."""

    def __init__(self, path: Path) -> None:
        self.run = RunDirectory(path)
        self.finished: queue.SimpleQueue[TrialJob] = queue.SimpleQueue()
        self.ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def start_dispatcher(self) -> None:
        settings = DispatcherSettings(ping_interval_s=30.0)  # so that only what workers announce is found
        self.dispatcher = Dispatcher(self.credentials, "127.0.0.1", self.finished.put, lambda n: None, settings)
        self.dispatcher.run()

    def start_worker(self, objective: Objective = answer_at_once) -> None:
        def work() -> None:
            self.ended.put(run_worker(self.run.path, objective=objective, settings=QUICK))

        threading.Thread(target=work, daemon=True).start()
        wait_for(lambda: bool(self.dispatcher.idle_workers))
        (self.worker,) = self.dispatcher.worker_pool.values()

    def submit(self) -> TrialJob:
        job = TrialJob(
            TrialSpec(study=STUDY, config_id=(3, 1, 4), budget=25, config={"cutout_prob": 0.5}, seed=7),
            model_based=False,
        )
        self.dispatcher.submit_job(job)
        return job


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited 10 s"
        time.sleep(0.01)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    configure_pyro()
    scene = Scene(tmp_path)
    with name_server(scene.run, "test", "127.0.0.1") as scene.credentials:
        scene.start_dispatcher()
        yield scene
        scene.dispatcher.shutdown()


def test_it_is_found_at_once_evaluates_and_ends_with_the_study(scene: Scene) -> None:
    scene.start_worker()
    job = scene.submit()
    assert scene.finished.get(timeout=10) is job
    name = scene.worker.name
    assert job.outcome.evaluation == Evaluation(status=Status.OK, validation_error=0.5, seed=7, worker=name)
    scene.dispatcher.shutdown()
    assert scene.ended.get(timeout=10) == "the study has ended"


def test_a_trial_gets_its_own_directory(scene: Scene) -> None:
    epochs = Epochs()
    scene.start_worker(epochs)
    scene.submit()
    assert epochs.begun.get(timeout=10) == scene.run.path / "trials" / "3_1_4" / "25"
    epochs.may_answer.set()
    scene.finished.get(timeout=10)


def test_it_refuses_a_second_job_while_it_is_busy(scene: Scene) -> None:
    epochs = Epochs()
    scene.start_worker(epochs)
    scene.submit()
    epochs.begun.get(timeout=10)
    with connect(scene.worker._uri, scene.credentials.key) as proxy:
        assert proxy.is_busy() is True
        assert proxy.start_computation(None, "other", trial={}) is False
    epochs.may_answer.set()
    scene.finished.get(timeout=10)
    assert scene.finished.empty()


def test_a_job_that_makes_no_sense_is_reported_as_a_bug(scene: Scene) -> None:
    scene.start_worker()
    job = TrialJob(TrialSpec(study=STUDY, config_id=(0, 0, 0), budget=25, config={}, seed=7), model_based=False)
    job.wire_trial = {"config_id": [0, 0, 0], "budget": "many"}
    scene.dispatcher.submit_job(job)
    scene.finished.get(timeout=10)
    assert job.outcome.evaluation.status is Status.BUG
    assert "the job" in str(job.outcome.evaluation.error)


def test_one_that_was_given_up_abandons_its_trial_and_registers_again(scene: Scene) -> None:
    epochs = Epochs()
    scene.start_worker(epochs)
    job = scene.submit()
    epochs.begun.get(timeout=10)
    scene.dispatcher.sign_off(scene.worker.name, "as after a long silence")
    epochs.begun.get(timeout=10)  # it has abandoned the trial, is admitted again, and gets it anew
    epochs.may_answer.set()
    assert scene.finished.get(timeout=10) is job
    assert scene.finished.empty()


def test_a_busy_one_abandons_its_trial_when_the_study_ends(scene: Scene) -> None:
    epochs = Epochs()
    scene.start_worker(epochs)
    scene.submit()
    epochs.begun.get(timeout=10)
    scene.dispatcher.shutdown()
    assert scene.ended.get(timeout=10) == "the study has ended"
    assert scene.finished.empty()


def test_a_report_is_repeated_until_the_master_takes_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = Epochs()
    scene.start_worker(epochs)
    job = scene.submit()
    epochs.begun.get(timeout=10)
    taken = Dispatcher.register_result
    calls: list[Any] = []

    def fails_at_first(self: Dispatcher, id: str, result: Any) -> bool:
        calls.append(id)
        if len(calls) < 3:
            raise ConnectionResetError("as told")
        return taken(self, id, result)

    fails_at_first._pyroExposed = True  # type: ignore[attr-defined]
    monkeypatch.setattr(Dispatcher, "register_result", fails_at_first)
    epochs.may_answer.set()
    assert scene.finished.get(timeout=10) is job
    assert len(calls) == 3


def test_it_ends_when_the_master_has_been_silent_for_too_long(scene: Scene) -> None:
    scene.start_worker()
    scene.dispatcher.shutdown(shutdown_workers=False)  # as if killed: the credentials still stand
    assert "the master has not answered for" in scene.ended.get(timeout=10)


def test_it_ends_at_once_when_the_master_took_its_credentials_away(tmp_path: Path) -> None:
    configure_pyro()
    scene = Scene(tmp_path)
    with name_server(scene.run, "test", "127.0.0.1") as scene.credentials:
        scene.start_dispatcher()
        scene.start_worker()
        credentials_path(scene.run).unlink()
        scene.dispatcher.shutdown(shutdown_workers=False)
        assert scene.ended.get(timeout=QUICK.master_limit_s) == "the master has ended"


def test_one_that_joins_while_the_master_ends_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The master stops answering a moment before it takes its credentials away."""
    configure_pyro()
    scene = Scene(tmp_path)
    tries, find = [], WorkerService._find_dispatcher

    def while_the_master_ends(self: WorkerService) -> str:
        tries.append(1)
        uri = "PYRO:gone@127.0.0.1:1" if len(tries) > 1 else find(self)
        if len(tries) == 1:
            scene.dispatcher.shutdown(shutdown_workers=False)
        else:
            credentials_path(scene.run).unlink()
        return uri

    monkeypatch.setattr(WorkerService, "_find_dispatcher", while_the_master_ends)
    with name_server(scene.run, "test", "127.0.0.1") as scene.credentials:
        scene.start_dispatcher()
        assert run_worker(scene.run.path, objective=answer_at_once, settings=QUICK) == "the master has ended"
    assert len(tries) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_an_error_of_the_worker(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: WorkerService) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(WorkerService, "_send_heartbeats", fail)
    with pytest.raises(RuntimeError, match="threads has died"):
        run_worker(scene.run.path, objective=answer_at_once, settings=QUICK)
    wait_for(lambda: not scene.dispatcher.worker_pool)


def test_it_waits_for_a_master_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    settings = WorkerSettings(start_limit_s=0.5, message_interval_s=0.1)
    with pytest.raises(MasterNotFoundError, match=r"got no .*nameserver\.json for 0 s, expected the master.*start it"):
        run_worker(tmp_path / "run", objective=answer_at_once, settings=settings)
    assert caplog.text.count("waiting for a master") >= 2


def test_it_does_not_mistake_another_masters_credentials(scene: Scene, tmp_path: Path) -> None:
    from msgspec.structs import replace

    other = RunDirectory(tmp_path / "other")
    other.path.mkdir()
    write_credentials(other, replace(scene.credentials, key="0" * 64))
    with pytest.raises(Exception, match=r"hmac|HMAC|connection"):
        run_worker(other.path, objective=answer_at_once, settings=QUICK)
    assert not scene.dispatcher.worker_pool


def test_one_that_comes_before_the_dispatcher_waits_for_it(scene: Scene, tmp_path: Path) -> None:
    """A master writes its credentials a moment before its dispatcher is there."""
    run = RunDirectory(tmp_path / "early")
    run.credentials.mkdir(parents=True, mode=0o700)
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    configure_pyro()
    with name_server(run, "early", "127.0.0.1") as credentials:
        threading.Thread(target=lambda: ended.put(run_worker(run.path, settings=QUICK)), daemon=True).start()
        time.sleep(0.5)
        assert ended.empty()
        settings = DispatcherSettings(ping_interval_s=30.0)
        dispatcher = Dispatcher(credentials, "127.0.0.1", scene.finished.put, lambda n: None, settings)
        dispatcher.run()
        wait_for(lambda: bool(dispatcher.idle_workers))
        dispatcher.shutdown()
    assert "ended" in ended.get(timeout=10)


def test_the_credentials_of_a_dead_master_are_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.credentials.mkdir(parents=True, mode=0o700)
    configure_pyro()
    with name_server(run, "test", "127.0.0.1") as credentials:
        pass
    write_credentials(run, credentials)
    with pytest.raises(MasterNotFoundError, match=rf"no answer at 127\.0\.0\.1:{credentials.port}"):
        run_worker(run.path, settings=WorkerSettings(start_limit_s=0.3))
