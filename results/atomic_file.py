"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes ``path`` through a temporary sibling, so that a reader sees the old file or the new one.

    Raises:
        OSError: It could not be written; ``path`` is as it was and the sibling is gone.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = temporary_sibling(path)
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def temporary_sibling(path: Path) -> Path:
    """A hidden name beside ``path`` that nothing else uses."""
    return path.parent / f".{path.name}.{secrets.token_hex(6)}.tmp"


def sync_directory(directory: Path) -> None:
    """Brings a directory's entries, new and renamed ones, to disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
