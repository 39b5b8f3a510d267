"""The journal of a run, in the shape of hpbandster's result logger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from master.jobs import TrialJob
from results.records import ConfigId, TrialResult
from results.run_directory import RunDirectory


class Recorder:
    """Collects configurations and results, and appends them to the run's journal together.

    One synchronisation of the disk for all that has arrived meanwhile, rather than one for each: it takes
    milliseconds, and with many workers and short trials it would be most of the master's work.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._configs: list[tuple[ConfigId, Mapping[str, Any], bool]] = []
        self._results: list[TrialResult] = []

    def new_config(self, config_id: ConfigId, config: Mapping[str, Any], config_info: Mapping[str, Any]) -> None:
        """Takes a configuration; hpbandster's iterations call it as soon as they have one."""
        self._configs.append((config_id, config, config_info["model_based_pick"]))

    def __call__(self, job: TrialJob) -> None:
        """Takes a finished job."""
        self._results.append(job.outcome)

    def commit(self) -> None:
        """Brings all that was taken to the disk, the configurations before the results.

        Raises:
            OSError: It cannot be written; it is kept for the next attempt.
        """
        if self._configs:
            self._run.append_configs(*self._configs)
            self._configs.clear()
        if self._results:
            self._run.append_results(*self._results)
            self._results.clear()
