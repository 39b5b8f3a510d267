"""How a study is shown: one line for each evaluation, with the rate and the incumbent."""

from __future__ import annotations

import io
from dataclasses import replace

import msgspec

from master.loop import Progress
from master.progress import ProgressDisplay, result_line, schedule_line, state
from results.records import Evaluation, Status, StudySpec, TrialResult

STUDY = StudySpec(
    run_id="test",
    optimizer="darts",
    search_space="1",
    config_space="cs2",
    dataset="digits",
    data_dir=None,
    table="digits",
    table_epochs=12,
)
GOOD = TrialResult(
    config_id=(0, 0, 1),
    config={},
    model_based=False,
    budget=25,
    submitted=0.0,
    started=10.0,
    finished=22.5,
    evaluation=Evaluation(status=Status.OK, validation_error=0.0625),
)
BAD = msgspec.structs.replace(
    GOOD, config_id=(0, 0, 2), evaluation=Evaluation(status=Status.DIVERGED, error="in epoch 2")
)
#: 7 evaluations in 84 s are 5 a minute.
PROGRESS = Progress(7, 280, 84.0, 3, 16, (), incumbent=GOOD, last=GOOD)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_study_says_its_budgets_and_the_evaluations_of_each() -> None:
    assert schedule_line(STUDY) == "Evaluations: 280 (88 at 25, 86 at 50, 106 at 100 search epochs), proposed by bohb"
    small = msgspec.structs.replace(STUDY, min_budget=1, max_budget=2, eta=5, n_iterations=6, sampler="random")
    assert schedule_line(small) == "Evaluations: 6 (6 at 2 search epochs), proposed by random"


def test_a_line_tells_the_outcome_the_seconds_the_rate_and_the_incumbent() -> None:
    line = result_line(GOOD, PROGRESS)
    for part in (
        "[  7/280]",
        "(0, 0, 1) at 25 epochs",
        "validation error 0.0625",
        "12.5 s",
        "5.0/min",
        "new incumbent",
    ):
        assert part in line


def test_a_failure_is_told_by_its_kind_beside_the_incumbent() -> None:
    line = result_line(BAD, replace(PROGRESS, last=BAD))
    assert "diverged" in line
    assert "(incumbent 0.0625)" in line
    assert "validation error" not in line
    assert "incumbent" not in result_line(BAD, replace(PROGRESS, last=BAD, incumbent=None))


def test_the_state_tells_rate_workers_and_incumbent() -> None:
    assert state(PROGRESS) == "5.0/min, 3 of 16 workers, incumbent 0.0625 (0, 0, 1) at 25"
    assert "none yet" in state(replace(PROGRESS, incumbent=None))


def test_away_from_a_terminal_each_evaluation_is_one_line_and_waiting_is_none() -> None:
    stream = io.StringIO()
    with ProgressDisplay(STUDY, stream) as display:
        display.show(replace(PROGRESS, n_done=0, last=None))
        display.show(PROGRESS)
        display.show(replace(PROGRESS, last=None))
    assert stream.getvalue() == result_line(GOOD, PROGRESS) + "\n"


def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    with ProgressDisplay(STUDY, stream) as display:
        display.show(PROGRESS)
    assert "7/280" in stream.getvalue()
    assert "3 of 16 workers" in stream.getvalue()
