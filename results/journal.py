"""An append-only journal: one JSON array or object per line, on disk before ``append`` returns.

A process that is killed while it appends leaves a last line without a line break. That line counts if it is a
whole array or object, because only its line break is missing. Otherwise it is torn:

* ``read`` ignores a torn last line, so a journal can be read while another process appends to it;
* ``Journal`` repairs the last line when it opens the file: a whole line gets its line break, and torn bytes are cut
  off. Bytes before the last line break are never changed.

Only one process at a time may use ``Journal`` or ``append``; any number may read.

Several processes may append to one journal with ``append_shared``. None of them may cut off what another is about
to write. Therefore each makes one write in append mode. Where the file does not end with a line break, the write begins
with one: it ends a torn line, which stays in the file. Two processes that find the same torn line leave one blank line
between their records. A line that is torn between the look at the file's end and the write spoils the record behind it,
too. ``read_shared`` leaves blank and torn lines out, counts the latter, and can go on where it stopped before.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from results.atomic_file import sync_directory

_NEWLINE = b"\n"
_BLOCK = 4096


class JournalError(ValueError):
    """A line before the last one is not JSON: something other than this program changed the file."""


class JournalGoneError(RuntimeError):
    """The file of an open journal was removed, renamed or replaced."""


class Journal:
    """A journal that its one writer has opened, as a context manager.

    A failed ``append`` leaves nothing behind, or only bytes behind the last line that counts, which the next
    ``append`` overwrites.  Therefore the same objects may be appended again after a failure.

    Attributes:
        path: Path of the file.
    """

    def __init__(self, path: Path) -> None:
        """Opens the journal and repairs its last line; creates the file if it is missing.

        Raises:
            OSError: The file cannot be opened for writing.
        """
        self.path = path
        is_new = not path.exists()
        self._descriptor: int | None = self._open(os.O_CREAT)
        self._end = _repair(self._descriptor)
        if is_new:
            sync_directory(path.parent)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def append(self, *objects: Mapping[str, Any] | list[Any] | tuple[Any, ...]) -> None:
        """Appends one line per object and returns when all are on disk.

        Several lines at once cost one synchronisation, which takes milliseconds on a busy disk.

        Args:
            objects: Arrays or objects of built-in types, with finite floats only.

        Raises:
            ValueError: One is not an array or object, or holds a value that strict JSON lacks; nothing is written.
            JournalGoneError: The file is not at its path any more.
            OSError: Writing failed (no space, ...); the same objects may be appended again.
        """
        lines = b"".join(encode(obj, self.path.name).encode() + _NEWLINE for obj in objects)
        self.check()
        if self._descriptor is None:
            self._descriptor = self._open()
        try:
            _write_all(self._descriptor, lines, self._end)
            os.fsync(self._descriptor)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._end)
            if error.errno == errno.ESTALE:  # a network disk that is back needs a new descriptor
                self.close()
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._end += len(lines)

    def check(self) -> None:
        """Raises ``JournalGoneError`` if the file is not at its path any more, and OSError if nobody can tell."""
        try:
            found = os.stat(self.path)
            if self._descriptor is None or os.path.samestat(found, os.fstat(self._descriptor)):
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        raise JournalGoneError(f"{self.path}: removed, renamed or replaced while it was in use")

    def close(self) -> None:
        """Closes the file; has no effect if it is closed."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):  # what counts was synchronised
                os.close(descriptor)

    def _open(self, flags: int = 0) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CLOEXEC | flags, 0o666)


def append(path: Path, *objects: Mapping[str, Any] | list[Any] | tuple[Any, ...]) -> None:
    """Appends to a journal that is closed; creates the file if it is missing.  See ``Journal.append``."""
    for obj in objects:
        encode(obj, path.name)  # what cannot be written makes no file
    with Journal(path) as journal:
        journal.append(*objects)


def read(path: Path) -> list[Any]:
    """Reads the contents of a journal's lines, in order; none if the file is missing or empty.

    Raises:
        JournalError: A line before the last one is not JSON.
    """
    return [decode(line, f"{path}, line {number}") for number, line in read_lines(path)]


def read_lines(path: Path) -> list[tuple[int, bytes]]:
    """Reads the lines of a journal with their numbers, 1 for the first; leaves out a torn last line."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    *lines, tail = content.split(_NEWLINE)
    if _is_whole(tail):
        lines.append(tail)
    return list(enumerate(lines, start=1))


def decode(line: bytes, where: str) -> Any:
    """Decodes a line.

    Bare ``NaN`` and ``Infinity`` are accepted, because hpbandster's own logs hold them.

    Raises:
        JournalError: The line is not JSON.
    """
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError:
        pass
    try:
        return json.loads(line)
    except ValueError as error:
        raise JournalError(
            f"{where}: got {line[:60]!r}, expected one JSON array or object ({error}); "
            "the file was changed by something else: restore it from a copy, or remove the line"
        ) from error


def append_shared(path: Path, *objects: Mapping[str, Any] | list[Any] | tuple[Any, ...]) -> None:
    """Appends to a journal to which other processes append at the same time; creates the file if it is missing.

    Args:
        path: The journal, on a file system where appending writes do not mix (on NFS they do).
        objects: Arrays or objects of built-in types, with finite floats only.

    Raises:
        ValueError: One is not an array or object, or holds a value that strict JSON lacks; nothing is written.
        OSError: Writing failed, or only a part was written; at most one torn line remains.
    """
    lines = b"".join(encode(obj, path.name).encode() + _NEWLINE for obj in objects)
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != _NEWLINE:
            lines = _NEWLINE + lines
        written = os.write(descriptor, lines)
        if written < len(lines):  # the rest may not follow: another process's line may stand between
            raise OSError(errno.ENOSPC, f"{written} of {len(lines)} bytes were written", str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        sync_directory(path.parent)


@dataclass(frozen=True, kw_only=True)
class SharedLines:
    """Lines of a journal to which several processes append.

    Attributes:
        records: Contents of the whole lines, in order.
        n_torn: Number of torn lines, which were left out.
        end: Offset in bytes at which the next reading starts.
    """

    records: list[Any]
    n_torn: int
    end: int


def read_shared(path: Path, start: int = 0) -> SharedLines:
    """Reads the complete lines from the offset ``start`` on; none if the file is missing.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            content = file.read()
    except FileNotFoundError:
        return SharedLines(records=[], n_torn=0, end=start)
    complete = content[: content.rfind(_NEWLINE) + 1]
    lines = [line for line in complete.split(_NEWLINE) if line]
    whole = [line for line in lines if _is_whole(line)]
    return SharedLines(
        records=[json.loads(line) for line in whole], n_torn=len(lines) - len(whole), end=start + len(complete)
    )


def encode(obj: Any, where: str, indent: int | None = None) -> str:
    """Encodes ``obj`` as strict JSON.

    Args:
        obj: An array or object of built-in types and finite floats.
        where: Name of the encoded thing, for error messages.
        indent: Spaces per level, or None for a single line.

    Raises:
        ValueError: ``obj`` is not an array or object, or it holds NaN, an infinity or another type.
    """
    if not isinstance(obj, Mapping | list | tuple):
        raise ValueError(f"{where}: got {obj!r}, expected a list, tuple or mapping")
    try:
        return json.dumps(obj, allow_nan=False, indent=indent)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: got {_first_offence(obj, '') or error}, expected built-in types and finite floats; "
            "convert the value, or write None where there is none"
        ) from error


def _first_offence(obj: Any, position: str) -> str | None:
    """Describes the first value in ``obj`` that strict JSON lacks, with its position; None if there is none."""
    if isinstance(obj, float) and not math.isfinite(obj):
        return f"{obj!r} at {position}"
    if obj is None or isinstance(obj, str | int | float):
        return None
    if isinstance(obj, dict):
        items = [(f"{position}[{key!r}]", value) for key, value in obj.items()]
    elif isinstance(obj, list | tuple):
        items = [(f"{position}[{index}]", value) for index, value in enumerate(obj)]
    else:
        return f"{obj!r} ({type(obj).__name__}) at {position or 'the top'}"
    offences = (_first_offence(value, where) for where, value in items)
    return next((offence for offence in offences if offence), None)


def _repair(descriptor: int) -> int:
    """Completes or cuts off a last line without a line break; returns the journal's new size in bytes."""
    end = os.fstat(descriptor).st_size
    start = _start_of_last_line(descriptor, end)
    if start == end:
        return end
    if _is_whole(os.pread(descriptor, end - start, start)):
        _write_all(descriptor, _NEWLINE, end)
        return end + 1
    os.ftruncate(descriptor, start)
    return start


def _start_of_last_line(descriptor: int, end: int) -> int:
    """Finds the offset just behind the last line break before ``end``; 0 if there is none."""
    while end > 0:
        block_start = max(0, end - _BLOCK)
        found = os.pread(descriptor, end - block_start, block_start).rfind(_NEWLINE)
        if found >= 0:
            return block_start + found + 1
        end = block_start
    return 0


def _is_whole(tail: bytes) -> bool:
    """Whether bytes without a line break are a whole array or object, closed by its last bracket."""
    try:
        return isinstance(json.loads(tail), dict | list)
    except ValueError:
        return False


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
