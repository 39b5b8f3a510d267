"""The lines of configs.json and results.json, against hpbandster's own logger and worked out by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hpbandster.core.dispatcher import Job
from hpbandster.core.result import json_result_logger

from results import journal
from results.bohb_lines import (
    config_line,
    evaluation_from_info,
    evaluation_to_info,
    parse_config_line,
    parse_result_line,
    result_line,
)
from results.records import FAILURE_LOSS, Evaluation, Proposal, Status, TrialResult
from results.run_directory import RunDirectory

TIMES = {"submitted": 1.0, "started": 2.0, "finished": 3.0}


@pytest.mark.parametrize("kind", ["succeeded", "diverged"])
def test_our_lines_are_those_that_hpbandster_itself_writes(
    run: RunDirectory, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    result: TrialResult = request.getfixturevalue(kind)
    proposal = Proposal(config=result.config, model_based=result.model_based)
    journal.append(run.configs_json, config_line(result.config_id, proposal))
    journal.append(run.results_json, result_line(result))

    job = Job(result.config_id, config=dict(result.config), budget=float(result.budget))
    job.timestamps = {"submitted": result.submitted, "started": result.started, "finished": result.finished}
    job.result = {"loss": result.evaluation.loss, "info": evaluation_to_info(result.evaluation)}
    job.exception = result.evaluation.error
    reference = json_result_logger(str(tmp_path / "reference"))
    reference.new_config(job.id, job.kwargs["config"], {"model_based_pick": result.model_based})
    reference(job)

    for name in ("configs.json", "results.json"):
        assert (run.path / name).read_text() == (tmp_path / "reference" / name).read_text()


def test_a_success_has_its_validation_error_as_loss(run: RunDirectory, succeeded: TrialResult) -> None:
    journal.append(run.results_json, result_line(succeeded))
    config_id, budget, times, result, exception = json.loads(run.results_json.read_text())
    assert (config_id, budget, exception) == ([3, 0, 1], 4.0, None)
    assert times == {"submitted": 1e9 + 0.125, "started": 1e9 + 0.25, "finished": 1e9 + 13.5}
    assert result["loss"] == result["info"]["validation_error"] == 0.0625
    assert (result["info"]["state"], result["info"]["status"]) == ("SUCCESS", "ok")


def test_a_failure_has_a_finite_loss_and_a_state_that_deepcave_takes_for_a_crash(
    run: RunDirectory, diverged: TrialResult
) -> None:
    journal.append(run.results_json, result_line(diverged))
    *_, result, exception = json.loads(run.results_json.read_text())
    assert result["loss"] == FAILURE_LOSS == 1.0
    assert (result["info"]["state"], result["info"]["status"]) == ("CRASHED", "diverged")
    assert exception == "loss is nan in epoch 2"


@pytest.mark.parametrize("status", list(Status))
def test_an_outcome_survives_the_wire(status: Status) -> None:
    error = 0.5 if status is Status.OK else None
    outcome = Evaluation(status=status, validation_error=error, t_search_s=1.0, seed=3, error="why")
    wire = json.loads(json.dumps(evaluation_to_info(outcome)))
    assert evaluation_from_info(wire, "wire") == outcome


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "fine"}, "status: invalid enum value 'fine'"),
        ({"validation_error": math.nan}, "status ok and validation error nan"),
        ({"validation_error": None}, "status ok and validation error None"),
        ({"validation_error": 6.25}, "status ok and validation error 6.25"),
        ({"t_search_s": None}, "t_search_s: got None"),
        ({"architecture_index": 1.5}, r"architecture_index: got 1\.5"),
        ({"accuracy": 0.9}, r"unknown field `accuracy`"),
    ],
)
def test_an_outcome_that_makes_no_sense_is_refused(
    succeeded: TrialResult, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluation_from_info({**evaluation_to_info(succeeded.evaluation), **change}, "worker host-1")


@pytest.mark.parametrize(
    ("result", "exception", "status", "error"),
    [
        (None, "Traceback: boom", Status.BUG, "Traceback: boom"),
        (None, None, Status.BUG, "no usable result: None"),
        ({"loss": math.nan, "info": {}}, None, Status.BUG, "no usable result: {'loss': nan, 'info': {}}"),
        ({"loss": 0.25, "info": {"anything": 1}}, None, Status.OK, None),
        ({"loss": 0.25, "info": {"status": "done"}}, None, Status.OK, None),
        ({"loss": 0.25, "info": None}, None, Status.OK, None),
    ],
)
def test_lines_of_plain_hpbandster_are_understood(
    result: Any, exception: str | None, status: Status, error: str | None
) -> None:
    config_id, budget, times, outcome = parse_result_line([[0, 0, 1], 9.0, TIMES, result, exception], "line 1")
    assert (config_id, budget, times) == ((0, 0, 1), 9, TIMES)
    assert (outcome.status, outcome.error) == (status, error)
    assert outcome.validation_error == (0.25 if status is Status.OK else None)
    assert outcome.t_search_s == 1.0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"id": 1}, "line 7: got"),
        ([[0, 0], 9.0, TIMES, None, None], r"got the id \[0, 0\]"),
        ([[0, 0, 0.0], 9.0, TIMES, None, None], r"got the id \[0, 0, 0\.0\]"),
        ([[0, 0, 0], math.inf, TIMES, None, None], "got the budget inf"),
        ([[0, 0, 0], "9", TIMES, None, None], "got the budget '9'"),
        ([[0, 0, 0], 9.0, {"submitted": 1.0}, None, None], "got the times"),
    ],
)
def test_a_result_of_another_shape_is_named(line: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_result_line(line, "line 7")


def test_configurations_without_information_are_not_model_based() -> None:
    assert parse_config_line([[0, 0, 1], {"x": 1}], "line 1") == (
        (0, 0, 1),
        Proposal(config={"x": 1}, model_based=False),
    )
    assert parse_config_line([[0, 0, 1], {"x": 1}, {"model_based_pick": True}], "line 1")[1].model_based
    with pytest.raises(ValueError, match="line 1: got"):
        parse_config_line([[0, 0, 1]], "line 1")


@pytest.mark.parametrize(
    ("budget", "times", "message"),
    [
        (math.inf, {}, "got the budget inf"),
        (10**400, {}, "got the budget"),
        (True, {}, "got the budget True"),
        (1, {"started": math.nan}, "expected unix seconds"),
        (1, {"finished": math.inf}, "expected unix seconds"),
        (1, {"finished": 10**400}, "expected unix seconds"),
        (1, {"finished": -1}, "expected the start before the finish"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(budget: float, times: dict[str, float], message: str) -> None:
    line = [[0, 0, 0], budget, {"submitted": 0, "started": 0, "finished": 1} | times, {"loss": 0.2}, None]
    with pytest.raises(ValueError, match=message):
        parse_result_line(line, "line 1")


def test_a_loss_that_no_float_holds_is_no_result() -> None:
    times = {"submitted": 0, "started": 0, "finished": 1}
    *_, evaluation = parse_result_line([[0, 0, 0], 1, times, {"loss": 10**400, "info": {}}, None], "line 1")
    assert evaluation.status is Status.BUG
