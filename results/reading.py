"""Reading a run's configurations and results, finished or still going on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from results import journal
from results.bohb_lines import parse_config_line, parse_result_line
from results.records import ConfigId, TrialResult, Value
from results.run_directory import RunDirectory


@dataclass(frozen=True)
class Proposal:
    """A configuration that the tuner proposed.

    Attributes:
        config: Hyperparameter to value.
        model_based: Whether the model proposed it, or chance.
    """

    config: Mapping[str, Value]
    model_based: bool


def read_configs(run: RunDirectory | Path | str) -> dict[ConfigId, Proposal]:
    """The configurations of a run in the order in which they were proposed, with results or not yet.

    Raises:
        ValueError: A line has another shape (named with its number).
    """
    path = _files(run).configs_json
    configs = {}
    for number, line in enumerate(journal.read(path), start=1):
        config_id, config, model_based = parse_config_line(line, f"{path}, line {number}")
        configs[config_id] = Proposal(config, model_based)
    return configs


def read_results(run: RunDirectory | Path | str) -> list[TrialResult]:
    """All results of a run, in the order in which they arrived.

    A trial that was run again, because its worker was lost, has several results; the last one counts for
    the tuner, but each one cost its time.

    Args:
        run: The run, or its path; of a directory that hpbandster's own logger wrote, the path.

    Raises:
        ValueError: A line has another shape (named with its number), or a result's configuration is in no
            line of ``configs.json``.
    """
    files = _files(run)
    # Results first: the master writes a configuration before its results, so every result has its
    # configuration in what is read second, even while both files grow.
    lines = journal.read(files.results_json)
    configs = read_configs(files)
    results = []
    for number, line in enumerate(lines, start=1):
        where = f"{files.results_json}, line {number}"
        config_id, budget, times, evaluation = parse_result_line(line, where)
        if config_id not in configs:
            raise ValueError(f"{where}: got the configuration {list(config_id)}, expected one of {files.configs_json}")
        proposal = configs[config_id]
        results.append(
            TrialResult(
                config_id=config_id,
                config=proposal.config,
                model_based=proposal.model_based,
                budget=budget,
                evaluation=evaluation,
                **times,
            )
        )
    return results


def _files(run: RunDirectory | Path | str) -> RunDirectory:
    return run if isinstance(run, RunDirectory) else RunDirectory(Path(run))
