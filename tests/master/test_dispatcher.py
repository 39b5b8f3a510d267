"""The dispatcher over real Pyro, with workers that do as they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from master.dispatcher import Dispatcher, DispatcherError
from master.jobs import TrialJob
from master.protocol import PROTOCOL, own_version
from master.remote_worker import RemoteWorker
from master.settings import DispatcherSettings
from results.bohb_lines import evaluation_to_info
from results.credentials import Credentials
from results.records import Evaluation, Status
from tests.waiting import wait_for

from .conftest import FakeWorker
from .test_pool import make_job

OK = evaluation_to_info(Evaluation(status=Status.OK, validation_error=0.25))
QUICK = DispatcherSettings(ping_interval_s=0.1, suspicion_s=0.3, silence_limit_s=0.6, max_losses=2, farewell_s=1.0)


class Office:
    """A dispatcher and what it reports."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self.dispatcher = Dispatcher(credentials, "127.0.0.1", QUICK)
        self.dispatcher.run()
        self.workers: list[FakeWorker] = []

    def worker(self, name: str = "a", **arguments: Any) -> FakeWorker:
        """A worker in the pool."""
        worker = FakeWorker(self.credentials, name=f"hpbandster.run_test.worker.{name}", **arguments)
        self.workers.append(worker)
        wait_for(lambda: worker.name in self.dispatcher.workers())
        return worker

    def close(self) -> None:
        self.dispatcher.shutdown()
        for worker in self.workers:
            worker.die()

    def submit(self, index: int = 0) -> TrialJob:
        job = make_job(index)
        self.dispatcher.submit(job)
        return job

    def next_finished(self) -> TrialJob:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if finished := self.dispatcher.finished(timeout_s=1.0):
                (job,) = finished
                return job
        raise AssertionError("no job has finished in 10 s")


@pytest.fixture
def office(credentials: Credentials) -> Iterator[Office]:
    office = Office(credentials)
    yield office
    office.close()


def test_a_job_goes_to_a_worker_and_its_report_comes_back(office: Office) -> None:
    worker = office.worker()
    job = office.submit()
    ticket, trial = worker.wait_for_job()
    assert trial == job.wire_trial
    assert worker.dispatcher.register_result(ticket, OK) is True
    done = office.next_finished()
    assert done is job
    assert done.result().evaluation == Evaluation(status=Status.OK, validation_error=0.25)
    result = job.result()
    assert result.submitted <= result.started <= result.finished


def test_a_worker_gets_its_next_job_after_its_report(office: Office) -> None:
    worker = office.worker()
    jobs = [office.submit(index) for index in range(3)]
    for n in range(1, 4):
        ticket, _ = worker.wait_for_job(n)
        worker.dispatcher.register_result(ticket, OK)
        assert office.next_finished() is jobs[n - 1]


def test_the_job_of_a_dead_worker_runs_elsewhere(office: Office) -> None:
    first = office.worker("first")
    job = office.submit()
    first.wait_for_job()
    second = office.worker("second")
    first.die()
    ticket, trial = second.wait_for_job()
    assert trial == job.wire_trial
    second.dispatcher.register_result(ticket, OK)
    assert office.next_finished() is job
    assert office.dispatcher.workers() == [second.name]
    assert job.losses == ["first: its process has ended"]


def test_a_lost_job_goes_before_the_waiting_ones(office: Office) -> None:
    first = office.worker("first")
    lost = office.submit(0)
    first.wait_for_job()
    office.submit(1)
    first.die()
    wait_for(lambda: not office.dispatcher.workers())
    assert office.worker("second").wait_for_job()[1] == lost.wire_trial


def test_a_worker_that_dies_idle_takes_no_job_with_it(office: Office) -> None:
    # In hpbandster, this is a deadlock: the thread that hands out jobs dies and keeps the lock.
    first = office.worker("first")
    first.die()
    job = office.submit()
    second = office.worker("second")
    ticket, _ = second.wait_for_job()
    second.dispatcher.register_result(ticket, OK)
    assert office.next_finished() is job
    office.dispatcher.check()


def test_a_job_that_loses_too_many_workers_is_given_up(office: Office) -> None:
    job = office.submit()
    for name in ("first", "second"):
        worker = office.worker(name)
        worker.wait_for_job()
        worker.die()
    assert office.next_finished() is job
    evaluation = job.result().evaluation
    assert evaluation.status is Status.WORKER_LOST
    assert evaluation.error == "first: its process has ended; second: its process has ended"


def test_a_worker_that_signs_off_hands_its_job_back_without_a_loss(office: Office) -> None:
    job = office.submit()
    for name in ("first", "second", "third"):
        worker = office.worker(name)
        ticket, _ = worker.wait_for_job()
        if name != "third":
            worker.dispatcher.sign_off(worker.name, "preempted")
    worker.dispatcher.register_result(ticket, OK)
    assert office.next_finished() is job
    assert job.losses == []


def test_the_first_report_of_a_trial_counts_and_later_ones_are_kept_apart(office: Office) -> None:
    first = office.worker("first")
    job = office.submit()
    old_ticket, _ = first.wait_for_job()
    first.dispatcher.sign_off(first.name, "preempted")
    second = office.worker("second")
    ticket, _ = second.wait_for_job()
    assert first.dispatcher.register_result(old_ticket, OK) is True
    assert office.next_finished() is job
    assert second.dispatcher.heartbeat(second.name, {ticket: 3})["abandon"] == [ticket]
    late = evaluation_to_info(Evaluation(status=Status.OK, validation_error=0.9))
    assert second.dispatcher.register_result(ticket, late) is False
    assert first.dispatcher.register_result(old_ticket, late) is False
    assert job.result().evaluation.validation_error == 0.25
    assert office.dispatcher.finished(timeout_s=0.2) == []
    assert [(report["ticket"], report["report"]) for report in office.dispatcher.late()] == [
        (ticket, late), (old_ticket, late),
    ]  # fmt: skip


def test_a_silent_worker_is_given_up_and_told_to_abandon_its_job(office: Office) -> None:
    silent = office.worker("silent")
    job = office.submit()
    old_ticket, _ = silent.wait_for_job()
    release = threading.Event()
    # Its daemon still takes connections, but answers nobody, as that of a stopped process.
    silent.is_busy = lambda: release.wait(10)  # type: ignore[method-assign]
    silent.is_busy._pyroExposed = True  # type: ignore[attr-defined]
    second = office.worker("second")
    ticket, trial = second.wait_for_job()
    assert trial == job.wire_trial
    assert silent.name not in office.dispatcher.workers()
    assert "silent for" in job.losses[0]
    assert second.dispatcher.heartbeat(silent.name, {old_ticket: 2})["known"] is False
    assert second.dispatcher.heartbeat(second.name, {ticket: 2}) == {"known": True, "abandon": [], "reason": None}
    release.set()
    assert silent.dispatcher.join(silent.name, silent.uri, own_version()) is None
    wait_for(lambda: silent.name in office.dispatcher.workers())
    assert silent.dispatcher.heartbeat(silent.name, {old_ticket: 2})["abandon"] == [old_ticket]


def test_signs_of_life_keep_a_worker_that_answers_slowly(office: Office) -> None:
    worker = office.worker()
    release = threading.Event()
    worker.is_busy = lambda: release.wait(10)  # type: ignore[method-assign]
    worker.is_busy._pyroExposed = True  # type: ignore[attr-defined]
    end = time.monotonic() + 3 * QUICK.silence_limit_s
    while time.monotonic() < end:
        assert worker.dispatcher.heartbeat(worker.name, {})["known"]
        time.sleep(0.05)
    release.set()


def test_a_job_that_is_refused_goes_to_another_worker(office: Office) -> None:
    refusing = office.worker("refusing", accepts=False)
    job = office.submit()
    wait_for(lambda: refusing.n_offers == 1)
    other = office.worker("other")
    assert other.wait_for_job()[1] == job.wire_trial
    assert job.losses == []
    assert refusing.name in office.dispatcher.workers()


def test_a_report_that_makes_no_sense_is_a_bug_and_no_hang(office: Office) -> None:
    reports: list[Any] = [
        None,
        {},
        {"loss": 0.1},
        "0.25",
        {"status": "ok"},
        {"status": "ok", "validation_error": float("nan")},
        {"status": "ok", "validation_error": 0.1, "t_search_s": float("inf")},
        {"status": "splendid", "validation_error": 0.1},
        {"status": "ok", "validation_error": 0.1, 3: 4, "surplus": 5},
    ]
    for n, report in enumerate(reports, start=1):
        office.submit(n)
        worker = office.worker(f"worker {n}")
        ticket, _ = worker.wait_for_job(1)
        worker.dispatcher.register_result(ticket, report)
        worker.dispatcher.sign_off(worker.name, "one is enough")
        evaluation = office.next_finished().result().evaluation
        assert evaluation.status is Status.BUG, report
        assert evaluation.error
        assert evaluation.error.startswith(f"{worker.name} on 0_0_{n} at 25 epochs: ")
        assert (evaluation.seed, evaluation.worker) == (7, worker.name)


def test_the_reader_is_woken_when_workers_come_and_go(office: Office) -> None:
    worker = office.worker("first")
    start_s = time.monotonic()
    assert office.dispatcher.finished(timeout_s=60.0) == []
    worker.die()
    assert office.dispatcher.finished(timeout_s=60.0) == []
    assert office.dispatcher.workers() == []
    assert time.monotonic() - start_s < 30.0


def test_at_the_end_the_workers_are_told(credentials: Credentials) -> None:
    before = set(threading.enumerate())
    office = Office(credentials)
    worker = office.worker()
    office.close()
    assert worker.was_told_to_end
    wait_for(lambda: set(threading.enumerate()) <= before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_an_error_of_the_run(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(worker: RemoteWorker) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(RemoteWorker, "pulse", fail)
    office.workers.append(FakeWorker(office.credentials))

    def has_failed() -> bool:
        try:
            office.dispatcher.check()
        except DispatcherError as error:
            return "admit_workers has died" in str(error)
        return False

    wait_for(has_failed)


@pytest.mark.parametrize(
    ("version", "theirs"),
    [
        (own_version() | {"nasbohb": "9.9"}, f"nasbohb 9.9 (protocol {PROTOCOL})"),
        (own_version() | {"protocol": 99}, "(protocol 99)"),
        (None, "an unknown version"),
        ({"nasbohb": "9.9"}, "an unknown version"),
    ],
)
def test_a_worker_of_another_version_is_refused(
    office: Office, version: Any, theirs: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = FakeWorker(office.credentials, version=version)
    office.workers.append(other)
    office.submit()
    worker = office.worker()
    worker.wait_for_job()
    assert other.jobs == []
    assert other.refusal.startswith("worker fake runs ")
    assert theirs in other.refusal
    assert f"its master nasbohb {own_version()['nasbohb']} (protocol {PROTOCOL}); install the same" in other.refusal
    assert f"refused: {other.refusal}" in caplog.text
    assert other.dispatcher.heartbeat(other.name, {})["known"] is False


def test_a_worker_that_does_not_answer_where_it_says_is_named(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.worker().dispatcher.join("hpbandster.run_test.worker.far", "PYRO:far@127.0.0.1:1", own_version())
    wait_for(lambda: "worker far wants to join, but does not answer at PYRO:far@127.0.0.1:1" in caplog.text)
    assert len(office.dispatcher.workers()) == 1


def test_a_worker_that_fails_at_a_call_is_lost_and_no_thread_with_it(office: Office) -> None:
    broken = office.worker("broken", fails=True)
    job = office.submit()
    wait_for(lambda: not office.dispatcher.workers())
    ticket, _ = office.worker("second").wait_for_job()
    office.dispatcher.check()
    assert office.dispatcher.register_result(ticket, OK) is True
    assert office.next_finished() is job
    assert broken.jobs == []


def test_a_report_longer_than_any_text_may_be_is_cut(office: Office) -> None:
    worker = office.worker()
    office.submit()
    ticket, _ = worker.wait_for_job()
    report = {"status": "diverged", "error": "a" * 10**6 + "the end", "worker": "w" * 10**6, "state": "CRASHED"}
    worker.dispatcher.register_result(ticket, report)
    evaluation = office.next_finished().result().evaluation
    assert evaluation.error is not None
    assert evaluation.error.endswith("the end")
    assert len(evaluation.error) <= 20_000
    assert len(evaluation.worker or "") <= 20_000


@pytest.mark.parametrize("report", [{}, [], "x", {"status": {1: 2}}, {("a", 1): b"x"}, {"status": "ok", 5: 6}])
def test_a_report_of_any_shape_becomes_a_bug(office: Office, report: Any) -> None:
    workers = [office.worker("first"), office.worker("second")]
    job = office.submit()
    for _ in range(2):  # a bug is tried on another worker
        wait_for(lambda: any(worker.jobs for worker in workers))
        (worker,) = (each for each in workers if each.jobs)
        ticket, _ = worker.jobs.pop()
        worker.dispatcher.register_result(ticket, report)
    assert office.next_finished() is job
    assert job.result().evaluation.status is Status.BUG
    office.dispatcher.check()
