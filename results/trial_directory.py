"""The files of one trial: ``spec.json``, from which it starts, and ``trajectory.jsonl`` and ``outcome.json``."""

from __future__ import annotations

import json
from pathlib import Path

from results import journal
from results.atomic_file import write_atomically
from results.epoch import TRAJECTORY, EpochRecord
from results.records import Evaluation, TrialSpec

SPEC = "spec.json"
OUTCOME = "outcome.json"


def write_trial_spec(directory: Path, trial: TrialSpec) -> None:
    """Writes ``spec.json``; makes the directory if it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / SPEC, journal.encode(trial.to_dict(), SPEC, indent=2) + "\n")


def read_trial_spec(directory: Path) -> TrialSpec:
    """Reads ``spec.json``.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: The file is damaged; the message names the field.
    """
    path = directory / SPEC
    try:
        data = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: a trial's specification should be JSON, but is not ({error})") from error
    return TrialSpec.from_dict(data, str(path))


def read_trajectory(directory: Path) -> list[EpochRecord]:
    """Reads the epochs of a trial so far; none if it has written nothing yet.

    Raises:
        ValueError: A line has another shape; the message names the line.
    """
    path = directory / TRAJECTORY
    return [
        EpochRecord.from_dict(line, f"{path}, line {number}") for number, line in enumerate(journal.read(path), start=1)
    ]


def write_outcome(directory: Path, trial: TrialSpec, evaluation: Evaluation) -> None:
    """Keeps the outcome of a trial until a master has taken it, and afterwards; makes the directory if it is missing.

    Raises:
        OSError: Writing failed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    content = {"trial": trial.to_dict(), "evaluation": evaluation.to_dict()}
    write_atomically(directory / OUTCOME, journal.encode(content, OUTCOME, indent=1) + "\n")


def read_outcome(directory: Path, trial: TrialSpec) -> Evaluation | None:
    """Reads the outcome that was kept of exactly this trial; None if there is none that can be used."""
    try:
        content = json.loads((directory / OUTCOME).read_bytes())
        if TrialSpec.from_dict(content["trial"], OUTCOME) != trial:
            return None
        return Evaluation.from_dict(content["evaluation"], OUTCOME)
    except (OSError, ValueError, TypeError, KeyError):
        return None
