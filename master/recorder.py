"""The recorder, with which the master writes the journal of a run."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from results import journal
from results.bohb_lines import config_line, result_line
from results.journal import Journal
from results.records import ConfigId, Proposal, TrialResult
from results.run_directory import RunDirectory


class Recorder:
    """Collects configurations and results, and appends them to the run's journal together, as a context manager.

    All that has arrived meanwhile shares one synchronisation of the disk, which takes milliseconds.  With one per
    result, many workers and short trials, synchronisation would be most of the master's work.

    Args:
        run: The run, whose journals stay open; nothing else may append to them.
        known: Configurations that the journal holds already.
    """

    def __init__(self, run: RunDirectory, known: Collection[ConfigId] = ()) -> None:
        self._run = run
        self._known = set(known)
        self._configs: list[tuple[ConfigId, Proposal]] = []
        self._results: list[TrialResult] = []
        self._configs_json = Journal(run.configs_json)
        self._results_json = Journal(run.results_json)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exception: object) -> None:
        self._configs_json.close()
        self._results_json.close()

    @property
    def n_unwritten(self) -> int:
        """Number of results that were taken and are not on disk yet."""
        return len(self._results)

    def take_config(self, config_id: ConfigId, proposal: Proposal) -> None:
        """Takes a configuration; has no effect if it was taken before, at a smaller budget."""
        if config_id not in self._known:
            self._known.add(config_id)
            self._configs.append((config_id, proposal))

    def take_result(self, result: TrialResult) -> None:
        """Takes a result, whose configuration was taken before."""
        self._results.append(result)

    def commit(self) -> None:
        """Brings all that was taken to the disk, the configurations before the results.

        Raises:
            JournalGoneError: The run's directory is not at its path any more.
            OSError: Writing failed; what is not written yet is kept for the next attempt.
        """
        if self._configs:
            self._configs_json.append(*(config_line(*config) for config in self._configs))
            self._configs.clear()
        if self._results:
            self._results_json.append(*(result_line(result) for result in self._results))
            self._results.clear()

    def check(self) -> None:
        """Raises ``JournalGoneError`` if the run's directory is not at its path any more."""
        self._results_json.check()

    def write_late(self, report: dict[str, Any]) -> None:
        """Appends a second report of a trial to ``late.jsonl``; only the first one counts.

        Raises:
            OSError: Writing failed.
        """
        journal.append(self._run.late_jsonl, report)
