"""Searches epoch by epoch: test regret of the found cell above, one-shot validation error below.

A line is the mean over the seeds, its band the standard deviation. Columns are search spaces, and lines optimizers;
where searches differ in other settings, columns are spaces and optimizers, and lines the settings. A study of many
configurations is shown at its largest budget by its default configuration, its incumbent, and all others.

Source: paper, Figures 2, 4 and 7 to 13, which show the mean and the standard deviation over six seeds.

Differs from the public code: the zero of the regret is the lowest *mean* test error of the space, see
``Table.best_test_error``. An epoch at which the table lacks the cell of a seed has no mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.figure import DoesNotApplyError, add_title
from analysis.figures.styles import add_grid, add_line_legend, line_style, scale_errors
from analysis.load import LoadedRun
from analysis.search_groups import MOST_LINES, Group, TestErrors, groups_of, mean_and_spread, test_errors_of

#: Opacity of a band.
_BAND = 0.15


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line; lists have an entry per epoch, NaN where there is no mean or no spread.

    Attributes:
        column: Title of the column.
        label: Name in the legend.
        n_searches: Number of searches that completed the epoch.
        test: Mean test regret (or error) of the found cells.
        test_std: Standard deviation of the same.
        one_shot: Mean one-shot validation error.
        one_shot_std: Standard deviation of the same.
    """

    column: str
    label: str
    n_searches: tuple[int, ...]
    test: tuple[float, ...]
    test_std: tuple[float, ...]
    one_shot: tuple[float, ...]
    one_shot_std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class AnytimeData:
    """The curves.

    Attributes:
        titles: Each run in one line.
        test_name: Name of the axis of test errors; None where no table was asked.
        curves: The curves by column.
    """

    titles: tuple[str, ...]
    test_name: str | None
    curves: tuple[Curve, ...]


def compute(runs: Sequence[LoadedRun]) -> AnytimeData:
    """The mean and the spread over seeds at each epoch, for all settings."""
    groups = groups_of(runs)
    if not groups:
        raise DoesNotApplyError("there is no search that has ended")
    errors = test_errors_of(runs, groups)
    with_changes = any(group.changes for group in groups)
    curves = tuple(_curve(group, errors, with_changes) for group in groups)
    most = max(sum(curve.column == column for curve in curves) for column in {curve.column for curve in curves})
    if most > MOST_LINES:
        raise DoesNotApplyError(
            f"{most} settings are too many to tell apart in a panel; name fewer folders of searches, {MOST_LINES} "
            "settings at most"
        )
    return AnytimeData(
        titles=tuple(run.title for run in runs), test_name=None if errors is None else errors.name, curves=curves
    )


def _curve(group: Group, errors: TestErrors | None, with_changes: bool) -> Curve:
    n_epochs = max(len(search.epochs) for search in group.searches)
    reached = [[s.epochs[epoch] for s in group.searches if epoch < len(s.epochs)] for epoch in range(n_epochs)]
    test = [
        mean_and_spread(None if errors is None else errors.of(group.space, record) for record in records)
        for records in reached
    ]
    one_shot = [mean_and_spread(record.one_shot_validation_error for record in records) for records in reached]
    space = f"Search space {group.space}"
    return Curve(
        column=f"{space}, {group.optimizer}" if with_changes else space,
        label=group.changes if with_changes else group.optimizer,
        n_searches=tuple(len(records) for records in reached),
        test=tuple(mean for mean, _ in test),
        test_std=tuple(std for _, std in test),
        one_shot=tuple(mean for mean, _ in one_shot),
        one_shot_std=tuple(std for _, std in one_shot),
    )


def rows(data: AnytimeData) -> Iterator[Sequence[object]]:
    """A row for each epoch of each line; a field is empty where there is no mean, or no spread."""
    test = "test_regret" if data.test_name and "regret" in data.test_name else "test_error"
    one_shot = "one_shot_validation_error"
    yield "panel", "line", "epoch", "n_searches", f"{test}_mean", f"{test}_std", f"{one_shot}_mean", f"{one_shot}_std"
    for curve in data.curves:
        columns = (curve.n_searches, curve.test, curve.test_std, curve.one_shot, curve.one_shot_std)
        for epoch, (n, *numbers) in enumerate(zip(*columns, strict=True), start=1):
            yield curve.column, curve.label, epoch, n, *(None if x != x else x for x in numbers)


def draw(data: AnytimeData) -> Figure:
    """Columns of two panels; the panels of a row share their scale."""
    columns = list(dict.fromkeys(curve.column for curve in data.curves))
    labels = list(dict.fromkeys(curve.label for curve in data.curves))
    figure = Figure(figsize=(max(6.5, 3.9 * len(columns) + 0.8), 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
    for curve in data.curves:
        top, bottom = grid[:, columns.index(curve.column)]
        style = line_style(labels.index(curve.label))
        _draw_line(top, curve.test, curve.test_std, style, _label(curve, data.curves))
        _draw_line(bottom, curve.one_shot, curve.one_shot_std, style, _label(curve, data.curves))
    for column, title in enumerate(columns):
        grid[0][column].set_title(title, fontsize=10)
        grid[1][column].set_xlabel("Search epochs")
        if data.test_name is None:
            grid[0][column].text(0.5, 0.5, "no table was asked", ha="center", transform=grid[0][column].transAxes)
    grid[0][0].set_ylabel(data.test_name or "Test error (fraction)")
    grid[1][0].set_ylabel("One-shot validation error\n(fraction)")
    scale_errors(grid[0][0], (value for curve in data.curves for value in curve.test))
    scale_errors(grid[1][0], (value for curve in data.curves for value in curve.one_shot))
    add_grid(grid.flat)
    several = any(n > 1 for curve in data.curves for n in curve.n_searches)
    add_title(figure, *data.titles, "Mean; band: standard deviation over the searches" if several else "")
    add_line_legend(figure, list(grid.flat))
    return figure


def _label(curve: Curve, curves: Sequence[Curve]) -> str:
    """The name with the number of searches, where it is the same in all columns."""
    numbers = {other.n_searches[0] for other in curves if other.label == curve.label}
    n = curve.n_searches[0]
    return f"{curve.label} ({n} {'search' if n == 1 else 'searches'})" if len(numbers) == 1 else curve.label


def _draw_line(axes: Axes, means: Sequence[float], spreads: Sequence[float], style: dict[str, Any], label: str) -> None:
    epochs = range(1, len(means) + 1)
    every = max(1, len(means) // 8)
    axes.plot(epochs, means, label=label, linewidth=1.8, markersize=4.5, markevery=every, **style)
    lower = [max(mean - spread, 0.0) for mean, spread in zip(means, spreads, strict=True)]
    upper = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
    axes.fill_between(epochs, lower, upper, color=str(style["color"]), alpha=_BAND, linewidth=0)
