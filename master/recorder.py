"""The journal of a run, in the shape of hpbandster's result logger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from master.jobs import TrialJob
from results.records import ConfigId
from results.run_directory import RunDirectory


class Recorder:
    """Appends each configuration and each result to the run's journal before anybody learns of it."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run

    def new_config(self, config_id: ConfigId, config: Mapping[str, Any], config_info: Mapping[str, Any]) -> None:
        """Records a configuration; hpbandster's iterations call it as soon as they have one."""
        self._run.append_config(config_id, config, config_info["model_based_pick"])

    def __call__(self, job: TrialJob) -> None:
        """Records a finished job; it is on disk on return."""
        self._run.append_result(job.outcome)
