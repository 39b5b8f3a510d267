"""Workers with bugs of their own, counted by hand."""

from __future__ import annotations

from master.bugs import OwnBugs

from .test_pool import make_job


def test_a_worker_is_barred_after_three_bugs_in_a_row_that_others_do_not_have() -> None:
    bugs = OwnBugs()

    def bug_of_a_that_b_does_not_have(index: int) -> list[str]:
        job = make_job(index)
        job.bugs["a"] = "a bug"
        return bugs.note_success(job, "b")

    assert bug_of_a_that_b_does_not_have(0) == []
    assert bug_of_a_that_b_does_not_have(1) == []
    assert bugs.note_success(make_job(9), "a") == []  # one success is enough
    assert bug_of_a_that_b_does_not_have(2) == []
    assert bug_of_a_that_b_does_not_have(3) == []
    assert bug_of_a_that_b_does_not_have(4) == ["a"]


def test_bugs_where_nobody_else_is_there_count_as_well() -> None:
    bugs = OwnBugs()
    job = make_job(0)
    job.bugs["a"] = "a bug"
    assert not bugs.note_alone("a")
    assert bugs.note_success(job, "b") == []
    assert bugs.note_alone("a")
    assert not bugs.note_alone("b")
