"""The lock of a run's directory, which keeps a second master out while one is at work."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from results.run_directory import RunDirectory

FILE = "master.lock"


class RunLockedError(ValueError):
    """Another master is at work on the run."""


@contextmanager
def locked(run: RunDirectory) -> Iterator[None]:
    """Holds the lock of a run while the context lasts, or until this process ends in whatever way.

    The lock is ``flock``'s, which Linux passes on to the server of an NFS disk.  The file names its last holder.

    Raises:
        RunLockedError: Another master holds the lock; the message names it.
        OSError: The directory cannot be written, or its file system has no locks.
    """
    path = run.path / FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            raise RunLockedError(
                f"{run.path}: a master is at work on this run ({holder}); wait for it, or stop it"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
