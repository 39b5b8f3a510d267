"""Making a run of a log that hpbandster's own logger wrote, so that all of this program can use it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from master.compatibility import check_same_space, checked_config
from results import journal
from results.bohb_lines import config_line, result_line
from results.reading import RunJournals, first_results, most_at_once, read_journals
from results.records import ConfigId, Proposal, Status, StudySpec, TrialResult
from results.run_directory import RunDirectory
from spaces import TunerSpace, find_config_space


@dataclass(frozen=True, kw_only=True)
class Log:
    """A log of hpbandster, read and checked.

    Attributes:
        path: Directory of the log.
        configs: Id to configuration, in the order of the proposals.
        results: Results in the order of their arrival, the first one of each configuration at each budget.
        notes: Sentences about what is left out.
    """

    path: Path
    configs: Mapping[ConfigId, Proposal]
    results: Sequence[TrialResult]
    notes: Sequence[str]

    @property
    def study(self) -> dict[str, Any]:
        """The fields of ``StudySpec`` that the results tell: the budgets and their factor, iterations, workers."""
        budgets = sorted({result.budget for result in self.results})
        ratio = round(budgets[1] / budgets[0]) if len(budgets) > 1 else 2
        return {
            "min_budget": max(1, math.floor(budgets[0])),
            "max_budget": int(budgets[-1]),
            "eta": max(2, ratio),
            "n_iterations": 1 + max(iteration for iteration, _, _ in self.configs),
            "n_workers": most_at_once(self.results),
        }

    @property
    def at_budgets(self) -> Mapping[float, int]:
        """Budget, ascending, to the number of results at it."""
        return dict(sorted(Counter(result.budget for result in self.results).items()))

    @property
    def n_failed(self) -> int:
        """Number of results without a loss."""
        return sum(result.evaluation.status is not Status.OK for result in self.results)


def read_log(path: Path, config_space: str) -> Log:
    """Reads ``configs.json``, ``results.json`` and, where there is one, ``configspace.json`` of a directory.

    A torn last line, and any other line that cannot be used, is left out; so are negative iterations, which a warm
    start of hpbandster took from an earlier run. A null result is a failure.

    Args:
        path: Directory of the log; nothing is written to it.
        config_space: Name of the configuration space that the log is of.

    Raises:
        ValueError: There is no log, or a run of this program; the log has no result; a configuration does not lie in
            the space; a loss is no error in [0, 1]; or the budgets are no search epochs.
    """
    space = find_config_space(config_space)
    if RunDirectory(path).run_json.exists():
        raise ValueError(f"{path}: this is a run already; give the directory of a log that hpbandster wrote")
    journals = read_journals(path)
    if journals.missing:
        raise ValueError(f"{path}: {' and '.join(journals.missing)} of a log of hpbandster is missing")
    if (configspace := RunDirectory(path).configspace_json).exists():
        check_same_space(configspace, space, str(configspace))
    configs = _configs(path, journals, space)
    results = [
        replace(result, config=configs[result.config_id].config)
        for result in first_results(journals.results)
        if result.config_id in configs
    ]
    _check_results(path, results)
    return Log(path=path.absolute(), configs=configs, results=results, notes=_notes(journals, len(results)))


def import_log(log: Log, path: Path, spec: StudySpec) -> RunDirectory:
    """Writes the run of a log; it appears whole or not at all.

    Args:
        log: The log.
        path: Path of the run, which must not exist.
        spec: The study that the log is of.

    Raises:
        RunExistsError: ``path`` exists.
        OSError: The run cannot be written.
    """
    lines = {
        "configs.json": [config_line(*item) for item in log.configs.items()],
        "results.json": [result_line(result) for result in log.results],
    }
    files = {name: "".join(f"{journal.encode(line, name)}\n" for line in of) for name, of in lines.items()}
    configspace = find_config_space(spec.config_space).build(spec.seed).to_serialized_dict()
    return RunDirectory.create(path, spec, configspace, files=files, imported_from=str(log.path))


def _configs(path: Path, journals: RunJournals, space: TunerSpace) -> dict[ConfigId, Proposal]:
    return {
        config_id: replace(
            proposal,
            config=checked_config(proposal.config, space, f"{path}, configs.json, configuration {list(config_id)}"),
        )
        for config_id, proposal in journals.configs.items()
        if config_id[0] >= 0
    }


def _check_results(path: Path, results: Sequence[TrialResult]) -> None:
    if not results:
        raise ValueError(f"{path}: got a log without a result, expected at least one")
    odd = [result.evaluation.loss for result in results if not 0 <= result.evaluation.loss <= 1]
    if odd:
        raise ValueError(
            f"{path}: got losses from {min(odd):.4g} to {max(odd):.4g} in {len(odd)} of {len(results)} results, "
            "expected validation errors, fractions in [0, 1]; convert them in a copy of the log"
        )
    smallest, largest = (choose(result.budget for result in results) for choose in (min, max))
    if smallest <= 0 or largest != int(largest):
        raise ValueError(
            f"{path}: got budgets from {smallest} to {largest}, expected search epochs: all above 0, the largest a "
            "whole number"
        )


def _notes(journals: RunJournals, n_taken: int) -> list[str]:
    notes = [f"line left out: {message}" for message in journals.left_out]
    n_negative = sum(result.config_id[0] < 0 for result in journals.results)
    if n_negative:
        notes.append(
            f"left out: results of negative iterations, which a warm start took from another run: {n_negative}"
        )
    n_repeated = len(journals.results) - n_negative - n_taken
    if n_repeated:
        notes.append(f"left out: further results of a configuration at the same budget: {n_repeated}")
    return notes
