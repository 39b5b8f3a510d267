"""Containment of an objective: its answer or exception becomes an ``Evaluation`` for the wire and the journal."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from results.bohb_lines import evaluation_from_info, evaluation_to_info
from results.epoch import EpochRecord
from results.journal import encode
from results.records import Evaluation, Status, TrialSpec


class Objective(Protocol):
    """The function that a worker evaluates: runs a trial in its own directory and returns the outcome."""

    def __call__(
        self,
        trial: TrialSpec,
        directory: Path,
        on_epoch: Callable[[EpochRecord], None] | None = None,
        worker: str | None = None,
        on_saved: Callable[[EpochRecord], None] | None = None,
    ) -> Evaluation:
        """Runs the trial.

        Args:
            trial: The trial.
            directory: Directory for the trial's files; it may not exist yet.
            on_epoch: Callback for after each epoch, before it is saved.  It may raise ``TrialAbandonedError``, which
                the objective must not catch.
            worker: Name of the worker, for the record.
            on_saved: Callback for after each epoch that is saved; it may raise the same.
        """


class TrialAbandonedError(BaseException):
    """Another worker has the trial now, or this worker is about to end.

    It is no ``Exception``, because no handler on its way may take it for a failure of the trial.
    """


class DiskTroubleError(Exception):
    """The disk is full, read-only or away; this says nothing of the trial, which goes on when the disk is back."""


#: Error numbers of such a disk.
_DISK_TROUBLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.EIO})


def contained(
    objective: Objective,
    trial: TrialSpec,
    directory: Path,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    worker: str | None = None,
    on_saved: Callable[[EpochRecord], None] | None = None,
) -> Evaluation:
    """Runs the objective and returns its answer in built-in types.

    An exception, or an answer of another type, becomes a ``bug`` with its traceback.  It never becomes a large loss
    that the model would learn.  A trial that raises ``SystemExit`` or ``KeyboardInterrupt`` has a bug, too: the
    process's own signals set a flag.

    Raises:
        TrialAbandonedError: A callback raised it.
        DiskTroubleError: The disk is full, read-only or away.
    """
    try:
        evaluation = objective(trial, directory, on_epoch, worker, on_saved)
        if not isinstance(evaluation, Evaluation):
            raise TypeError(f"the objective's answer: got {evaluation!r}, expected an Evaluation")
        info = evaluation_to_info(evaluation)
        encode(info, "the objective's answer")  # refuses what the journal cannot hold: infinities
        return evaluation_from_info(info, "the objective's answer")
    except TrialAbandonedError:
        raise
    except BaseException as error:  # the one broad handler: a failure is data, with its traceback
        if isinstance(error, OSError) and error.errno in _DISK_TROUBLE:
            raise DiskTroubleError(str(error)) from error
        return Evaluation(status=Status.BUG, seed=trial.seed, worker=worker, error=traceback.format_exc())
