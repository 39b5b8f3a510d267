"""A trial on its way: queued, running on a worker, lost, finished."""

from __future__ import annotations

from typing import Any

from hpbandster.core.dispatcher import Job

from results.bohb_lines import evaluation_from_info, evaluation_to_info, result_line
from results.journal import encode
from results.records import Evaluation, Status, TrialResult, TrialSpec


class TrialJob(Job):
    """hpbandster's job, with what it lacks: the whole trial, the losses of its workers, a checked outcome.

    Attributes:
        trial: All that a worker needs.
        model_based: Whether the model proposed the configuration.
        losses: Why each worker that was lost while it ran the job was lost.
        report: What the worker reported, unchecked; None while there is no report.
    """

    def __init__(self, trial: TrialSpec, model_based: bool) -> None:
        super().__init__(trial.config_id, config=trial.config, budget=trial.budget)
        self.trial = trial
        self.wire_trial = trial.to_dict()
        self.model_based = model_based
        self.losses: list[str] = []
        self.report: Any = None
        self._outcome: TrialResult | None = None

    @property
    def name(self) -> str:
        """What messages call it: its configuration and its budget."""
        return f"{'_'.join(map(str, self.trial.config_id))} at {self.trial.budget} epochs"

    @property
    def outcome(self) -> TrialResult:
        """The checked outcome, once the job has finished; the first call sets what hpbandster reads."""
        if self._outcome is None:
            evaluation = self._check_report()
            self._outcome = self._with(evaluation)
            self.result = {"loss": evaluation.loss, "info": evaluation_to_info(evaluation)}
            self.exception = evaluation.error
        return self._outcome

    def _check_report(self) -> Evaluation:
        """The worker's report as an evaluation; what is no evaluation is a bug of the worker, not a hang."""
        seed = self.trial.seed
        if self.report is None:
            return Evaluation(status=Status.WORKER_LOST, seed=seed, error="; ".join(self.losses))
        try:
            evaluation = evaluation_from_info(self.report, "its report")
            encode(result_line(self._with(evaluation)), "its report")
        except (ValueError, TypeError) as error:
            message = f"{self.worker_name} on {self.name}: {error}"
            return Evaluation(status=Status.BUG, seed=seed, worker=self.worker_name, error=message)
        return evaluation

    def _with(self, evaluation: Evaluation) -> TrialResult:
        trial = self.trial
        return TrialResult(
            config_id=trial.config_id,
            config=trial.config,
            model_based=self.model_based,
            budget=trial.budget,
            evaluation=evaluation,
            **self.timestamps,
        )
