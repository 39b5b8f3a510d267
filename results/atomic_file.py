"""Files and directories that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: str | bytes, mode: int = 0o666) -> None:
    """Writes ``path`` through a temporary sibling, so that a reader sees the old file or the new one.

    Args:
        path: The file.
        content: New content of the file.
        mode: Its permissions, of which the process's umask takes away.

    Raises:
        OSError: Writing failed; ``path`` is unchanged and the sibling is gone.
    """
    with replacing(path, mode) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Opens a temporary sibling with these permissions for writing; it replaces ``path`` once it is on disk.

    Raises:
        OSError: Writing failed; ``path`` is unchanged. The sibling is gone after any exception.
    """
    temporary = temporary_sibling(path)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(temporary):
            raise OSError(error.errno, error.strerror, str(path)) from error  # nobody has heard of the sibling
        raise
    sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Makes a directory with its parents, if it is missing.

    Raises:
        NotADirectoryError: The path or one of its parents is a file.
        OSError: The directory cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        file = next(part for part in (path, *path.parents) if part.exists())
        raise NotADirectoryError(
            f"directory: got {path}, but {file} is a file; expected a directory or a new path"
        ) from None


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Makes a temporary sibling directory, which becomes ``path`` at the end or disappears after any exception.

    The writer of a file in it must bring that file to disk.

    Raises:
        OSError: Writing failed. If another process has put something at ``path`` meanwhile, ``errno`` is EEXIST,
            ENOTEMPTY or ENOTDIR; what the other process wrote stays.
    """
    temporary = temporary_sibling(path)
    temporary.mkdir()
    try:
        yield temporary
        sync_directory(temporary)
        os.rename(temporary, path)  # replaces an empty directory, and fails on anything else
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_directory(path.parent)


def temporary_sibling(path: Path) -> Path:
    """Makes up a hidden name beside ``path`` that nothing else uses."""
    return path.parent / f".{path.name}.{secrets.token_hex(6)}.tmp"


def sync_directory(directory: Path) -> None:
    """Brings a directory's entries, new and renamed ones, to disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
