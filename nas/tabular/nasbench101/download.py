"""Fetching the two files of NAS-Bench-101 from their official home, verified and resumable."""

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

#: Called with the bytes done and the bytes in all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file that never changes.

    Attributes:
        url: Where it is.
        sha256: Of its contents, 64 hexadecimal digits.
    """

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """Its name without the address."""
        return self.url.rsplit("/", 1)[-1]


#: The published files; ``full`` has budgets of 4, 12, 36 and 108 epochs (1.95 GB), ``only108`` the last (499 MB).
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
    """The connection ended early; what arrived is kept, and the next attempt goes on from there."""


def download(
    remote: RemoteFile,
    directory: Path | str,
    *,
    progress: Progress | None = None,
    attempts: int = 5,
    wait_s: float = 2.0,
) -> Path:
    """Downloads a file into a directory and verifies its size and SHA-256.

    What has arrived is in ``<name>.part`` until the file is whole and verified; a later call goes on
    from there.  A file that is there already is verified and kept.

    Args:
        remote: For example one of ``NASBENCH101_FILES``.
        directory: Exists.
        progress: Called after every block.
        attempts: How often a connection that breaks is opened again.
        wait_s: Seconds before the second attempt, doubled before each further one.

    Returns:
        The path of the file.

    Raises:
        TableExistsError: A different file of that name is there.
        TableNotFoundError: There is no such directory.
        DownloadError: The server has no such file, cannot be reached, or sent something else.
        NoSpaceError: The disk has too little room.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise TableNotFoundError(f"download: got {directory}, which is no directory, expected one; create it first")
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
    """Goes on until ``part`` is as long as the file, or for so many broken connections."""
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
            f"download: got {target}, which exists with SHA-256 {digest}, expected {remote.sha256} or no file; "
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
    """Fetches what is missing in ``part``."""
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
        raise _Interrupted(f"got no connection, or it broke ({reason or type(error).__name__})") from None


def _total_bytes(response: Any, done: int, remote: RemoteFile) -> int:
    """The size of the whole file, as the server says."""
    length = response.headers.get("Content-Length")
    if length is None:
        raise DownloadError(f"download of {remote.url}: got an answer without its length, expected one with it")
    start = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    if done and start != str(done):
        raise DownloadError(f"download of {remote.url}: got bytes from {start or 'nowhere'}, expected from {done}")
    return done + int(length)


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise NoSpaceError(
            f"disk of {part.parent}: got {free / 1e6:,.0f} MB free, expected at least {needed / 1e6:,.0f} MB "
            "for the download; free some space or choose another directory"
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
                f"disk of {part.parent}: got a full disk after {done / 1e6:,.0f} of {total / 1e6:,.0f} MB; "
                "free some space and run the download again, it goes on from there"
            ) from None
        raise
    if done != total:
        raise _Interrupted(f"got {done} of {total} bytes")


def _check_whole(error: HTTPError, part: Path, done: int) -> None:
    """After "range not satisfiable": the part is whole already, or longer than the file and useless."""
    if error.headers.get("Content-Range") != f"bytes */{done}":
        part.unlink()
        raise _Interrupted(f"got {done} bytes from before, more than the file has; they were removed") from None
