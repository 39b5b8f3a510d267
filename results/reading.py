"""Reading a run's results, finished or still going on."""

from __future__ import annotations

from pathlib import Path

from results import journal
from results.bohb_lines import parse_config_line, parse_result_line
from results.records import TrialResult
from results.run_directory import RunDirectory


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
    files = run if isinstance(run, RunDirectory) else RunDirectory(Path(run))
    # Results first: the master writes a configuration before its results, so every result has its
    # configuration in what is read second, even while both files grow.
    result_lines = journal.read(files.results_json)
    configs = {}
    for number, line in enumerate(journal.read(files.configs_json), start=1):
        config_id, config, model_based = parse_config_line(line, f"{files.configs_json}, line {number}")
        configs[config_id] = (config, model_based)
    results = []
    for number, line in enumerate(result_lines, start=1):
        where = f"{files.results_json}, line {number}"
        config_id, budget, times, evaluation = parse_result_line(line, where)
        if config_id not in configs:
            raise ValueError(f"{where}: got the configuration {list(config_id)}, expected one of {files.configs_json}")
        config, model_based = configs[config_id]
        results.append(TrialResult(config_id, config, model_based, budget, evaluation=evaluation, **times))
    return results
