"""The incumbent of a run over time, with all evaluations, the default configuration and the best cell.

Colours are distinct for the colour-blind (Okabe and Ito 2008; viridis), and budgets differ by marker too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.figures.figure import the_only
from analysis.load import LoadedRun
from analysis.summary import compare_with_default
from analysis.trajectory import Axis, PlacedResult, Trajectory, place, time_unit, trajectory_of
from results.incumbents import IncumbentMode
from results.records import Status, TrialResult

HEADER = (
    "axis",
    "mode",
    "x",
    "iteration",
    "stage",
    "index",
    "budget",
    "validation_error",
    "test_error",
    "test_regret",
)
_MARKERS = "osD^vPX*"
_INCUMBENT, _DEFAULT, _BEST, _FAILED = "#D55E00", "#000000", "#009E73", "#CC79A7"
_AXIS_TITLES = {
    Axis.SERIAL: "Simulated time, one worker",
    Axis.PARALLEL: "Simulated time, {n_workers} workers",
    Axis.WALL_CLOCK: "Wall-clock time",
}
#: Above this ratio of the last time to the first incumbent's, time is drawn on a logarithmic axis.
_LOG_TIME_FROM = 30.0
#: Above this ratio of the largest error to the smallest, errors are drawn on a logarithmic axis.
_LOG_ERRORS_FROM = 4.0


@dataclass(frozen=True, kw_only=True)
class TrajectoryData:
    """The incumbents of a run over time.

    Attributes:
        title: The run in one line.
        n_workers: Number of workers of the parallel time axis.
        trajectories: One for each time axis and incumbent mode.
        default: Best evaluation of the default configuration; None where it has none.
        best_test_error: Lowest test error in the search space by the table; None where it is not known.
    """

    title: str
    n_workers: int
    trajectories: tuple[Trajectory, ...]
    default: TrialResult | None
    best_test_error: float | None


def compute(runs: Sequence[LoadedRun]) -> TrajectoryData:
    """The trajectories of one run on every axis in every incumbent mode."""
    run = the_only(runs)
    trajectories = tuple(
        trajectory_of(placed, axis, mode, largest_budget=run.largest_budget, best_test_error=run.best_test_error)
        for axis in Axis
        for placed in [place(run.results, axis, run.n_workers)]
        for mode in IncumbentMode
    )
    comparisons = compare_with_default(run.results, run.default_ids)
    return TrajectoryData(
        title=run.title,
        n_workers=run.n_workers,
        trajectories=trajectories,
        default=comparisons[0].default if comparisons else None,
        best_test_error=run.best_test_error,
    )


def rows(data: TrajectoryData) -> Iterator[Sequence[object]]:
    """A row for each incumbent; it holds from ``x`` on (seconds, evaluations or epochs) until the next row's."""
    yield HEADER
    for trajectory in data.trajectories:
        for timed in trajectory.incumbents:
            result = timed.result
            errors = (result.evaluation.validation_error, result.evaluation.test_error, timed.test_regret)
            yield trajectory.axis.value, trajectory.mode.value, timed.end, *result.config_id, result.budget, *errors


def draw(data: TrajectoryData) -> Figure:
    """The incumbent of any budget: validation error above, test error below, a column for each simulated time axis."""
    axes = (Axis.SERIAL,) if data.n_workers == 1 else (Axis.SERIAL, Axis.PARALLEL)
    shown = [t for t in data.trajectories if t.axis in axes and t.mode is IncumbentMode.ANY_BUDGET]
    figure = Figure(figsize=(9.0 if len(shown) == 1 else 5.6 * len(shown), 7.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(shown), sharex="col", sharey="row", squeeze=False)
    unit, unit_s = time_unit(max(trajectory.end for trajectory in shown))
    for column, trajectory in enumerate(shown):
        top, bottom = grid[0][column], grid[1][column]
        _draw_errors(top, trajectory, "validation_error", unit_s, data.default)
        _draw_errors(bottom, trajectory, "test_error", unit_s, data.default)
        if data.best_test_error is not None:
            bottom.axhline(
                data.best_test_error, color=_BEST, linestyle=":", linewidth=1.8, label="lowest in the search space"
            )
        top.set_title(_AXIS_TITLES[trajectory.axis].format(n_workers=data.n_workers), fontsize=11)
        _scale_time(bottom, trajectory)
        bottom.set_xlabel(f"Time [{unit}]")
    grid[0][0].set_ylabel("Validation error (chooses the incumbent)")
    grid[1][0].set_ylabel("Test error (only reported)")
    figure.suptitle(data.title, fontsize=11)
    _add_legend(figure, [grid[0][0], grid[1][0]])
    return figure


def _draw_errors(axes: Axes, trajectory: Trajectory, error: str, unit_s: float, default: TrialResult | None) -> None:
    """The evaluations as dots, the incumbent as steps and the default configuration as a level."""
    shown = [e for e in (_error_of(timed.result, error) for timed in trajectory.evaluations) if not isnan(e)]
    if not shown:
        why = f"no {error.replace('_', ' ')} is known" if trajectory.evaluations else "no evaluation has ended yet"
        axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes)
    _draw_evaluations(axes, trajectory.evaluations, error, unit_s)
    steps = [(timed.end / unit_s, _error_of(timed.result, error)) for timed in trajectory.incumbents]
    if steps:
        steps.append((trajectory.end / unit_s, steps[-1][1]))
        times, errors = zip(*steps, strict=True)
        axes.step(times, errors, where="post", color=_INCUMBENT, linewidth=2.2, label="incumbent", zorder=3)
    if default is not None:
        level = _error_of(default, error)
        axes.axhline(
            level,
            color=_DEFAULT,
            linestyle="--",
            linewidth=1.3,
            label=f"default configuration, {default.budget:g} epochs",
            zorder=2,
        )
    if shown and max(shown) > _LOG_ERRORS_FROM * min(shown) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def _draw_evaluations(axes: Axes, evaluations: Sequence[PlacedResult], error: str, unit_s: float) -> None:
    """A dot for each evaluation, by budget; a cross at the upper edge for each that failed."""
    budgets = sorted({timed.result.budget for timed in evaluations})
    shades = colormaps["viridis"].reversed().resampled(max(2, len(budgets)) + 1)
    for position, budget in enumerate(budgets):
        of_budget = [timed for timed in evaluations if timed.result.budget == budget]
        axes.plot(
            [timed.end / unit_s for timed in of_budget],
            [_error_of(timed.result, error) for timed in of_budget],
            linestyle="none",
            marker=_MARKERS[position % len(_MARKERS)],
            markersize=5,
            color=shades(position + 1),
            alpha=0.65,
            markeredgewidth=0,
            label=f"evaluation, {budget:g} epochs",
        )
    failed = [timed.end / unit_s for timed in evaluations if timed.result.evaluation.status is not Status.OK]
    if failed:
        upper_edge = axes.get_xaxis_transform()
        axes.plot(
            failed, [0.98] * len(failed), "x", color=_FAILED, transform=upper_edge, label="failed evaluation", zorder=3
        )


def _error_of(result: TrialResult, error: str) -> float:
    value = getattr(result.evaluation, error)
    return float("nan") if value is None else float(value)


def _scale_time(axes: Axes, trajectory: Trajectory) -> None:
    """A logarithmic axis where the first incumbent came early in the whole duration."""
    if trajectory.incumbents and trajectory.end > _LOG_TIME_FROM * trajectory.incumbents[0].end > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _add_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    entries = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if entries:
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
