"""The lines of ``configs.json`` and ``results.json``, as hpbandster writes them and other tools read them.

* ``configs.json``: ``[[iteration, stage, index], {config}, {"model_based_pick": bool}]``
* ``results.json``: ``[[iteration, stage, index], budget, {"submitted": s, "started": s, "finished": s},
  {"loss": float, "info": {...}}, exception text or null]``, times in unix seconds.

``info`` holds the fields of ``Evaluation`` and ``state``, which DeepCAVE looks for: ``SUCCESS`` or
``CRASHED``. A failed evaluation has a finite loss, because both tools misread a null result: hpbandster's
summaries skip it and DeepCAVE takes it for a success.

Logs that hpbandster's own logger wrote are read too, whatever their budgets. Without our fields in ``info``:

* the loss is read as the validation error;
* a null result, or a loss that is not finite, is read as a ``bug``;
* the time between start and finish is read as the search time;
* ``test_error`` and ``runtime`` in ``info``, each a number or a list of one as NAS-Bench-1Shot1's public code writes
  them, are read as the test error and the training time in the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from results.records import ConfigId, Evaluation, Proposal, Status, TrialResult
from results.text import shortened

_TIMES = ("submitted", "started", "finished")


def config_line(config_id: ConfigId, proposal: Proposal) -> list[Any]:
    """Writes a configuration as a line of ``configs.json``."""
    return [list(config_id), dict(proposal.config), {"model_based_pick": proposal.model_based}]


def parse_config_line(line: Any, where: str) -> tuple[ConfigId, Proposal]:
    """Parses the configuration and its id.

    Raises:
        ValueError: The line has another shape.
    """
    if not isinstance(line, list) or len(line) not in (2, 3) or not isinstance(line[1], dict):
        raise ValueError(f"{where}: got {line!r}, expected [[iteration, stage, index], {{config}}, {{info}}]")
    info = line[2] if len(line) == 3 and isinstance(line[2], dict) else {}
    proposal = Proposal(config=line[1], model_based=bool(info.get("model_based_pick", False)))
    return _parse_config_id(line[0], where), proposal


def result_line(result: TrialResult) -> list[Any]:
    """Writes a result as a line of ``results.json``."""
    evaluation = result.evaluation
    return [
        list(result.config_id),
        float(result.budget),
        {"submitted": result.submitted, "started": result.started, "finished": result.finished},
        {"loss": evaluation.loss, "info": evaluation_to_info(evaluation)},
        None if evaluation.error is None else shortened(evaluation.error),
    ]


def parse_result_line(line: Any, where: str) -> tuple[ConfigId, float, dict[str, float], Evaluation]:
    """Parses the configuration's id, the budget, the three times in unix seconds, and the outcome.

    A budget without a fraction becomes an ``int``.

    Raises:
        ValueError: The line has another shape.
    """
    if not isinstance(line, list) or len(line) != 5:
        raise ValueError(f"{where}: got {line!r}, expected [id, budget, {{times}}, {{result}}, exception]")
    config_id, budget, times, result, exception = line
    if not _is_number(budget):
        raise ValueError(f"{where}: got the budget {budget!r}, expected a finite number")
    if not isinstance(times, dict) or not all(_is_number(times.get(name)) for name in _TIMES):
        raise ValueError(f"{where}: got the times {times!r}, expected unix seconds for {', '.join(_TIMES)}")
    seconds = {name: float(times[name]) for name in _TIMES}
    if seconds["finished"] < seconds["started"]:
        raise ValueError(f"{where}: got the times {times!r}, expected the start before the finish")
    evaluation = _parse_evaluation(result, exception, seconds["finished"] - seconds["started"], where)
    return _parse_config_id(config_id, where), int(budget) if budget == int(budget) else budget, seconds, evaluation


def evaluation_to_info(evaluation: Evaluation) -> dict[str, Any]:
    """Turns an outcome into built-in types, for ``info`` and for the wire; its texts have a largest size."""
    state = "SUCCESS" if evaluation.status is Status.OK else "CRASHED"
    return {**_with_short_texts(evaluation.to_dict()), "state": state}


def evaluation_from_info(info: Any, where: str) -> Evaluation:
    """Inverts ``evaluation_to_info``; cuts texts that somebody else made longer.

    Raises:
        ValueError: A field is unknown, missing or of the wrong type; or the status is ``ok`` but the
            validation error is no fraction in [0, 1].
    """
    if not isinstance(info, Mapping):
        raise ValueError(
            f"{where}: got {shortened(repr(info), 500)}, expected an object with the fields of an evaluation"
        )
    fields = {key: value for key, value in info.items() if key != "state"}
    evaluation = Evaluation.from_dict(_with_short_texts(fields), where)
    error = evaluation.validation_error
    if evaluation.status is Status.OK and not (error is not None and 0 <= error <= 1):
        raise ValueError(f"{where}: got status ok and validation error {error!r}, expected a fraction in [0, 1]")
    return evaluation


def _with_short_texts(fields: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: shortened(value) if isinstance(value, str) else value for key, value in fields.items()}


def _parse_evaluation(result: Any, exception: Any, took_s: float, where: str) -> Evaluation:
    info = result.get("info") if isinstance(result, dict) else None
    if isinstance(info, dict) and {"status", "state"} <= info.keys():
        return evaluation_from_info(info, where)
    loss = result.get("loss") if isinstance(result, dict) else None
    if _is_number(loss):
        found = info if isinstance(info, dict) else {}
        test_error, training_time_s = (_number_in(found.get(name)) for name in ("test_error", "runtime"))
        return Evaluation(
            status=Status.OK,
            validation_error=float(loss),
            test_error=test_error if test_error is not None and 0 <= test_error <= 1 else None,
            t_search_s=took_s,
            t_train_s=training_time_s if training_time_s is not None and training_time_s >= 0 else None,
        )
    error = str(exception) if exception else f"no usable result: {result!r}"
    return Evaluation(status=Status.BUG, t_search_s=took_s, error=error)


def _number_in(value: Any) -> float | None:
    """A number of a foreign log, which may stand in a list of its own; None where there is none."""
    (only,) = value if isinstance(value, list) and len(value) == 1 else (value,)
    return float(only) if _is_number(only) else None


def _parse_config_id(value: Any, where: str) -> ConfigId:
    if not isinstance(value, list) or len(value) != 3 or not all(type(part) is int for part in value):
        raise ValueError(f"{where}: got the id {value!r}, expected [iteration, stage, index]")
    return value[0], value[1], value[2]


def _is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value of a foreign log is a finite number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
