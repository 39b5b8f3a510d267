"""The journal of a run, as the master writes it."""

from __future__ import annotations

from results.records import ConfigId, Proposal, TrialResult
from results.run_directory import RunDirectory


class Recorder:
    """Collects configurations and results, and appends them to the run's journal together.

    One synchronisation of the disk for all that has arrived meanwhile, rather than one for each: it takes
    milliseconds, and with many workers and short trials it would be most of the master's work.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._known: set[ConfigId] = set()
        self._configs: list[tuple[ConfigId, Proposal]] = []
        self._results: list[TrialResult] = []

    def take_config(self, config_id: ConfigId, proposal: Proposal) -> None:
        """Takes a configuration; without effect if it was taken before, at a smaller budget."""
        if config_id not in self._known:
            self._known.add(config_id)
            self._configs.append((config_id, proposal))

    def take_result(self, result: TrialResult) -> None:
        """Takes a result, whose configuration was taken before."""
        self._results.append(result)

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
