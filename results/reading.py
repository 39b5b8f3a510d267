"""Reading of the configurations and results of a run, which may still be going on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from results import journal
from results.bohb_lines import parse_config_line, parse_result_line
from results.records import ConfigId, Proposal, TrialResult
from results.run_directory import RunDirectory

logger = logging.getLogger("nasbohb.results")

T = TypeVar("T")


@dataclass(frozen=True)
class RunJournals:
    """Contents of the two journals of a run.

    Attributes:
        configs: Id to configuration, in the order of the proposals, with or without results.
        results: All results, in the order of their arrival. A trial has one, also if it ran again because its worker
            was lost. In a log that holds several of a trial, the first one counts for the tuner.
        left_out: One message per line that cannot be used.
        missing: Names of the missing files.
    """

    configs: Mapping[ConfigId, Proposal]
    results: Sequence[TrialResult]
    left_out: Sequence[str]
    missing: Sequence[str]


def read_journals(run: RunDirectory | Path | str) -> RunJournals:
    """Reads both journals once; leaves out lines that cannot be used, and names them.

    Args:
        run: The run, or its path. A directory that hpbandster's own logger wrote is given by its path.
    """
    files = run if isinstance(run, RunDirectory) else RunDirectory(Path(run))
    missing = [path.name for path in (files.configs_json, files.results_json) if not path.exists()]
    left_out: list[str] = []
    # Results first: the master writes a configuration before its results, so every result has its
    # configuration in what is read second, even while both files grow.
    lines = journal.read_lines(files.results_json)
    config_lines = journal.read_lines(files.configs_json)
    configs = dict(parsed for _, parsed in _usable(config_lines, files.configs_json.name, parse_config_line, left_out))
    results = []
    for where, (config_id, budget, times, evaluation) in _usable(
        lines, files.results_json.name, parse_result_line, left_out
    ):
        proposal = configs.get(config_id)
        if proposal is None:
            left_out.append(f"{where}: got the configuration {list(config_id)}, expected one from configs.json")
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
    """Reads the results; warns of missing files and of lines that cannot be used. See ``read_journals``."""
    journals = read_journals(run)
    if journals.missing:
        logger.warning("%s: missing: %s", run, ", ".join(journals.missing))
    if journals.left_out:
        logger.warning("left out %d lines, the first: %s", len(journals.left_out), journals.left_out[0])
    return list(journals.results)


def first_results(results: Iterable[TrialResult]) -> list[TrialResult]:
    """Leaves out further results of a configuration at a budget; the first one counts, in the order of arrival."""
    first: dict[tuple[ConfigId, float], TrialResult] = {}
    for result in results:
        first.setdefault((result.config_id, result.budget), result)
    return list(first.values())


def most_at_once(results: Sequence[TrialResult]) -> int:
    """The largest number of evaluations that ran at the same time; 1 without any."""
    events = sorted([(r.finished, -1) for r in results] + [(r.started, 1) for r in results])
    running = most = 0
    for _, change in events:
        running += change
        most = max(most, running)
    return max(most, 1)


def _usable(
    lines: Iterable[tuple[int, bytes]], name: str, parse: Callable[[Any, str], T], left_out: list[str]
) -> Iterator[tuple[str, T]]:
    """Yields the place and the parsed content of each usable line; puts a message on each other into ``left_out``."""
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
