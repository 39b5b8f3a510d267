"""A worker over real Pyro, opposite a real dispatcher."""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import Pyro4
import pytest

from master.certificates import write_certificates
from master.daemon import GuardedDaemon
from master.dispatcher import Dispatcher
from master.jobs import TrialJob
from master.nameserver import name_server
from master.protocol import (
    COMMUNICATION_ERRORS,
    HeartbeatAnswer,
    connect,
    dispatcher_name,
    name_server_uri,
    own_version,
    short_name,
)
from master.settings import DispatcherSettings
from results.credentials import Credentials, credentials_path, write_credentials
from results.epoch import EpochRecord
from results.records import Evaluation, Status, StudySpec, TrialSpec
from results.run_directory import RunDirectory
from tests.waiting import wait_for
from worker.master_link import MasterNotFoundError
from worker.outcome import Objective
from worker.service import WorkerRefusedError, WorkerService, run_worker
from worker.settings import WorkerSettings

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
QUICK = WorkerSettings(wait_s=5.0, message_interval_s=0.1, heartbeat_s=0.05)


def answer_at_once(
    trial: TrialSpec,
    directory: Path,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    worker: str | None = None,
    on_saved: Callable[[EpochRecord], None] | None = None,
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
        on_saved: Callable[[EpochRecord], None] | None = None,
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
        self.ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def start_dispatcher(self) -> None:
        settings = DispatcherSettings(ping_interval_s=30.0)  # so that only what workers announce is found
        self.dispatcher = Dispatcher(self.credentials, "127.0.0.1", settings)
        self.dispatcher.run()

    def start_worker(self, objective: Objective = answer_at_once) -> None:
        def work() -> None:
            self.ended.put(run_worker(self.run.path, objective=objective, settings=QUICK))

        threading.Thread(target=work, daemon=True).start()
        wait_for(lambda: bool(self.dispatcher.workers()))
        (self.worker,) = self.dispatcher.workers()

    def submit(self) -> TrialJob:
        trial = TrialSpec(study=STUDY, config_id=(3, 1, 4), budget=25, config={"cutout_prob": 0.5}, seed=7)
        job = TrialJob(trial, model_based=False, submitted=time.time())
        self.dispatcher.submit(job)
        return job

    def next_finished(self) -> TrialJob:
        """The next finished job; no other has finished."""
        jobs: list[TrialJob] = []
        wait_for(lambda: bool(jobs) or bool(jobs.extend(self.dispatcher.finished(0.1))))
        (job,) = jobs
        return job


class FakeMaster:
    """A dispatcher that does as it is told, under the real one's name."""

    def __init__(self, run: RunDirectory, credentials: Credentials) -> None:
        self.run, self.credentials = run, credentials
        self.joined: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self.beats: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.reports: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
        self.ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.refusal: str | None = None
        self.reason: str | None = None
        self.n_failing_reports = 0
        self.is_ending = False
        self.daemon = GuardedDaemon("127.0.0.1")
        self.name_server = connect(name_server_uri(credentials.host, credentials.port))
        self.name_server.register(dispatcher_name("test"), self.daemon.register(self))
        threading.Thread(target=self.daemon.requestLoop, daemon=True).start()

    def start_worker(self, objective: Objective) -> None:
        def work() -> None:
            self.ended.put(run_worker(self.run.path, objective=objective, settings=QUICK))

        threading.Thread(target=work, daemon=True).start()

    def forget_join(self) -> None:
        """From now on, ``join`` is no call of this master's."""
        self.daemon.unregister(self)
        self.name_server.register(dispatcher_name("test"), self.daemon.register(OldMaster()))

    @Pyro4.expose
    def join(self, worker_name: str, uri: str, version: Any) -> str | None:
        assert version == own_version(), "what a worker says of itself"
        self.joined.put((worker_name, uri))
        if self.is_ending:
            credentials_path(self.run).unlink()
            raise ConnectionResetError("as told")
        return self.refusal

    @Pyro4.expose
    def heartbeat(self, worker_name: str, tickets: dict[str, int]) -> HeartbeatAnswer:
        self.beats.put(worker_name)
        return {"known": self.reason is None, "abandon": [], "reason": self.reason}

    @Pyro4.expose
    def register_result(self, ticket: str, result: Any) -> bool:
        self.reports.put((ticket, result["validation_error"]))
        self.n_failing_reports -= 1
        if self.n_failing_reports >= 0:
            raise ConnectionResetError("as told")
        return True

    @Pyro4.expose
    def sign_off(self, worker_name: str, reason: str) -> None:
        pass


@Pyro4.expose
class OldMaster:
    """A master of before there were versions."""

    def sign_off(self, worker_name: str, reason: str) -> None:
        pass


@pytest.fixture
def master(tmp_path: Path) -> Iterator[FakeMaster]:
    run = RunDirectory(tmp_path)
    with name_server(run, "test", "127.0.0.1") as credentials:
        master = FakeMaster(run, credentials)
        yield master
        master.daemon.end()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    with name_server(scene.run, "test", "127.0.0.1") as scene.credentials:
        scene.start_dispatcher()
        yield scene
        scene.dispatcher.shutdown()


def end(worker: Any) -> None:
    """Tells a worker to end, which may then be gone before it has answered."""
    with suppress(*COMMUNICATION_ERRORS):
        worker.shutdown()


def test_it_is_found_at_once_evaluates_and_ends_with_the_study(scene: Scene) -> None:
    scene.start_worker()
    job = scene.submit()
    assert scene.next_finished() is job
    name = short_name(scene.worker)
    assert job.result().evaluation == Evaluation(status=Status.OK, validation_error=0.5, seed=7, worker=name)
    scene.dispatcher.shutdown()
    assert scene.ended.get(timeout=10) == "the study has ended"


def test_a_trial_gets_its_own_directory(scene: Scene) -> None:
    epochs = Epochs()
    scene.start_worker(epochs)
    scene.submit()
    assert epochs.begun.get(timeout=10) == scene.run.path / "trials" / "3_1_4" / "25"
    epochs.may_answer.set()
    scene.next_finished()


def test_it_refuses_a_second_job_while_it_is_busy(master: FakeMaster) -> None:
    epochs = Epochs()
    master.start_worker(epochs)
    with connect(master.joined.get(timeout=10)[1]) as worker:
        trial = TrialSpec(study=STUDY, config_id=(3, 1, 4), budget=25, config={"cutout_prob": 0.5}, seed=7).to_dict()
        wait_for(lambda: bool(worker.start_computation("first", trial)))
        epochs.begun.get(timeout=10)
        assert worker.is_busy() is True
        assert worker.start_computation("other", trial) is False
        epochs.may_answer.set()
        assert master.reports.get(timeout=10)[0] == "first"
        end(worker)
    assert master.reports.empty()


def test_a_job_that_makes_no_sense_is_reported_as_a_bug(scene: Scene) -> None:
    scene.start_worker()
    job = TrialJob(
        TrialSpec(study=STUDY, config_id=(0, 0, 0), budget=25, config={}, seed=7),
        model_based=False,
        submitted=time.time(),
    )
    job.wire_trial = {"config_id": [0, 0, 0], "budget": "many"}
    scene.dispatcher.submit(job)
    scene.next_finished()
    assert job.result().evaluation.status is Status.BUG
    assert "the job" in str(job.result().evaluation.error)


def test_one_that_was_given_up_joins_again_and_keeps_its_trial(scene: Scene) -> None:
    epochs = Epochs()
    scene.start_worker(epochs)
    job = scene.submit()
    epochs.begun.get(timeout=10)
    scene.dispatcher.sign_off(scene.worker, "as after a long silence")
    assert not scene.dispatcher.running()
    wait_for(lambda: scene.dispatcher.running() == [job])
    epochs.may_answer.set()
    assert scene.next_finished() is job
    assert scene.dispatcher.finished(0.0) == []
    assert epochs.begun.empty()


def test_a_busy_one_abandons_its_trial_when_the_study_ends(scene: Scene) -> None:
    epochs = Epochs()
    scene.start_worker(epochs)
    scene.submit()
    epochs.begun.get(timeout=10)
    scene.dispatcher.shutdown()
    assert scene.ended.get(timeout=10) == "the study has ended"
    assert scene.dispatcher.finished(0.0) == []


def test_a_report_is_repeated_until_the_master_takes_it(master: FakeMaster) -> None:
    master.start_worker(answer_at_once)
    master.n_failing_reports = 2
    with connect(master.joined.get(timeout=10)[1]) as worker:
        trial = TrialSpec(study=STUDY, config_id=(3, 1, 4), budget=25, config={"cutout_prob": 0.5}, seed=7).to_dict()
        wait_for(lambda: bool(worker.start_computation("ticket", trial)))
        assert [master.reports.get(timeout=10) for _ in range(3)] == [("ticket", 0.5)] * 3
        end(worker)
    assert master.ended.get(timeout=10) == "the study has ended"
    assert master.reports.empty()


def test_a_huge_error_fits_into_a_message(master: FakeMaster) -> None:
    def fail(*arguments: Any) -> Evaluation:
        raise ValueError("x" * 2**23)  # Pyro's messages have at most half of it

    master.start_worker(fail)
    with connect(master.joined.get(timeout=10)[1]) as worker:
        trial = TrialSpec(study=STUDY, config_id=(3, 1, 4), budget=25, config={"cutout_prob": 0.5}, seed=7).to_dict()
        wait_for(lambda: bool(worker.start_computation("ticket", trial)))
        assert master.reports.get(timeout=10) == ("ticket", None)
        end(worker)
    assert master.ended.get(timeout=10) == "the study has ended"


@pytest.mark.parametrize("knows_versions", [True, False])
def test_one_that_the_master_refuses_ends_with_its_reason(master: FakeMaster, knows_versions: bool) -> None:
    master.refusal = "worker x runs nasbohb 2 (protocol 2), its master nasbohb 1 (protocol 1); install the same"
    if not knows_versions:
        master.forget_join()
    with pytest.raises(WorkerRefusedError, match="install th"):
        run_worker(master.run.path, objective=answer_at_once, settings=QUICK)
    assert master.beats.empty()


def test_it_fails_when_the_master_has_been_silent_for_too_long(scene: Scene) -> None:
    settings = replace(QUICK, wait_s=0.5)
    failure: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            run_worker(scene.run.path, objective=answer_at_once, settings=settings)
        except MasterNotFoundError as error:
            failure.put(error)

    threading.Thread(target=work, daemon=True).start()
    wait_for(lambda: bool(scene.dispatcher.workers()))
    scene.dispatcher.shutdown(shutdown_workers=False)  # as if killed: the credentials still stand
    assert "the master has not answered for" in str(failure.get(timeout=10))


def test_it_ends_at_once_when_the_master_took_its_credentials_away(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with name_server(scene.run, "test", "127.0.0.1") as scene.credentials:
        scene.start_dispatcher()
        scene.start_worker()
        credentials_path(scene.run).unlink()
        scene.dispatcher.shutdown(shutdown_workers=False)
        assert scene.ended.get(timeout=QUICK.wait_s) == "the master has ended"


def test_one_that_joins_while_the_master_ends_says_so(master: FakeMaster) -> None:
    """The master stops answering a moment before it takes its credentials away."""
    master.is_ending = True
    assert run_worker(master.run.path, objective=answer_at_once, settings=QUICK) == "the master has ended"
    assert master.joined.qsize() == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_an_error_of_the_worker(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: WorkerService) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(WorkerService, "_keep_in_touch", fail)
    with pytest.raises(RuntimeError, match="threads has died"):
        run_worker(scene.run.path, objective=answer_at_once, settings=QUICK)
    wait_for(lambda: not scene.dispatcher.workers())


def test_it_waits_for_a_master_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    settings = WorkerSettings(wait_s=0.5, message_interval_s=0.1)
    with pytest.raises(
        MasterNotFoundError, match=r"no master of this run was there within 0 s \(no .*nameserver\.json\); start it"
    ):
        run_worker(tmp_path / "run", objective=answer_at_once, settings=settings)
    assert caplog.text.count("waiting for a master") >= 2


def test_it_does_not_mistake_another_masters_credentials(scene: Scene, tmp_path: Path) -> None:
    other = RunDirectory(tmp_path / "other")
    other.path.mkdir()
    other.credentials.mkdir()
    write_certificates(other.credentials / "of-another")
    write_credentials(other, msgspec.structs.replace(scene.credentials, certificates="of-another"))
    with pytest.raises(MasterNotFoundError, match=r"no answer at .*certificate verify failed"):
        run_worker(other.path, objective=answer_at_once, settings=WorkerSettings(wait_s=0.3))
    assert not scene.dispatcher.workers()


def test_one_that_comes_before_the_dispatcher_waits_for_it(scene: Scene, tmp_path: Path) -> None:
    """A master writes its credentials a moment before its dispatcher is there."""
    run = RunDirectory(tmp_path / "early")
    run.credentials.mkdir(parents=True, mode=0o700)
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    with name_server(run, "early", "127.0.0.1") as credentials:
        threading.Thread(target=lambda: ended.put(run_worker(run.path, settings=QUICK)), daemon=True).start()
        time.sleep(0.5)
        assert ended.empty()
        settings = DispatcherSettings(ping_interval_s=30.0)
        dispatcher = Dispatcher(credentials, "127.0.0.1", settings)
        dispatcher.run()
        wait_for(lambda: bool(dispatcher.workers()))
        dispatcher.shutdown()
    assert "ended" in ended.get(timeout=10)


def test_the_credentials_of_a_dead_master_are_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.credentials.mkdir(parents=True, mode=0o700)
    with name_server(run, "test", "127.0.0.1") as credentials:
        shutil.copytree(run.credentials, tmp_path / "kept")
    shutil.copytree(tmp_path / "kept", run.credentials, dirs_exist_ok=True)
    with pytest.raises(MasterNotFoundError, match=rf"no answer at 127\.0\.0\.1:{credentials.port}"):
        run_worker(run.path, settings=WorkerSettings(wait_s=0.3))


def test_a_worker_ends_before_its_wall_time_when_it_has_saved_an_epoch(scene: Scene) -> None:
    """Ten seconds are kept for its end, and one and a half times the longest epoch so far."""
    saved: list[int] = []

    def epochs(
        trial: TrialSpec,
        directory: Path,
        on_epoch: Callable[[EpochRecord], None] | None = None,
        worker: str | None = None,
        on_saved: Callable[[EpochRecord], None] | None = None,
    ) -> Evaluation:
        assert on_saved is not None
        for epoch in range(1, trial.budget):
            time.sleep(0.1)
            on_saved(msgspec.structs.replace(EPOCH, epoch=epoch))
            saved.append(epoch)
        return answer_at_once(trial, directory)

    settings = replace(QUICK, walltime_s=11.5)
    threading.Thread(
        target=lambda: scene.ended.put(run_worker(scene.run.path, objective=epochs, settings=settings)), daemon=True
    ).start()
    wait_for(lambda: bool(scene.dispatcher.workers()))
    job = scene.submit()
    assert scene.ended.get(timeout=10) == "no further epoch fits into its wall time"
    assert saved
    assert (job.losses, len(job.returns), scene.dispatcher.running()) == ([], 1, [])
    assert job.epochs >= 1


def test_a_worker_that_cannot_be_admitted_says_why_once(master: FakeMaster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    master.reason = "worker x wants to join, but does not answer at PYRO:x@10.0.0.1:1; see its --host"
    master.start_worker(answer_at_once)
    for _ in range(4):
        master.beats.get(timeout=10)
    assert "is ready" not in caplog.text
    assert caplog.text.count(f"not admitted yet: {master.reason}") == 1
    master.reason = None
    wait_for(lambda: "is ready" in caplog.text)
    master.refusal = "enough"
    with connect(master.joined.get(timeout=10)[1]) as worker:
        end(worker)
    assert master.ended.get(timeout=10) == "the study has ended"
