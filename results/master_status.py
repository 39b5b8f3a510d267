"""What a master says of itself while it runs, and at its end: ``status.json`` in the run's directory.

The journals are the study; this file only says who is at work on it.  A worker learns from it that the study has ended.
"""

from __future__ import annotations

import json
from enum import Enum

from results import journal
from results.atomic_file import write_atomically
from results.record_base import Record
from results.records import ConfigId
from results.run_directory import RunDirectory

FILE = "status.json"


class Ending(str, Enum):
    """The way in which a master ended."""

    FINISHED = "finished"  # with all evaluations
    FAILED = "failed"
    LIMIT = "limit"  # at a limit of time or evaluations
    INTERRUPTED = "interrupted"  # by a signal
    SUSPENDED = "suspended"  # by a signal, and its scheduler starts another master

    @property
    def ends_study(self) -> bool:
        """Whether workers need not wait for another master."""
        return self not in (Ending.INTERRUPTED, Ending.SUSPENDED)


class WorkerStatus(Record, frozen=True, kw_only=True):
    """A worker of the pool.

    Attributes:
        name: Host, process and random part.
        config_id: Configuration of its trial; None for an idle worker.
        budget: Search epochs of its trial.
        epochs: Number of epochs of the trial that are saved.
        since: Unix seconds at which the trial was handed over.
        n_done: Number of trials that the worker has reported.
    """

    name: str
    config_id: ConfigId | None = None
    budget: int | None = None
    epochs: int = 0
    since: float | None = None
    n_done: int = 0


class MasterStatus(Record, frozen=True, kw_only=True):
    """The state of a run's last master.

    Attributes:
        host: Name of its machine.
        process_id: Number of its process there.
        started: Unix seconds of its start.
        updated: Unix seconds at which the file was written.
        interval_s: Longest time between two updates while the master lives, in seconds.
        n_before: Number of evaluations that earlier masters of the run had recorded.
        workers: Workers of the pool, in the order in which they joined.
        problems: Sentences about what hinders the study: workers that cannot join, a disk that cannot be written.
        ending: Way in which the master ended; None while it lives.
        message: Explanation of the ending.
    """

    host: str
    process_id: int
    started: float
    updated: float
    interval_s: float
    n_before: int = 0
    workers: tuple[WorkerStatus, ...] = ()
    problems: tuple[str, ...] = ()
    ending: Ending | None = None
    message: str | None = None


def write_status(run: RunDirectory, status: MasterStatus) -> None:
    """Replaces the file; a reader sees the old content or the new one."""
    write_atomically(run.path / FILE, journal.encode(status.to_dict(), FILE) + "\n")


def read_status(run: RunDirectory) -> MasterStatus | None:
    """Reads the file; None before the first master.

    Raises:
        ValueError: The file is damaged; the message names the field.
        OSError: The file cannot be read.
    """
    path = run.path / FILE
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path}: a master's status should be JSON, but is not ({error})") from error
    return MasterStatus.from_dict(data, str(path))
