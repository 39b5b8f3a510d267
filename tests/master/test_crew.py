"""The crew without a network: workers that nobody calls, and reports as they would come."""

from __future__ import annotations

from typing import Any

from master.crew import Crew
from master.jobs import TrialJob
from master.protocol import own_version
from master.remote_worker import RemoteWorker
from master.settings import DispatcherSettings
from results.bohb_lines import evaluation_to_info
from results.records import Evaluation, Status

from .test_pool import make_job

OK = evaluation_to_info(Evaluation(status=Status.OK, validation_error=0.25))
BUG = evaluation_to_info(Evaluation(status=Status.BUG, error="ZeroDivisionError"))


def name_of(worker: str) -> str:
    return f"hpbandster.run_test.worker.{worker}"


def crew_of(*workers: str) -> Crew:
    crew = Crew(DispatcherSettings(), max_workers=10)
    for worker in workers:
        crew.join(RemoteWorker(name_of(worker), "PYRO:x@127.0.0.1:1"), is_idle=True)
    return crew


def submit(crew: Crew, index: int = 0) -> TrialJob:
    job = make_job(index)
    crew.pool.submit(job)
    return job


def report_next(crew: Crew, report: Any) -> tuple[str, bool]:
    """Reports on the next job: the worker that had it, and whether the job has ended."""
    assignment, remote = crew.assign()
    job, has_ended = crew.report(assignment.ticket, report)
    assert job is assignment.job
    assert remote.name == assignment.worker
    return assignment.worker.rpartition(".")[2], has_ended


def test_a_report_ends_a_job_once() -> None:
    crew = crew_of("a")
    job = submit(crew)
    assignment, _ = crew.assign()
    assert [(status.name, status.config_id, status.n_done) for status in crew.statuses()] == [("a", (0, 0, 0), 0)]
    assert crew.report(assignment.ticket, OK) == (job, True)
    assert crew.report(assignment.ticket, OK) == (None, False)
    assert [(status.name, status.config_id, status.n_done) for status in crew.statuses()] == [("a", None, 1)]


def test_a_bug_is_tried_on_another_worker_and_then_counts() -> None:
    crew = crew_of("a", "b")
    submit(crew)
    assert report_next(crew, BUG) == ("a", False)
    assert report_next(crew, BUG) == ("b", True)


def test_a_worker_with_three_bugs_of_its_own_is_barred() -> None:
    crew = crew_of("a", "b")
    for index in range(3):
        assert crew.pool.workers == [name_of("a"), name_of("b")]
        submit(crew, index)
        assert [report_next(crew, BUG), report_next(crew, OK)] == [("a", False), ("b", True)]
    assert list(crew.remote) == crew.pool.workers == [name_of("b")]
    (problem,) = crew.admission.problems()
    assert problem == "worker a is barred: other workers ran the trials in which it had bugs"
    assert crew.admission.ask(name_of("a"), "PYRO:x@127.0.0.1:1", own_version(), crew.remote) == problem


def test_a_worker_whose_connection_ends_is_the_only_suspect() -> None:
    crew = crew_of("a", "b")
    connection = object()
    assert crew.beat(name_of("b"), {}, connection) == {"known": True, "abandon": [], "reason": None}
    crew.suspect(connection)
    assert [remote.name for remote in crew.suspects()] == [name_of("b")]
    assert crew.beat(name_of("c"), {}, connection)["known"] is False
