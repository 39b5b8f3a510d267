"""Directories of single searches, as `search --directory` leaves them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results.epoch import EpochRecord, TableAnswer
from results.one_shot_errors import ONE_SHOT_ERRORS, ErrorFile, OneShotError

SETTINGS: Mapping[str, Any] = {
    "optimizer": "darts",
    "search_space": "1",
    "dataset": "digits",
    "data_dir": None,
    "epochs": 3,
    "seed": 0,
    "weight_decay": 3e-4,
    "batch_size": 96,
    "threads": 1,
}


def write_epochs(directory: Path, one_shot: Sequence[float], test: Sequence[float | None]) -> None:
    """Writes the trajectory of a search: an epoch per one-shot validation error, with the test error in the table."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = []
    for epoch, (error, test_error) in enumerate(zip(one_shot, test, strict=True), start=1):
        answer = TableAnswer(validation_error=0.5, test_error=test_error or 0.0, training_time_s=1.0)
        record = EpochRecord(
            epoch=epoch,
            train_loss=1.0,
            arch_loss=None,
            one_shot_validation_error=error,
            learning_rate=0.1,
            cutout_prob=0.0,
            architecture_index=1,
            cell_hash="0f",
            search_s=float(epoch),
            table={} if test_error is None else {4: answer, 12: answer},
        )
        lines.append(json.dumps(record.to_dict()) + "\n")
    (directory / "trajectory.jsonl").write_text("".join(lines))


def write_search(
    directory: Path, one_shot: Sequence[float], test: Sequence[float | None], *, failed: bool = False, **changes: Any
) -> Path:
    """Writes a search that has ended; ``changes`` are fields of its specification."""
    write_epochs(directory, one_shot, test)
    name = "failure.json" if failed else "architecture.json"
    (directory / name).write_text(json.dumps({"status": "ok", "spec": {**SETTINGS, **changes}}))
    return directory


def write_one_shot_errors(
    directory: Path, one_shot: Sequence[float], test: Sequence[float], *, epoch: int = 3, n_images: int = 400
) -> None:
    """Adds architectures that were evaluated with the weights of a search."""
    answers = [TableAnswer(validation_error=0.5, test_error=error, training_time_s=1.0) for error in test]
    errors = [
        OneShotError(
            fingerprint=f"{epoch}",
            epoch=epoch,
            n_images=n_images,
            architecture_index=index,
            cell_hash="0f",
            one_shot_validation_error=error,
            table={12: answer},
        )
        for index, (error, answer) in enumerate(zip(one_shot, answers, strict=True))
    ]
    ErrorFile(directory / ONE_SHOT_ERRORS).append(errors)
