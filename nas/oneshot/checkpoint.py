"""Checkpoints of a search, written atomically, and the other files of its directory."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch

from nas.oneshot.memory import is_out_of_memory

#: Changes when an older checkpoint can no longer be resumed.
FORMAT = 1
CHECKPOINT = "checkpoint"
TRAJECTORY = "trajectory.jsonl"
ARCHITECTURE = "architecture.json"


class CheckpointError(ValueError):
    """A checkpoint cannot be resumed, and says why."""


def write_checkpoint(directory: Path, state: Mapping[str, Any]) -> None:
    """Replaces the directory's checkpoint."""
    with _replacing(directory / CHECKPOINT) as file:
        torch.save({"format": FORMAT, **state}, file)


def read_checkpoint(directory: Path) -> dict[str, Any] | None:
    """The directory's checkpoint on the CPU, or None if there is none; runs no code that it might contain.

    Raises:
        CheckpointError: It is damaged or of another format.
    """
    path = directory / CHECKPOINT
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError) as error:
        if is_out_of_memory(error):
            raise
        raise CheckpointError(f"{path}: cannot be read ({error}); remove it to start the search again") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected a checkpoint of format {FORMAT}; remove it to start the search again")
    return state


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object atomically."""
    with _replacing(path) as file:
        file.write(json.dumps(value, indent=1).encode() + b"\n")


def write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Writes JSON lines atomically: what a resumed search had reported before its checkpoint."""
    with _replacing(path) as file:
        file.writelines(json.dumps(value).encode() + b"\n" for value in values)


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Appends a JSON line and hands it to the disk."""
    with path.open("a") as file:
        file.write(json.dumps(value) + "\n")
        file.flush()
        os.fsync(file.fileno())


def remove_unfinished(directory: Path) -> None:
    """Removes what processes left that were killed while they wrote."""
    for name in (CHECKPOINT, TRAJECTORY, ARCHITECTURE):
        for path in directory.glob(f".{name}.*"):
            path.unlink(missing_ok=True)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file beside ``path`` that takes its place when it is on the disk: a crash leaves either the old or the new."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with scratch.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
