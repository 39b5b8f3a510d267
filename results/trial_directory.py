"""The files of one trial: ``spec.json``, which it starts from, and ``trajectory.jsonl``, which it writes."""

from __future__ import annotations

import json
from pathlib import Path

from results import journal
from results.atomic_file import write_atomically
from results.epoch import TRAJECTORY, EpochRecord
from results.records import TrialSpec

SPEC = "spec.json"


def write_trial_spec(directory: Path, trial: TrialSpec) -> None:
    """Writes ``spec.json``; makes the directory where it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / SPEC, journal.encode(trial.to_dict(), SPEC, indent=2) + "\n")


def read_trial_spec(directory: Path) -> TrialSpec:
    """What ``spec.json`` says.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged; the message names the field.
    """
    path = directory / SPEC
    try:
        data = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: got no JSON ({error}), expected a trial's specification") from error
    return TrialSpec.from_dict(data, str(path))


def read_trajectory(directory: Path) -> list[EpochRecord]:
    """The epochs of a trial so far; none where it wrote nothing yet.

    Raises:
        ValueError: A line has another shape; the message names it.
    """
    path = directory / TRAJECTORY
    return [
        EpochRecord.from_dict(line, f"{path}, line {number}") for number, line in enumerate(journal.read(path), start=1)
    ]
