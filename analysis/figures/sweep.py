"""Searches over the values of one hyperparameter: test regret of the found cell above, one-shot error below.

A line is an optimizer, with the mean over the seeds and the standard deviation as a bar; a dot is one search at its
last epoch. Columns are search spaces.

Source: paper, Figures 4 and 9 to 13, whose hyperparameters are the L2 regularisation and the cutout probability; the
figure ``anytime`` shows the same searches epoch by epoch, as the paper does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from analysis.figures.figure import DoesNotApplyError, add_title
from analysis.figures.styles import add_grid, add_line_legend, line_style, scale_errors
from analysis.load import LoadedRun
from analysis.search_groups import Group, TestErrors, groups_of, mean_and_spread, test_errors_of, value_text
from analysis.searches import varying
from results.records import Value

#: Above this ratio of the largest value to the smallest, values are drawn on a logarithmic axis.
_LOG_FROM = 20.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """The searches of one optimizer in one space at one value.

    Attributes:
        space: Search space.
        optimizer: One-shot optimizer.
        value: Value of the hyperparameter.
        test: Test regret (or error) of the cell that each search found; None where the table lacks it.
        one_shot: One-shot validation error of each search at its end.
    """

    space: str
    optimizer: str
    value: Value | None
    test: tuple[float | None, ...]
    one_shot: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SweepData:
    """The sweep.

    Attributes:
        titles: Each run in one line.
        name: Hyperparameter that varies.
        test_name: Name of the axis of test errors; None where no table was asked.
        points: By space, optimizer and value.
    """

    titles: tuple[str, ...]
    name: str
    test_name: str | None
    points: tuple[Point, ...]


def compute(runs: Sequence[LoadedRun]) -> SweepData:
    """The ends of all searches, by the values of the one hyperparameter that varies."""
    names = varying([search for run in runs for search in run.searches])
    if len(names) != 1:
        what = ", ".join(names) if names else "none"
        raise DoesNotApplyError(f"it shows searches in which one hyperparameter varies, and here vary: {what}")
    groups = [group for group in groups_of(runs) if all(names[0] in s.settings for s in group.searches)]
    errors = test_errors_of(runs, groups)
    return SweepData(
        titles=tuple(run.title for run in runs),
        name=names[0],
        test_name=None if errors is None else errors.name,
        points=tuple(_point(group, names[0], errors) for group in groups),
    )


def _point(group: Group, name: str, errors: TestErrors | None) -> Point:
    ends = [search.epochs[-1] for search in group.searches]
    return Point(
        space=group.space,
        optimizer=group.optimizer,
        value=group.searches[0].settings[name],
        test=tuple(None if errors is None else errors.of(group.space, end) for end in ends),
        one_shot=tuple(end.one_shot_validation_error for end in ends),
    )


def rows(data: SweepData) -> Iterator[Sequence[object]]:
    """A row for each search."""
    test = "test_regret" if data.test_name and "regret" in data.test_name else "test_error"
    yield "search_space", "optimizer", data.name, test, "one_shot_validation_error"
    for point in data.points:
        for pair in zip(point.test, point.one_shot, strict=True):
            yield point.space, point.optimizer, point.value, *pair


def draw(data: SweepData) -> Figure:
    """Columns of two panels; the panels of a row share their scale."""
    spaces = list(dict.fromkeys(point.space for point in data.points))
    optimizers = list(dict.fromkeys(point.optimizer for point in data.points))
    figure = Figure(figsize=(max(6.5, 4.2 * len(spaces) + 0.8), 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(spaces), sharex=True, sharey="row", squeeze=False)
    values = list(dict.fromkeys(point.value for point in data.points))
    for column, space in enumerate(spaces):
        top, bottom = grid[:, column]
        for position, optimizer in enumerate(optimizers):
            points = [point for point in data.points if (point.space, point.optimizer) == (space, optimizer)]
            style = line_style(position)
            at = _beside(_places(values, [p.value for p in points]), position - (len(optimizers) - 1) / 2, values)
            _draw_line(top, at, [point.test for point in points], style, optimizer)
            _draw_line(bottom, at, [point.one_shot for point in points], style, optimizer)
        top.set_title(f"Search space {space}", fontsize=10)
        _name_values(bottom, values, data.name)
        if data.test_name is None:
            top.text(0.5, 0.5, "no table was asked", ha="center", transform=top.transAxes)
    grid[0][0].set_ylabel(data.test_name or "Test error (fraction)")
    grid[1][0].set_ylabel("One-shot validation error\nat the end (fraction)")
    scale_errors(grid[0][0], (error for point in data.points for error in point.test if error is not None))
    scale_errors(grid[1][0], (error for point in data.points for error in point.one_shot))
    add_grid(grid.flat)
    add_title(figure, *data.titles, "A dot is a search; line and bars: mean and standard deviation over the seeds")
    add_line_legend(figure, list(grid.flat))
    return figure


def _places(all_values: Sequence[Value | None], values: Sequence[Value | None]) -> list[float]:
    """Numbers are drawn where they are, other values at 0, 1, 2, ..."""
    if _are_numbers(all_values):
        return [float(value) for value in values if value is not None]
    return [float(all_values.index(value)) for value in values]


def _are_numbers(values: Sequence[Value | None]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _is_log(values: Sequence[Value | None]) -> bool:
    at = _places(values, values)
    return _are_numbers(values) and max(at) > _LOG_FROM * min(at) > 0


def _beside(at: Sequence[float], steps: float, all_values: Sequence[Value | None]) -> list[float]:
    """Places moved by steps of 1 % of the axis, so that the bars of optimizers do not hide each other."""
    ends = _places(all_values, all_values)
    if _is_log(all_values):
        return [place * (max(ends) / min(ends)) ** (0.01 * steps) for place in at]
    return [place + 0.01 * steps * (max(ends) - min(ends)) for place in at]


def _name_values(axes: Axes, values: Sequence[Value | None], name: str) -> None:
    """A tick for each value that was evaluated."""
    at = _places(values, values)
    if _is_log(values):
        axes.set_xscale("log")
    axes.set_xticks(at, [value_text(value) for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    units = {"cutout_length": " [pixels]", "batch_size": " [images]", "init_channels": " [channels]"}
    axes.set_xlabel(name.replace("_", " ") + units.get(name, ""))


def _draw_line(
    axes: Axes, at: Sequence[float], values: Sequence[Sequence[float | None]], style: dict[str, Any], label: str
) -> None:
    """Mean and bar at each place, and the single searches."""
    summaries = [mean_and_spread(of_value) for of_value in values]
    means = [mean for mean, _ in summaries]
    spreads = [0.0 if math.isnan(spread) else spread for _, spread in summaries]
    axes.errorbar(at, means, yerr=spreads, label=label, linewidth=1.8, markersize=6, capsize=3, **style)
    for place, of_value in zip(at, values, strict=True):
        known = [value for value in of_value if value is not None]
        axes.plot([place] * len(known), known, ".", markersize=4, color=style["color"], alpha=0.6)
