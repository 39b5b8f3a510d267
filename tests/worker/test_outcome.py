"""Whatever an objective does, there is one validated outcome."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results.records import Evaluation, Status, StudySpec, TrialSpec
from worker.outcome import TrialAbandonedError, contained

TRIAL = TrialSpec(
    study=StudySpec(
        run_id="test",
        optimizer="darts",
        search_space="1",
        config_space="cs1",
        dataset="digits",
        data_dir=None,
        table="digits",
        table_epochs=12,
    ),
    config_id=(0, 1, 2),
    budget=25,
    config={},
    seed=11,
)


def outcome_of(answer: Any) -> Evaluation:
    def objective(*arguments: Any) -> Any:
        return answer() if callable(answer) else answer

    return contained(objective, TRIAL, Path("nowhere"), worker="w")


@pytest.mark.parametrize("status", Status)
def test_a_proper_answer_passes(status: Status) -> None:
    error = 0.5 if status is Status.OK else None
    answer = Evaluation(
        status=status, validation_error=error, t_search_s=3.0, seed=11, worker="w", error=None if error else "x"
    )
    assert outcome_of(answer) == answer


def test_numpy_floats_become_built_in() -> None:
    outcome = outcome_of(Evaluation(status=Status.OK, validation_error=np.float64(0.5), t_search_s=np.float64(2)))
    assert (type(outcome.validation_error), type(outcome.t_search_s)) == (float, float)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (None, "got None, expected an Evaluation"),
        (0.5, "got 0.5, expected an Evaluation"),
        (Evaluation(status=Status.OK), "validation error None"),
        (Evaluation(status=Status.OK, validation_error=float("nan")), "nan"),
        (Evaluation(status=Status.OK, validation_error=1.5), "1.5"),
        (Evaluation(status=Status.OK, validation_error=0.5, t_search_s=float("inf")), "inf"),
        (Evaluation(status=Status.OK, validation_error=np.float32(0.5)), "float32"),  # type: ignore[arg-type]  # the fault
        (Evaluation(status=Status.OK, validation_error=0.5, architecture_index=np.int64(3)), "int64"),  # type: ignore[arg-type]
        (Evaluation(status=Status.OK, validation_error=0.5, architecture_index=3.0), "expected int"),  # type: ignore[arg-type]
    ],
)
def test_anything_else_is_a_bug_with_its_traceback(answer: Any, message: str) -> None:
    outcome = outcome_of(answer)
    assert outcome.status is Status.BUG
    assert outcome.validation_error is None
    assert (outcome.seed, outcome.worker) == (11, "w")
    assert outcome.error is not None
    assert outcome.error.startswith("Traceback (most recent call last):")
    assert message in outcome.error


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_trial_that_would_end_its_process_has_a_bug(raised: type[BaseException]) -> None:
    """F8: worker after worker would end, and nothing would be recorded."""

    def answer() -> None:
        raise raised

    outcome = outcome_of(answer)
    assert outcome.status is Status.BUG
    assert raised.__name__ in str(outcome.error)


def test_an_abandoned_trial_has_no_outcome() -> None:
    def answer() -> None:
        raise TrialAbandonedError

    with pytest.raises(TrialAbandonedError):
        outcome_of(answer)
