"""The bridge between hpbandster's iterations and our sampler."""

from __future__ import annotations

from typing import Any

from hpbandster.core.base_config_generator import base_config_generator

from master.jobs import TrialJob
from master.kde import KdeSampler


class Proposals(base_config_generator):
    """hpbandster's configuration generator, made of a sampler."""

    def __init__(self, sampler: KdeSampler) -> None:
        super().__init__()
        self._sampler = sampler

    def get_config(self, budget: float) -> tuple[dict[str, Any], dict[str, bool]]:
        """The next configuration in built-in types, and whether the model proposed it."""
        config, model_based = self._sampler.propose()
        return config, {"model_based_pick": model_based}

    def new_result(self, job: TrialJob, update_model: bool = True) -> None:
        """Learns a finished job, unless its failure says nothing about the configuration."""
        super().new_result(job, update_model)
        evaluation = job.outcome.evaluation
        if evaluation.status.informs_model:
            self._sampler.observe(job.kwargs["config"], job.kwargs["budget"], evaluation.loss)
