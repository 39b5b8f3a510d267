"""Checkpoints of a search, written atomically, and the other files of its directory.

Behind a checkpoint's content, the file holds its SHA-256: PyTorch's reader checks no sums, and would go on with weights
that a disk has changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch

from nas.oneshot.model.memory import is_out_of_memory
from results.epoch import TRAJECTORY

logger = logging.getLogger("nasbohb.search")

#: Changes when an older checkpoint can no longer be resumed.
FORMAT = 2
CHECKPOINT = "checkpoint"
ARCHITECTURE = "architecture.json"
FAILURE = "failure.json"
_DIGEST_BYTES = 32


class CheckpointError(ValueError):
    """A checkpoint cannot be resumed, and says why."""


class UnreadableCheckpointError(CheckpointError):
    """It is damaged, or was written by another version: the search can only start again."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: expected a whole checkpoint of this version ({why}); remove it to start again")


def write_checkpoint(directory: Path, state: Mapping[str, Any]) -> None:
    """Replaces the directory's checkpoint."""
    content = BytesIO()
    torch.save({"format": FORMAT, **state}, content)
    with _replacing(directory / CHECKPOINT) as file:
        file.write(content.getbuffer())
        file.write(hashlib.sha256(content.getbuffer()).digest())


def read_checkpoint(directory: Path) -> dict[str, Any] | None:
    """The directory's checkpoint on the CPU, or None if there is none; runs no code that it might contain.

    Raises:
        UnreadableCheckpointError: It is damaged or of another version.
        OSError: The file cannot be read.
    """
    path = directory / CHECKPOINT
    if not path.exists():
        return None
    written = path.read_bytes()
    content, digest = memoryview(written)[:-_DIGEST_BYTES], written[-_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise UnreadableCheckpointError(path, "its checksum is not that of its content")
    try:
        state = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        if is_out_of_memory(error):
            raise
        raise UnreadableCheckpointError(path, str(error)) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UnreadableCheckpointError(path, f"it is not of format {FORMAT}")
    return state


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object atomically."""
    with _replacing(path) as file:
        file.write(json.dumps(value, indent=1).encode() + b"\n")


def write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Writes JSON lines atomically: what a resumed search had reported before its checkpoint."""
    with _replacing(path) as file:
        file.writelines(json.dumps(value).encode() + b"\n" for value in values)


def append_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Appends JSON lines and hands them to the disk."""
    with _naming(path), path.open("a") as file:
        file.writelines(json.dumps(value) + "\n" for value in values)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def alone_in(directory: Path | None) -> Iterator[None]:
    """Keeps other searches from starting in a directory, which may be new, until this process leaves it or ends.

    Raises:
        CheckpointError: A search is going on there, or what is there is no search.
    """
    if directory is None:
        yield
        return
    new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    others = sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))
    if others and not {CHECKPOINT, TRAJECTORY, ARCHITECTURE, FAILURE} & set(others):
        raise CheckpointError(
            f"{directory}: holds {', '.join(others[:3])}{' ...' if others[3:] else ''}, and no search; expected a "
            "directory that is new, empty or of a search"
        )
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(f"{directory}: another process is searching here; wait for it, or stop it") from None
        except OSError as error:  # some network file systems have no locks
            logger.debug("%s: not locked (%s)", directory, error)
        yield
    finally:
        os.close(descriptor)
        if new and not any(directory.iterdir()):
            directory.rmdir()


def remove_unfinished(directory: Path) -> None:
    """Removes what processes left that were killed while they wrote."""
    for name in (CHECKPOINT, TRAJECTORY, ARCHITECTURE, FAILURE):
        for path in directory.glob(f".{name}.*"):
            path.unlink(missing_ok=True)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file beside ``path`` that takes its place when it is on the disk: a crash leaves either the old or the new."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with _naming(scratch), scratch.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """A full disk says so of a file, which the system's own error does not name."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
