"""Reading a run's configurations and results, finished or still going on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from results import journal
from results.bohb_lines import parse_config_line, parse_result_line
from results.records import ConfigId, TrialResult, Value
from results.run_directory import RunDirectory

logger = logging.getLogger("nasbohb.results")

T = TypeVar("T")


@dataclass(frozen=True)
class Proposal:
    """A configuration that the tuner proposed.

    Attributes:
        config: Hyperparameter to value.
        model_based: Whether the model proposed it, or chance.
    """

    config: Mapping[str, Value]
    model_based: bool


@dataclass(frozen=True)
class RunJournals:
    """All that the two journals of a run hold.

    Attributes:
        configs: Id to configuration, in the order in which they were proposed, with results or not yet.
        results: All results, in the order in which they arrived. A trial that was run again, because its worker
            was lost, has several; the first one counts for the tuner, but each one cost its time.
        left_out: One message for each line that cannot be used.
        missing: Names of the files that are missing.
    """

    configs: Mapping[ConfigId, Proposal]
    results: Sequence[TrialResult]
    left_out: Sequence[str]
    missing: Sequence[str]


def read_journals(run: RunDirectory | Path | str) -> RunJournals:
    """Reads both journals once; what cannot be used is left out and named.

    Args:
        run: The run, or its path; of a directory that hpbandster's own logger wrote, the path.
    """
    files = run if isinstance(run, RunDirectory) else RunDirectory(Path(run))
    missing = [path.name for path in (files.configs_json, files.results_json) if not path.exists()]
    left_out: list[str] = []
    # Results first: the master writes a configuration before its results, so every result has its
    # configuration in what is read second, even while both files grow.
    lines = journal.read_lines(files.results_json)
    configs = {
        config_id: Proposal(config, model_based)
        for _, (config_id, config, model_based) in _usable(
            journal.read_lines(files.configs_json), files.configs_json.name, parse_config_line, left_out
        )
    }
    results = []
    for where, (config_id, budget, times, evaluation) in _usable(
        lines, files.results_json.name, parse_result_line, left_out
    ):
        proposal = configs.get(config_id)
        if proposal is None:
            left_out.append(f"{where}: got the configuration {list(config_id)}, expected one of configs.json")
            continue
        result = TrialResult(
            config_id=config_id,
            config=proposal.config,
            model_based=proposal.model_based,
            budget=budget,
            evaluation=evaluation,
            **times,
        )
        results.append(result)
    return RunJournals(configs, results, left_out, missing)


def read_results(run: RunDirectory | Path | str) -> list[TrialResult]:
    """The results of ``read_journals``; a warning says which files are missing, and how many lines are left out."""
    journals = read_journals(run)
    if journals.missing:
        logger.warning("%s: missing: %s", run, ", ".join(journals.missing))
    if journals.left_out:
        logger.warning("left out %d lines, the first: %s", len(journals.left_out), journals.left_out[0])
    return list(journals.results)


def _usable(
    lines: Iterable[tuple[int, bytes]], name: str, parse: Callable[[Any, str], T], left_out: list[str]
) -> Iterator[tuple[str, T]]:
    """Where each line stands and its parsed content; messages on the other lines go to ``left_out``."""
    for number, line in lines:
        where = f"{name}, line {number}"
        try:
            if not line.strip():
                raise ValueError(f"{where}: got a blank line, expected a JSON array")
            parsed = parse(journal.decode(line, where), where)
        except ValueError as error:
            left_out.append(str(error))
        else:
            yield where, parsed
