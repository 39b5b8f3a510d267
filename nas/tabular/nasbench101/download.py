"""Download of the two files of NAS-Bench-101 from their official address, verified and resumable."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from nas.tabular.errors import DownloadError, NoSpaceError, TableExistsError, TableNotFoundError

_BLOCK_BYTES = 1 << 20
_TIMEOUT_S = 60
_PARTIAL, _RANGE_NOT_SATISFIABLE, _SERVER_ERROR = 206, 416, 500

#: Callback with the number of bytes done and of all bytes.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file that never changes.

    Attributes:
        url: Address of the file.
        sha256: SHA-256 of the contents, 64 hexadecimal digits.
    """

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """Name of the file, the last part of the address."""
        return self.url.rsplit("/", 1)[-1]


#: The published files: ``full`` has budgets of 4, 12, 36 and 108 epochs (1.95 GB), ``only108`` has 108 alone (499 MB).
NASBENCH101_FILES = {
    "only108": RemoteFile(
        "https://storage.googleapis.com/nasbench/nasbench_only108.tfrecord",
        "4c39c3936e36a85269881d659e44e61a245babcb72cb374eacacf75d0e5f4fd1",
    ),
    "full": RemoteFile(
        "https://storage.googleapis.com/nasbench/nasbench_full.tfrecord",
        "3d64db8180fb1b0207212f9032205064312b6907a3bbc81eabea10db2f5c7e9c",
    ),
}


class _Interrupted(Exception):
    """The connection ended early; the bytes so far are kept, and the next attempt goes on from there."""


def download(
    remote: RemoteFile,
    directory: Path | str,
    *,
    progress: Progress | None = None,
    attempts: int = 5,
    wait_s: float = 2.0,
) -> Path:
    """Downloads a file into a directory and verifies its size and SHA-256.

    The bytes so far are in ``<name>.part`` until the file is whole and verified.  A later call goes on
    from there.  A file that exists already is verified and kept.

    Args:
        remote: File to download, for example one of ``NASBENCH101_FILES``.
        directory: Existing directory for the file.
        progress: Callback after every block.
        attempts: Largest number of connections; further ones follow only if a connection breaks.
        wait_s: Seconds before the second attempt, doubled before each further one.

    Returns:
        The path of the file.

    Raises:
        TableExistsError: A different file of that name exists already.
        TableNotFoundError: The directory is missing.
        DownloadError: The server has no such file, cannot be reached, or sent something else.
        NoSpaceError: The disk has too little room.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise TableNotFoundError(f"download: {directory} is no directory; create it first")
    target = directory / remote.name
    if target.exists():
        return _verified_already(target, remote)
    part = target.with_name(f"{target.name}.part")
    _fetch(remote, part, progress, attempts, wait_s)
    digest = _sha256(part)
    if digest != remote.sha256:
        part.unlink()
        raise DownloadError(
            f"download of {remote.url}: got a file with SHA-256 {digest}, expected {remote.sha256}; "
            "it was removed, run the download again"
        )
    os.replace(part, target)
    return target


def _fetch(remote: RemoteFile, part: Path, progress: Progress | None, attempts: int, wait_s: float) -> None:
    """Fetches the rest of the file into ``part``; gives up after this number of broken connections."""
    for attempt in range(1, attempts + 1):
        try:
            _go_on(remote, part, progress)
            return
        except _Interrupted as error:
            if attempt == attempts:
                raise DownloadError(
                    f"download of {remote.url}: {error} in each of {attempts} attempts; "
                    f"run it again to go on, or fetch the file by other means and put it into {part.parent}"
                ) from None
            time.sleep(wait_s * 2 ** (attempt - 1))


def _verified_already(target: Path, remote: RemoteFile) -> Path:
    digest = _sha256(target)
    if digest != remote.sha256:
        raise TableExistsError(
            f"download: {target} exists already with SHA-256 {digest}, expected {remote.sha256}; "
            "remove it or choose another directory"
        )
    return target


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _go_on(remote: RemoteFile, part: Path, progress: Progress | None) -> None:
    """Fetches the bytes that ``part`` lacks, in one connection."""
    done = part.stat().st_size if part.exists() else 0
    request = Request(remote.url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as response:
            if done and response.status != _PARTIAL:
                done = 0  # the server does not resume, so it sends all
            total = _total_bytes(response, done, remote)
            _check_space(part, total - done)
            _receive(response, part, done, total, progress)
    except HTTPError as error:
        if error.code == _RANGE_NOT_SATISFIABLE:
            _check_whole(error, part, done)
            return
        if error.code >= _SERVER_ERROR:
            raise _Interrupted(f"got status {error.code} ({error.reason})") from None
        raise DownloadError(
            f"download of {remote.url}: got status {error.code} ({error.reason}), expected the file; check the address"
        ) from None
    except (HTTPException, URLError, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        raise _Interrupted(f"no connection, or it broke ({reason or type(error).__name__})") from None


def _total_bytes(response: Any, done: int, remote: RemoteFile) -> int:
    """Reads the size of the whole file from the server's answer."""
    length = response.headers.get("Content-Length")
    if length is None:
        raise DownloadError(
            f"download of {remote.url}: the server did not state the file's length; fetch the file by other means"
        )
    start = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    if done and start != str(done):
        raise DownloadError(f"download of {remote.url}: got bytes from {start or 'nowhere'}, expected from {done}")
    return done + int(length)


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise NoSpaceError(
            f"disk of {part.parent}: {free / 1e6:,.0f} MB are free, but the download needs {needed / 1e6:,.0f} MB; "
            "free some space or choose another directory"
        )


def _receive(response: Any, part: Path, done: int, total: int, progress: Progress | None) -> None:
    try:
        with part.open("ab" if done else "wb") as file:
            while block := response.read(_BLOCK_BYTES):
                file.write(block)
                done += len(block)
                if progress is not None:
                    progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoSpaceError(
                f"disk of {part.parent}: disk full after {done / 1e6:,.0f} of {total / 1e6:,.0f} MB; "
                "free some space and run the download again, which goes on from there"
            ) from None
        raise
    if done != total:
        raise _Interrupted(f"got {done} of {total} bytes")


def _check_whole(error: HTTPError, part: Path, done: int) -> None:
    """Handles "range not satisfiable": accepts a part that is whole, and removes one that is longer than the file."""
    if error.headers.get("Content-Range") != f"bytes */{done}":
        part.unlink()
        raise _Interrupted(f"{done} bytes from before are more than the file has; they were removed") from None
