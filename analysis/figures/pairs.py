"""All pairs of hyperparameters at the largest budget as a triangle of maps, and their curves on its diagonal.

Curves share one axis of the loss and maps one scale of colours, so what looks alike is alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.figure import DoesNotApplyError, add_title, the_only
from analysis.figures.maps import Fitted, add_colours, draw_map, fitted, map_rows, shared_norm
from analysis.importance import Marginal, marginal
from analysis.importance_text import r2_text
from analysis.load import LoadedRun

_POINTS = 20
#: Largest number of hyperparameters, the most important ones.
_MOST = 9


@dataclass(frozen=True, kw_only=True)
class PairsData:
    """The triangle of a run.

    Attributes:
        title: The run in one line.
        at: Largest budget that has a forest.
        names: Hyperparameters by falling importance.
        curves: Hyperparameter to its curve.
        maps: Pair, the hyperparameter of the column first, to its map.
    """

    title: str
    at: Fitted
    names: tuple[str, ...]
    curves: Mapping[str, Marginal]
    maps: Mapping[tuple[str, str], Marginal]


def compute(runs: Sequence[LoadedRun]) -> PairsData:
    """The triangle of one run."""
    run = the_only(runs)
    (at,) = fitted(run, at_most=1)
    varying = at.surrogate.observations.names
    if len(varying) < 2:
        raise DoesNotApplyError(f"{at.evaluations.where.lower()}, fewer than two hyperparameters vary")
    names = tuple(sorted(varying, key=lambda name: -at.found.of(name))[:_MOST])
    pairs = [(column, row) for index, row in enumerate(names) for column in names[:index]]
    return PairsData(
        title=run.title,
        at=at,
        names=names,
        curves={name: marginal(at.surrogate, [name], n_points=100) for name in names},
        maps={pair: marginal(at.surrogate, pair, n_points=_POINTS) for pair in pairs},
    )


def rows(data: PairsData) -> Iterator[Sequence[object]]:
    """A row for each field of each map."""
    yield "budget", "x", "y", "value_x", "value_y", "mean", "std_over_trees", "interaction"
    for pair, each in data.maps.items():
        share = data.at.found.of(*pair)
        yield from ((data.at.evaluations.budget, *pair, *field, share) for field in map_rows(each))


def draw(data: PairsData) -> Figure:
    """Curves on the diagonal, maps below it, and shares of the interactions above it."""
    n, found = len(data.names), data.at.found
    figure = Figure(figsize=(max(7.5, 1.35 * n + 2.6), max(4.6, 1.3 * n + 1.3)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(n, n, squeeze=False)
    norm = shared_norm(list(data.maps.values()))
    largest = max(found.of(*pair) for pair in data.maps) or 1.0
    for row, lower in enumerate(data.names):
        for column, left in enumerate(data.names):
            axes = grid[row][column]
            if row == column:
                _draw_curve(axes, data, lower)
            elif column < row:
                draw_map(axes, data.maps[left, lower], data.at.scales, norm)
                data.at.scales[lower].apply(axes, "y", labelled=column == 0, size=8)
            else:
                _write_share(axes, found.of(lower, left), largest)
                continue
            data.at.scales[left].apply(axes, "x", labelled=row == n - 1, size=8)
            axes.tick_params(which="minor", length=0)
    where = f"{data.at.evaluations.where}: {data.at.evaluations.counted}; out-of-bag R² {r2_text(found)}"
    parts = (
        f"Diagonal: {data.at.evaluations.loss_name.lower()} over one hyperparameter, and its share. "
        "Below: over two. Above: share of their interaction [% of the variance]."
    )
    add_title(figure, data.title, where, found.warning or "", parts)
    add_colours(figure, list(grid.flat), norm, data.at.evaluations.loss_name)
    return figure


def _draw_curve(axes: Axes, data: PairsData, name: str) -> None:
    curve, scale = data.curves[name], data.at.scales[name]
    at = scale.coordinates(curve.values[0])
    axes.plot(at, curve.mean, color="black", linewidth=1.4)
    axes.fill_between(at, curve.mean - curve.spread, curve.mean + curve.spread, color="0.5", alpha=0.3, linewidth=0)
    axes.set_ylim(
        min(float((each.mean - each.spread).min()) for each in data.curves.values()),
        max(float((each.mean + each.spread).max()) for each in data.curves.values()),
    )
    axes.yaxis.tick_right()
    axes.tick_params(axis="y", labelsize=6)
    axes.set_title(f"{scale.label}\n{100 * data.at.found.of(name):.1f} %", fontsize=7, pad=2)


def _write_share(axes: Axes, share: float, largest: float) -> None:
    """The share of an interaction as a number on a field that is the darker the larger it is."""
    depth = share / largest
    axes.set_facecolor(str(1 - 0.75 * depth))
    axes.set(xticks=[], yticks=[])
    axes.text(
        0.5, 0.5, f"{100 * share:.1f}", ha="center", va="center", transform=axes.transAxes, fontsize=9,
        color="white" if depth > 0.6 else "black",
    )  # fmt: skip
