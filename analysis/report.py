"""The report of a run: its summary and trajectories as files in ``report/``.

It can be made at any time, of a run that has not begun, goes on, or has ended; making it again replaces it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from analysis.plots import render, trajectory_figure
from analysis.summary import Summary, summarise
from analysis.summary_text import describe_study, summary_text
from analysis.trajectory import IncumbentMode, TimeAxis, Trajectory, incumbent_trajectory
from nas.tabular.table import Table
from results.atomic_file import write_atomically
from results.journal import encode
from results.reading import read_configs, read_results
from results.records import StudySpec, TrialResult
from results.run_directory import RunDirectory
from spaces import SEARCH_SPACES

CSV_HEADER = (
    "axis",
    "mode",
    "time_s",
    "iteration",
    "stage",
    "index",
    "budget",
    "validation_error",
    "test_error",
    "test_regret",
)


@dataclass(frozen=True)
class Report:
    """What ``analyze`` found and wrote.

    Attributes:
        spec: The study.
        summary: Its numbers.
        best_test_error: The lowest in the search space by the table; None without a table.
        trajectories: One for each time axis and incumbent mode.
        text: The summary for people, as in ``summary.txt``.
        files: What was written, absolute paths.
    """

    spec: StudySpec
    summary: Summary
    best_test_error: float | None
    trajectories: tuple[Trajectory, ...]
    text: str
    files: tuple[Path, ...]


def analyze(path: Path | str, table: Table | None = None) -> Report:
    """Analyses a run and writes ``summary.txt``, ``summary.json``, ``trajectory.csv`` and its plot.

    Args:
        path: The run's directory.
        table: The study's table, from which the regret is measured; None: no regret.

    Raises:
        ValueError: There is no run at ``path``, a file of it is damaged, or the table does not fit the study.
        OSError: The report cannot be written.
    """
    run = RunDirectory.open(path)
    spec = run.spec()
    results = read_results(run)
    best_test_error = None if table is None else _best_test_error(spec, table)
    summary = summarise(results, spec, list(read_configs(run)))
    trajectories = compute_trajectories(results, spec, best_test_error)
    text = f"{summary_text(spec, summary, best_test_error)}\n\nRun:    {run.path}\nReport: {run.report}"
    contents: dict[str, str | bytes] = {
        "summary.txt": text + "\n",
        "summary.json": _summary_json(run, summary, best_test_error),
        "trajectory.csv": trajectories_csv(trajectories),
        **_plots(spec, summary, trajectories, best_test_error),
    }
    run.report.mkdir(exist_ok=True)
    for name, content in contents.items():
        write_atomically(run.report / name, content)
    files = tuple(run.report / name for name in contents)
    return Report(spec, summary, best_test_error, trajectories, text, files)


def compute_trajectories(
    results: Sequence[TrialResult], spec: StudySpec, best_test_error: float | None
) -> tuple[Trajectory, ...]:
    """The trajectories of a study on every time axis in every incumbent mode."""
    return tuple(
        incumbent_trajectory(
            results,
            axis,
            mode,
            n_workers=spec.n_workers,
            largest_budget=spec.max_budget,
            best_test_error=best_test_error,
        )
        for axis in TimeAxis
        for mode in IncumbentMode
    )


def trajectories_csv(trajectories: Iterable[Trajectory]) -> str:
    """A line for each incumbent, see ``CSV_HEADER``; it holds from ``time_s`` on until the next line's."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for trajectory in trajectories:
        for timed in trajectory.incumbents:
            result = timed.result
            errors = (result.evaluation.validation_error, result.evaluation.test_error, timed.test_regret)
            writer.writerow(
                [trajectory.axis.value, trajectory.mode.value, timed.end_s, *result.config_id, result.budget, *errors]
            )
    return stream.getvalue()


def _plots(
    spec: StudySpec, summary: Summary, trajectories: Sequence[Trajectory], best_test_error: float | None
) -> dict[str, bytes]:
    """File name to content: one column with one worker, else the serial and the parallel time axis."""
    axes = (TimeAxis.SERIAL,) if spec.n_workers == 1 else (TimeAxis.SERIAL, TimeAxis.PARALLEL)
    figure = trajectory_figure(
        [t for t in trajectories if t.axis in axes and t.mode is IncumbentMode.ANY_BUDGET],
        title=f"{spec.run_id}: {describe_study(spec)}",
        n_workers=spec.n_workers,
        default=summary.comparisons[0].default if summary.comparisons else None,
        best_test_error=best_test_error,
    )
    return {f"trajectory.{kind}": render(figure, kind) for kind in ("png", "pdf")}


def _summary_json(run: RunDirectory, summary: Summary, best_test_error: float | None) -> str:
    content: dict[str, Any] = {
        "study": run.describe().to_dict(),
        "best_test_error": best_test_error,
        **msgspec.to_builtins(summary, str_keys=True),
    }
    return encode(content, "summary.json", indent=2) + "\n"


def _best_test_error(spec: StudySpec, table: Table) -> float:
    if spec.search_space not in SEARCH_SPACES:
        raise ValueError(
            f"run.json, search_space: got {spec.search_space!r}, expected one of {sorted(SEARCH_SPACES)}; "
            "use the version of the program that ran the study"
        )
    return table.best_test_error(SEARCH_SPACES[spec.search_space], spec.table_epochs)
