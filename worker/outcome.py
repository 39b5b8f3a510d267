"""From whatever an objective does to an ``Evaluation`` that can go over the wire and into the journal."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from results.bohb_lines import evaluation_from_info, evaluation_to_info
from results.epoch import EpochRecord
from results.journal import encode
from results.records import Evaluation, Status, TrialSpec


class Objective(Protocol):
    """What a worker evaluates: a trial, in a directory of its own, to an outcome."""

    def __call__(
        self,
        trial: TrialSpec,
        directory: Path,
        on_epoch: Callable[[EpochRecord], None] | None = None,
        worker: str | None = None,
    ) -> Evaluation:
        """Runs the trial.

        Args:
            trial: What to run.
            directory: Where its files belong; it may not exist yet.
            on_epoch: To be called after each epoch; may raise ``TrialAbandonedError``, which must pass.
            worker: The worker's name, for the record.
        """


class TrialAbandonedError(BaseException):
    """The trial is somebody else's by now, or the worker ends.

    No ``Exception``, for the same reason as ``KeyboardInterrupt``: nothing on its way may take it for a
    failure of the trial.
    """


def contained(
    objective: Objective,
    trial: TrialSpec,
    directory: Path,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    worker: str | None = None,
) -> Evaluation:
    """What the objective answers, in built-in types; any exception, and any other answer, becomes a ``bug``.

    A bug keeps its traceback.  It is never turned into a large loss that the model would learn.
    """
    try:
        evaluation = objective(trial, directory, on_epoch, worker)
        if not isinstance(evaluation, Evaluation):
            raise TypeError(f"the objective: got {evaluation!r} from it, expected an Evaluation")
        info = evaluation_to_info(evaluation)
        encode(info, "the objective's answer")  # refuses what the journal cannot hold: infinities
        return evaluation_from_info(info, "the objective's answer")
    except Exception:  # the one broad handler: whatever went wrong is data, with its traceback
        return Evaluation(status=Status.BUG, seed=trial.seed, worker=worker, error=traceback.format_exc())
