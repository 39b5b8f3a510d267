"""Which job is where, step by step; no network, no thread, and the clock is a number."""

from __future__ import annotations

import itertools
import random
import socket
import threading
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from master.jobs import TrialJob
from master.pool import Assignment, Leave, Pool
from master.samplers import make_sampler
from master.tuner import Tuner
from results.bohb_lines import evaluation_to_info
from results.records import Evaluation, Status, StudySpec, TrialSpec

STUDY = StudySpec(
    run_id="test", optimizer="darts", search_space="1", config_space="cs1", dataset="digits", data_dir=None,
    table="digits", table_epochs=12,
)  # fmt: skip


def make_job(index: int = 0) -> TrialJob:
    trial = TrialSpec(study=STUDY, config_id=(0, 0, index), budget=25, config={"cutout_prob": 0.5}, seed=7)
    return TrialJob(trial, model_based=False, submitted=0.0)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    """A pool in a world without sockets, threads and clocks."""

    def fail(*arguments: object, **keywords: object) -> None:
        raise AssertionError("a pool is pure")

    for owner, name in [(socket, "socket"), (threading, "Thread"), (time, "time"), (time, "monotonic")]:
        monkeypatch.setattr(owner, name, fail)
    return Pool(suspicion_s=3.0, silence_limit_s=20.0, max_losses=2)


def assigned(pool: Pool) -> Assignment:
    assignment = pool.assign(0.0)
    assert assignment is not None
    return assignment


def test_nothing_is_assigned_without_a_job_or_without_a_worker(pool: Pool) -> None:
    assert pool.assign(0.0) is None
    pool.submit(make_job())
    assert pool.assign(0.0) is None
    assert not pool.can_assign
    pool.join("busy", now=0.0, is_idle=False)
    assert pool.assign(0.0) is None
    pool.join("idle", now=0.0, is_idle=True)
    assert pool.can_assign
    assert assigned(pool).worker == "idle"


def test_jobs_and_workers_wait_in_line(pool: Pool) -> None:
    jobs = [make_job(index) for index in range(3)]
    for job in jobs:
        pool.submit(job)
    for name in ("a", "b"):
        pool.join(name, now=0.0, is_idle=True)
    first, second = assigned(pool), assigned(pool)
    assert [(a.worker, a.job) for a in (first, second)] == [("a", jobs[0]), ("b", jobs[1])]
    assert (pool.running, pool.waiting, pool.workers) == (jobs[:2], jobs[2:], ["a", "b"])
    assert pool.report(second.ticket) is jobs[1]
    assert pool.running == jobs[:1]
    third = assigned(pool)
    assert (third.worker, third.job, jobs[2].worker_name) == ("b", jobs[2], "b")
    assert len({first.ticket, second.ticket, third.ticket}) == 3


def test_a_report_counts_once_and_only_under_its_own_ticket(pool: Pool) -> None:
    job = make_job()
    pool.submit(job)
    pool.join("a", now=0.0, is_idle=True)
    ticket = assigned(pool).ticket
    assert pool.report("another") is None
    assert pool.report(ticket) is job
    assert pool.report(ticket) is None


def test_the_first_report_of_a_trial_counts_whichever_hand_over_it_belongs_to(pool: Pool) -> None:
    job = make_job()
    pool.submit(job)
    for name in ("a", "b"):
        pool.join(name, now=0.0, is_idle=True)
    old = assigned(pool)
    pool.lose("a", "gone")
    new = assigned(pool)
    assert (new.job, new.worker) == (job, "b")
    assert pool.report(old.ticket) is job
    assert (pool.running, pool.waiting, pool.can_assign) == ([], [], False)
    assert pool.report(new.ticket) is None
    pool.submit(make_job(1))
    assert not pool.can_assign, "b still computes"
    assert pool.beat("b", {new.ticket: 3}, now=1.0) == [new.ticket]
    assert pool.beat("b", {}, now=2.0) == []
    assert assigned(pool).worker == "b"


def test_a_report_of_a_trial_that_waits_counts(pool: Pool) -> None:
    """A worker of an earlier master hands in what it has finished meanwhile."""
    earlier = Pool(suspicion_s=3.0, silence_limit_s=20.0, max_losses=2, ticket_prefix="earlier")
    earlier.submit(make_job(1))
    earlier.join("a", now=0.0, is_idle=True)
    ticket = assigned(earlier).ticket
    jobs = [make_job(index) for index in range(3)]
    for job in jobs:
        pool.submit(job)
    assert pool.report(ticket) is jobs[1]
    assert pool.report(ticket) is None
    assert pool.waiting == [jobs[0], jobs[2]]


def test_another_configuration_under_the_same_id_is_another_trial(pool: Pool) -> None:
    """A master that was killed before it wrote may have proposed another configuration than its successor."""
    earlier = Pool(suspicion_s=3.0, silence_limit_s=20.0, max_losses=2)
    other = make_job(1)
    earlier.submit(TrialJob(msgspec.structs.replace(other.trial, config={"cutout_prob": 0.25}), False, 0.0))
    earlier.join("a", now=0.0, is_idle=True)
    pool.submit(other)
    assert pool.report(assigned(earlier).ticket) is None
    assert pool.waiting == [other]


def test_a_worker_that_comes_back_keeps_its_trial_if_no_other_has_it(pool: Pool) -> None:
    jobs = [make_job(index) for index in range(2)]
    for job in jobs:
        pool.submit(job)
    pool.join("a", now=0.0, is_idle=True)
    ticket = assigned(pool).ticket
    pool.lose("a", "silent")
    pool.join("a", now=1.0, is_idle=False)
    assert pool.beat("a", {ticket: 7}, now=1.0) == []
    assert (pool.running, pool.waiting, jobs[0].epochs) == ([jobs[0]], [jobs[1]], 7)
    assert pool.report(ticket) is jobs[0]


def test_losses_count_only_without_progress_between(pool: Pool) -> None:
    """F12: on preemptible nodes each loss comes later in the trial's checkpoints."""
    job = make_job()
    pool.submit(job)
    for epochs in (0, 1, 2, 3, 3, 3):
        pool.join(f"worker {epochs}", now=0.0, is_idle=True)
        ticket = assigned(pool).ticket
        pool.beat(f"worker {epochs}", {ticket: epochs}, now=1.0)
        loss = pool.lose(f"worker {epochs}", f"lost at {epochs}")
        assert loss is not None
        if loss.is_given_up:
            break
    assert job.losses == ["lost at 3", "lost at 3"]
    assert loss.is_given_up


def test_a_job_that_is_handed_back_again_and_again_ends(pool: Pool) -> None:
    """F8: losses that do not count have a limit, too."""
    job = make_job()
    pool.submit(job)
    for number in range(20):
        pool.join(f"worker {number}", now=0.0, is_idle=True)
        assigned(pool)
        loss = pool.lose(f"worker {number}", "preempted", Leave.RETURN)
        assert loss is not None
        assert loss.is_given_up == (number == 19)
    job.finish(None, 1.0)
    assert job.result().evaluation.status is Status.WORKER_LOST


def test_a_bug_is_tried_on_another_worker_and_counts_if_that_has_it_too(pool: Pool) -> None:
    job = make_job()
    pool.submit(job)
    pool.join("a", now=0.0, is_idle=True)
    first = assigned(pool)
    pool.join("b", now=0.0, is_idle=True)
    pool.report(first.ticket)
    assert pool.retry_bug(job, "a") is True
    second = assigned(pool)
    assert (second.worker, second.job) == ("b", job)
    pool.report(second.ticket)
    assert pool.retry_bug(job, "b") is False


def test_a_bug_waits_for_a_busy_worker_that_did_not_have_it_and_counts_where_there_is_none(pool: Pool) -> None:
    jobs = [make_job(index) for index in range(2)]
    for job in jobs:
        pool.submit(job)
    for name in ("a", "b"):
        pool.join(name, now=0.0, is_idle=True)
    of_a, of_b = assigned(pool), assigned(pool)
    pool.report(of_a.ticket)
    assert pool.retry_bug(jobs[0], "a") is True
    assert pool.assign(0.0) is None, "a had it, b is busy"
    pool.lose("b", "gone")
    assert assigned(pool).job is jobs[1]
    pool.report((pool.beat("a", {}, now=1.0) and "") or of_a.ticket)
    assert pool.retry_bug(jobs[1], "a") is False, "nobody else is there"
    assert of_b.job is jobs[1]


def test_a_refused_job_goes_to_the_head_and_its_worker_waits_for_its_next_beat(pool: Pool) -> None:
    jobs = [make_job(index) for index in range(2)]
    for job in jobs:
        pool.submit(job)
    pool.join("a", now=0.0, is_idle=True)
    ticket = assigned(pool).ticket
    pool.refuse(ticket)
    pool.refuse(ticket)  # once is enough
    assert pool.waiting == jobs
    assert pool.assign(0.0) is None
    assert pool.beat("a", {}, now=1.0) == []
    assert assigned(pool).job is jobs[0]


def test_a_lost_workers_job_goes_to_the_head_and_ends_at_the_limit(pool: Pool) -> None:
    jobs = [make_job(index) for index in range(2)]
    for job in jobs:
        pool.submit(job)
    for name in ("a", "b"):
        pool.join(name, now=0.0, is_idle=True)
    assigned(pool)
    loss = pool.lose("a", "a: gone")
    assert loss is not None
    assert (loss.job, loss.is_given_up) == (jobs[0], False)
    assert pool.waiting == jobs
    assert assigned(pool).worker == "b"
    loss = pool.lose("b", "b: gone too")
    assert loss is not None
    assert (loss.job, loss.is_given_up) == (jobs[0], True)
    assert jobs[0].losses == ["a: gone", "b: gone too"]
    assert (pool.waiting, pool.running, pool.workers) == (jobs[1:], [], [])


def test_a_job_that_is_handed_back_has_lost_nobody(pool: Pool) -> None:
    job = make_job()
    pool.submit(job)
    for number in range(5):
        pool.join(f"worker {number}", now=0.0, is_idle=True)
        assigned(pool)
        loss = pool.lose(f"worker {number}", "preempted", Leave.RETURN)
        assert loss is not None
        assert not loss.is_given_up
    assert (job.losses, pool.waiting) == ([], [job])


def test_an_idle_worker_and_an_unknown_one_take_no_job_with_them(pool: Pool) -> None:
    pool.join("a", now=0.0, is_idle=True)
    loss = pool.lose("a", "gone")
    assert loss is not None
    assert loss.job is None
    assert pool.lose("a", "gone") is None
    pool.submit(make_job())
    assert pool.assign(0.0) is None


def test_a_beat_tells_what_to_abandon(pool: Pool) -> None:
    pool.submit(make_job())
    pool.join("a", now=0.0, is_idle=True)
    ticket = assigned(pool).ticket
    assert pool.beat("a", {ticket: 0, "old": 0}, now=1.0) == ["old"]
    assert pool.beat("a", {}, now=1.0) == []  # it has reported, or not begun
    assert not pool.can_assign
    assert pool.beat("stranger", {}, now=1.0) is None


def test_who_is_silent_is_a_suspect_and_then_too_long(pool: Pool) -> None:
    for name in ("a", "b"):
        pool.join(name, now=100.0, is_idle=True)
    assert pool.suspects(now=103.0) == []
    pool.beat("b", {}, now=102.0)
    assert pool.suspects(now=104.0) == ["a"]
    assert (pool.silence_s("a", now=104.0), pool.is_silent_too_long("a", now=104.0)) == (4.0, False)
    assert not pool.is_silent_too_long("a", now=120.0)
    assert pool.is_silent_too_long("a", now=120.5)
    pool.saw_life("a", now=120.5)
    assert pool.suspects(now=121.0) == ["b"]


def test_a_suspect_is_one_until_its_next_sign_of_life(pool: Pool) -> None:
    pool.join("a", now=0.0, is_idle=True)
    pool.suspect("a")
    assert pool.suspects(now=0.0) == ["a"]
    pool.beat("a", {}, now=0.0)
    assert pool.suspects(now=0.0) == []
    for name in ("stranger",):
        pool.suspect(name)
        pool.saw_life(name, now=0.0)
        assert (pool.suspects(now=0.0), pool.silence_s(name, now=9.0)) == ([], 0.0)


@given(seed=st.integers(0, 2**32 - 1), n_workers=st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_a_study_in_virtual_time_loses_nothing_whatever_befalls_its_workers(seed: int, n_workers: int) -> None:
    """Tuner and pool alone: workers come, report, refuse, hand back, fall silent and die at random."""
    rng = random.Random(seed)
    spec = msgspec.structs.replace(STUDY, sampler="random", n_iterations=4)
    tuner = Tuner(spec, make_sampler(spec))
    pool = Pool(suspicion_s=3.0, silence_limit_s=20.0, max_losses=10**9, max_returns=10**9)
    names = itertools.count()
    held: dict[str, Assignment] = {}
    done: list[tuple[object, int]] = []
    now = 0.0
    while not tuner.is_done:
        now += rng.uniform(0.0, 2.0)
        while len(pool.workers) < n_workers:
            pool.join(f"worker {next(names)}", now, is_idle=True)
        while len(pool.running) + len(pool.waiting) < n_workers and (trial := tuner.ask()) is not None:
            pool.submit(TrialJob(trial, model_based=False, submitted=now))
        while (assignment := pool.assign(0.0)) is not None:
            held[assignment.worker] = assignment
        worker = rng.choice(pool.workers)
        event = rng.choice(["report", "report", "report", "refuse", "hand back", "die", "beat"])
        if event in ("hand back", "die"):
            pool.lose(worker, event, Leave.LOSS if event == "die" else Leave.RETURN)
            held.pop(worker, None)
        elif event == "beat" or worker not in held:
            pool.beat(worker, {held[worker].ticket: 0} if worker in held else {}, now)
        elif event == "refuse":
            pool.refuse(held.pop(worker).ticket)
        else:
            assignment = held.pop(worker)
            assert pool.report(assignment.ticket) is assignment.job
            trial = assignment.job.trial
            done.append((trial.config_id, trial.budget))
            assignment.job.started = now
            evaluation = Evaluation(status=Status.OK, validation_error=trial.seed / 2**32)
            assignment.job.finish(evaluation_to_info(evaluation), now)
            tuner.tell(assignment.job.result())
        assert set(pool.running) == {a.job for a in held.values()}
        assert not set(pool.running) & set(pool.waiting)
    assert len(done) == len(set(done)) == tuner.n_total


def test_after_the_end_no_job_is_handed_out(pool: Pool) -> None:
    pool.submit(make_job())
    pool.join("a", now=0.0, is_idle=True)
    pool.clear()
    assert pool.assign(0.0) is None


def test_a_hung_epoch_loses_its_job_and_the_worker_gets_none_before_it_lets_go() -> None:
    pool = Pool(suspicion_s=3.0, silence_limit_s=20.0, max_losses=2, epoch_timeout_s=60.0)
    job = make_job()
    pool.submit(job)
    pool.join("a", now=0.0, is_idle=True)
    assignment = pool.assign(0.0)
    assert assignment is not None
    ticket = assignment.ticket
    pool.beat("a", {ticket: 1}, now=50.0)
    assert pool.take_overdue(now=100.0) == []
    ((worker, reason, loss),) = pool.take_overdue(now=111.0)
    assert (worker, reason) == ("a", "an epoch has taken longer than 60 s")
    assert (loss.job, loss.is_given_up, pool.waiting) == (job, False, [job])
    assert pool.beat("a", {ticket: 1}, now=112.0) == [ticket]
    assert pool.waiting == [job], "it is not given back to whom it was taken from"
    assert not pool.can_assign
    assert pool.beat("a", {}, now=113.0) == []
    assert pool.can_assign
    assert pool.report(ticket) is job, "the first result counts, if it comes after all"


def test_a_trial_that_takes_too_long_ends_however_many_epochs_it_saves() -> None:
    pool = Pool(suspicion_s=3.0, silence_limit_s=20.0, max_losses=9, trial_timeout_s=100.0)
    job = make_job()
    pool.submit(job)
    pool.join("a", now=0.0, is_idle=True)
    assignment = pool.assign(0.0)
    assert assignment is not None
    for now in (30.0, 60.0, 90.0):
        pool.beat("a", {assignment.ticket: int(now)}, now=now)
        assert pool.take_overdue(now=now) == []
    ((_, reason, loss),) = pool.take_overdue(now=101.0)
    assert reason == "the trial has taken longer than 100 s"
    assert (loss.job, loss.is_given_up, pool.waiting, pool.running) == (job, True, [], [])
    job.finish(None, 101.0)
    assert job.result().evaluation.status is Status.WORKER_LOST
    assert "longer than 100 s" in str(job.result().evaluation.error)
