"""A worker's way to the master of its run, which may be another one than before."""

from __future__ import annotations

import errno
import logging
import time
from typing import Any

from master.protocol import COMMUNICATION_ERRORS, connect, dispatcher_name, name_server_uri
from master.security import become_member
from master.signals import StopFlag
from results.credentials import Credentials, credentials_path, read_credentials
from results.master_status import Ending, MasterStatus, read_status
from results.run_directory import RunDirectory

logger = logging.getLogger("nasbohb.worker")

#: Errors of a network disk that may be there again soon.
_PASSING = (errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT)
_PAUSE_S = 0.2


class MasterNotFoundError(RuntimeError):
    """No master started in time, or it did not come back."""


class StudyEndedError(Exception):
    """The study has ended, or the worker is to stop; this is no failure."""


def await_master(run: RunDirectory, wait_s: float, message_interval_s: float, stop: StopFlag) -> Credentials:
    """Returns the run's credentials as soon as the master that wrote them answers; this process is a member then.

    The credentials are read anew in each attempt, for two reasons.  A master writes them a moment before it listens.
    The credentials of a master that was killed stay until another master replaces them.

    Raises:
        MasterNotFoundError: No master answered within ``wait_s``.
        StudyEndedError: The study has ended, or the flag is set.
        ValueError: The credentials are damaged.
        OSError: The credentials cannot be read; the message names the file.
    """
    start_s = next_message_s = time.monotonic()
    while True:
        raise_if_ended(run)
        credentials, found = _try_credentials(run)
        if credentials is not None:
            return credentials
        now = time.monotonic()
        if now - start_s > wait_s:
            raise MasterNotFoundError(
                f"{run.path}: no master of this run was there within {wait_s:.0f} s ({found}); start it, or go on "
                "with it by `master --resume`, on a file system that both see, with a --host that this machine reaches"
            )
        if now >= next_message_s:
            logger.info("waiting for a master in %s: %s", run.path, found)
            next_message_s = now + message_interval_s
        time.sleep(min(_PAUSE_S, wait_s))
        if stop.signal is not None:
            raise StudyEndedError(f"it was told to stop ({stop.signal.name})")


def raise_if_ended(run: RunDirectory) -> None:
    """Raises ``StudyEndedError`` if the run's directory says that the study has ended."""
    status = _status(run)
    if status is not None and status.ending is not None and status.ending.ends_study:
        why = f": {status.message.splitlines()[0]}" if status.message else ""
        go_on = (
            "" if status.ending is Ending.FINISHED else "; `master --resume` goes on with it, and then takes workers"
        )
        raise StudyEndedError(f"the study has ended ({status.ending.value}{why}){go_on}")


def _is_suspended(run: RunDirectory) -> bool:
    status = _status(run)
    return status is not None and status.ending is Ending.SUSPENDED


def _status(run: RunDirectory) -> MasterStatus | None:
    try:
        return read_status(run)
    except (OSError, ValueError):
        return None  # the master says itself that the study has ended, or falls silent


class MasterLink:
    """The connection to the dispatcher; it is made again when another master has written its credentials.

    Attributes:
        credentials: Credentials of the master.
        dispatcher: Proxy of the dispatcher; its calls may raise ``COMMUNICATION_ERRORS``.
    """

    def __init__(self, run: RunDirectory, credentials: Credentials) -> None:
        self._run = run
        self.credentials = credentials
        self.dispatcher: Any = None

    def connect(self) -> None:
        """Asks the name server for the dispatcher; raises ``COMMUNICATION_ERRORS``."""
        credentials = self.credentials
        with connect(name_server_uri(credentials.host, credentials.port)) as name_server:
            uri = name_server.lookup(dispatcher_name(credentials.run_id))
        self.dispatcher = connect(str(uri))

    def renew(self) -> bool:
        """Reads the credentials again, and returns whether they are another master's, which ``connect`` reaches then.

        This process is a member of the run by that master's certificates then.

        Raises:
            StudyEndedError: The study has ended, or the master has taken its credentials away.
        """
        raise_if_ended(self._run)
        try:
            credentials = read_credentials(self._run)
        except FileNotFoundError:
            if credentials_path(self._run).parent.is_dir() and not _is_suspended(self._run):
                raise StudyEndedError("the master has ended") from None
            return False  # the disk is away, too; or another master comes
        except (OSError, ValueError) as error:
            logger.debug("could not read the credentials: %s", error)
            return False
        if credentials == self.credentials:
            return False
        try:
            become_member(self._run.credentials / credentials.certificates)
        except (OSError, ValueError) as error:  # yet another master has just replaced them, or the disk is away
            logger.debug("could not read the certificates: %s", error)
            return False
        self.credentials = credentials
        return True


def _try_credentials(run: RunDirectory) -> tuple[Credentials | None, str]:
    """The credentials of a master that answers, or else what was found instead."""
    try:
        credentials = read_credentials(run)
        become_member(run.credentials / credentials.certificates)
    except FileNotFoundError as error:
        return None, f"no {error.filename}"
    except OSError as error:
        if error.errno not in _PASSING:
            raise
        return None, f"{error.filename or credentials_path(run)}: {error.strerror}"
    try:
        with connect(name_server_uri(credentials.host, credentials.port)) as name_server:
            name_server.lookup(dispatcher_name(credentials.run_id))
        return credentials, ""
    except COMMUNICATION_ERRORS as error:
        return None, f"no answer at {credentials.host}:{credentials.port} ({error})"
