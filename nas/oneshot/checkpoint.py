"""Checkpoints of a search, written atomically, and the other files of its directory.

Behind a checkpoint's content, the file holds its SHA-256: PyTorch's reader checks no sums, and would go on with weights
that a disk has changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from nas.oneshot.model.memory import is_out_of_memory
from results import journal
from results.atomic_file import make_directory, write_atomically
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


def checkpoint_name(epoch: int | None) -> str:
    """The file of the last epoch (None), or of an epoch that was kept."""
    return CHECKPOINT if epoch is None else f"{CHECKPOINT}-{epoch}"


def keep_checkpoint(directory: Path, epoch: int) -> None:
    """Makes the directory's checkpoint, which is that of an epoch, stay when later ones replace it."""
    last = (directory / checkpoint_name(None)).read_bytes()
    _replace(directory / checkpoint_name(epoch), last)


def remove_kept(directory: Path, after: int) -> None:
    """Removes kept checkpoints of epochs later than ``after``."""
    for path in directory.glob(f"{CHECKPOINT}-*"):
        epoch = path.name.removeprefix(f"{CHECKPOINT}-")
        if epoch.isdecimal() and int(epoch) > after:
            path.unlink(missing_ok=True)


def remove_checkpoint(directory: Path) -> None:
    """Removes the directory's checkpoint, whose search goes on no more."""
    (directory / CHECKPOINT).unlink(missing_ok=True)


def write_checkpoint(directory: Path, state: Mapping[str, Any]) -> None:
    """Replaces the directory's checkpoint."""
    content = BytesIO()
    torch.save({"format": FORMAT, **state}, content)
    content.write(hashlib.sha256(content.getbuffer()).digest())
    _replace(directory / CHECKPOINT, content.getvalue())


def read_checkpoint(directory: Path, epoch: int | None = None) -> dict[str, Any] | None:
    """The directory's checkpoint on the CPU, or None if there is none; runs no code that it might contain.

    Args:
        directory: Directory of a search.
        epoch: An epoch that was kept; the last one if None.

    Raises:
        UnreadableCheckpointError: It is damaged or of another version.
        OSError: The file cannot be read.
    """
    path = directory / checkpoint_name(epoch)
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
    _replace(path, journal.encode(value, path.name, indent=1) + "\n")


def write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Writes a journal atomically: what a resumed search had reported before its checkpoint."""
    _replace(path, "".join(f"{journal.encode(value, path.name)}\n" for value in values))


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Appends a line to a journal and hands it to the disk."""
    with _naming(path):
        journal.append(path, value)


@contextmanager
def alone_in(directory: Path | None) -> Iterator[None]:
    """Keeps other searches from starting in a directory, which may be new, until this process leaves it or ends.

    Raises:
        CheckpointError: A search is going on there, or what is there is no search.
        NotADirectoryError: The path or one of its parents is a file.
    """
    if directory is None:
        yield
        return
    new = not directory.exists()
    make_directory(directory)
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
        for path in directory.glob(f".{name}[.-]*"):
            path.unlink(missing_ok=True)


def _replace(path: Path, content: str | bytes) -> None:
    with _naming(path):
        write_atomically(path, content)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Adds the file's name to an ``OSError`` that lacks one, as those of a full disk do."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
