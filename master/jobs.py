"""A trial on its way: queued, running on a worker, lost, finished."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from results.bohb_lines import evaluation_from_info, result_line
from results.journal import encode
from results.records import Evaluation, Status, TrialResult, TrialSpec
from results.text import shortened


def trial_key(trial: TrialSpec) -> str:
    """Names a trial by its id, its budget and a digest of its configuration and seed."""
    digest = hashlib.sha256(encode([dict(trial.config), trial.seed], "trial").encode()).hexdigest()[:12]
    return f"{'_'.join(map(str, trial.config_id))}/{trial.budget}/{digest}"


@dataclass(eq=False)
class TrialJob:
    """A trial with its history.

    Attributes:
        trial: Trial, with all that a worker needs.
        model_based: True if the model proposed the configuration.
        submitted: Unix seconds at which the master queued the job.
        started: Unix seconds at which the last of its workers began the job; None before.
        finished: Unix seconds at which the job ended; None before.
        worker_name: Name of the last worker that was handed the job; None before.
        epochs: Number of epochs of the trial that are saved, as far as its workers have said.
        losses: One reason for each worker that was lost while it ran the job, since the last progress.
        returns: One reason for each worker that handed the job back, since the last progress.
        bugs: Reports of a bug, by the names of their workers.
        report: Report of the worker, unchecked; None if no worker reported.
        wire_trial: Trial in the form that goes over the wire.
        key: Name of the trial in tickets; the same in every master of the study.
    """

    trial: TrialSpec
    model_based: bool
    submitted: float
    started: float | None = None
    finished: float | None = None
    worker_name: str | None = None
    epochs: int = 0
    losses: list[str] = field(default_factory=list)
    returns: list[str] = field(default_factory=list)
    bugs: dict[str, Any] = field(default_factory=dict)
    report: Any = None
    wire_trial: Mapping[str, Any] = field(init=False)
    key: str = field(init=False)
    _epochs_at_loss: int = 0

    def __post_init__(self) -> None:
        self.wire_trial = self.trial.to_dict()
        self.key = trial_key(self.trial)

    @property
    def name(self) -> str:
        """Name of the job in messages: its configuration and its budget."""
        return f"{'_'.join(map(str, self.trial.config_id))} at {self.trial.budget} epochs"

    def note_progress(self) -> None:
        """Forgets earlier losses if the trial has got further since the last one; called before a loss is noted."""
        if self.epochs > self._epochs_at_loss:
            self.losses.clear()
            self.returns.clear()
        self._epochs_at_loss = self.epochs

    def finish(self, report: Any, now: float) -> None:
        """Takes a worker's report, or None if all its workers were lost, and the time in unix seconds."""
        self.report, self.finished = report, now

    def result(self) -> TrialResult:
        """Checks a finished job's report and returns the result; a report that makes no sense becomes a ``bug``."""
        seed = self.trial.seed
        if self.report is None:
            error = "; ".join([*self.losses, *self.returns])
            return self.result_of(Evaluation(status=Status.WORKER_LOST, seed=seed, error=error))
        try:
            result = self.result_of(evaluation_from_info(self.report, "its report"))
            encode(result_line(result), "its report")
        except Exception as error:  # whatever a report is made of, its worker made it
            message = f"{self.worker_name} on {self.name}: {shortened(str(error))}"
            return self.result_of(Evaluation(status=Status.BUG, seed=seed, worker=self.worker_name, error=message))
        return result

    def result_of(self, evaluation: Evaluation) -> TrialResult:
        """The result of a finished job whose outcome is known."""
        assert self.finished is not None, "only a finished job has a result"
        return TrialResult(
            config_id=self.trial.config_id,
            config=self.trial.config,
            model_based=self.model_based,
            budget=self.trial.budget,
            submitted=self.submitted,
            started=self.submitted if self.started is None else self.started,  # an earlier master handed it out
            finished=self.finished,
            evaluation=evaluation,
        )
