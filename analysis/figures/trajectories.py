"""The test regret of several runs over time, or over another cost: seeds as one line with a band, methods beside.

Problems stand in columns, on a shared scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.aggregation import Aggregate, aggregate
from analysis.contest import Choices, Contest
from analysis.figures.figure import broken, contests_of_several
from analysis.figures.scales import set_places
from analysis.figures.styles import add_grid, line_style
from analysis.load import LoadedRun
from analysis.trajectory import Axis, time_unit

#: Largest number of methods whose legend stands in the panel; of more it stands below, and bands are paler.
_IN_THE_PANEL = 4
_AXIS_NAMES = {
    Axis.EVALUATIONS: "Evaluations",
    Axis.EPOCHS: "Search epochs, summed over evaluations",
    Axis.SERIAL: "Simulated time, one worker",
    Axis.PARALLEL: "Simulated time, the study's workers",
    Axis.WALL_CLOCK: "Wall-clock time",
}


@dataclass(frozen=True, kw_only=True)
class TrajectoriesData:
    """Methods over an axis.

    Attributes:
        choices: What of the runs is shown.
        contests: The methods on each problem.
        aggregates: For each contest, the aggregate of each method.
    """

    choices: Choices
    contests: tuple[Contest, ...]
    aggregates: tuple[tuple[Aggregate, ...], ...]


def compute(runs: Sequence[LoadedRun]) -> TrajectoriesData:
    """The regret over one worker's simulated time, with mean and standard deviation over the seeds."""
    choices = Choices()
    return trajectories_of(contests_of_several(runs, choices), choices)


def trajectories_of(contests: Sequence[Contest], choices: Choices) -> TrajectoriesData:
    """Aggregates the runs of each method."""
    aggregates = tuple(
        tuple(aggregate(list(method.curves.values()), choices.spread) for method in contest.methods)
        for contest in contests
    )
    return TrajectoriesData(choices=choices, contests=tuple(contests), aggregates=aggregates)


def rows(data: TrajectoriesData) -> Iterator[Sequence[object]]:
    """A row for each step of each method; it holds from ``x`` (seconds, evaluations or epochs) on."""
    yield "problem", "method", "axis", "x", "center", "lower", "upper", "spread", "runs", "ended"
    for contest, aggregates in zip(data.contests, data.aggregates, strict=True):
        for method, each in zip(contest.methods, aggregates, strict=True):
            facts = contest.problem.title, method.name, data.choices.axis.value
            steps = zip(each.x.tolist(), each.center.tolist(), each.lower, each.upper, each.n_ended, strict=True)
            for x, center, lower, upper, n_ended in steps:
                band = (None, None) if np.isnan(lower) else (float(lower), float(upper))
                yield *facts, x, center, *band, each.spread.value, each.n, int(n_ended)


def draw(data: TrajectoriesData) -> Figure:
    """A panel for each problem; both axes are logarithmic."""
    most = max(len(contest.methods) for contest in data.contests)
    n_lines = max(sum(broken(m.counted).count("\n") + 1 for m in contest.methods) for contest in data.contests)
    n = len(data.contests)
    figure = Figure(
        figsize=(max(7.0, 5.2 * n), 5.6 + (0.13 * n_lines if most > _IN_THE_PANEL else 0)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, n, sharey=True, squeeze=False)[0]
    axis = data.choices.axis
    last = max(each.x[-1] for aggregates in data.aggregates for each in aggregates)
    unit, size = time_unit(last) if axis.is_time else ("", 1.0)
    shade = 0.15 if most <= _IN_THE_PANEL else 0.07
    names = list(dict.fromkeys(method.name for contest in data.contests for method in contest.methods))
    for axes, contest, aggregates in zip(panels, data.contests, data.aggregates, strict=True):
        for method, each in zip(contest.methods, aggregates, strict=True):
            _draw_method(axes, each, broken(method.counted), line_style(names.index(method.name)), size, shade)
        axes.set_title(contest.problem.title, fontsize=9.5)
        axes.set_xlabel(f"{_AXIS_NAMES[axis]} [{unit}]" if unit else _AXIS_NAMES[axis])
        set_places(axes, "x", [each.x / size for each in aggregates])
        columns = 1 if len(contest.methods) <= _IN_THE_PANEL else 2
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12)} if columns > 1 else {}
        title = data.choices.spread.words
        # One for each panel, because the numbers of runs differ between problems.
        axes.legend(title=title, title_fontsize=8, fontsize=8, frameon=False, ncols=columns, **below)
    add_grid(panels)
    set_places(panels[0], "y", [each.center for aggregates in data.aggregates for each in aggregates])
    panels[0].set_ylabel(data.choices.regret.label, fontsize=9)
    return figure


def _draw_method(axes: Axes, each: Aggregate, label: str, style: dict[str, Any], size: float, shade: float) -> None:
    """The centre as steps, and the band where there are several runs."""
    x = each.x / size
    axes.step(
        x,
        each.center,
        where="post",
        **style,
        markevery=max(1, len(x) // 6),
        markersize=4.5,
        linewidth=1.8,
        label=label,
        zorder=3,
    )
    if each.n > 1:
        axes.fill_between(x, each.lower, each.upper, step="post", color=str(style["color"]), alpha=shade, linewidth=0)
