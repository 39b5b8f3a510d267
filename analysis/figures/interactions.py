"""The pairs of hyperparameters that interact most at the largest budget, as maps with the evaluated points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.figure import add_title, the_only
from analysis.figures.maps import Fitted, add_colours, add_legend, draw_map, draw_points, fitted, map_rows, shared_norm
from analysis.importance import Marginal, marginal
from analysis.importance_text import r2_text
from analysis.load import LoadedRun

_POINTS = 40
_MOST_PAIRS = 6


@dataclass(frozen=True, kw_only=True)
class InteractionsData:
    """The maps of a run.

    Attributes:
        title: The run in one line.
        at: Largest budget that has a forest.
        maps: Map of each pair, by falling share of the interaction.
    """

    title: str
    at: Fitted
    maps: tuple[Marginal, ...]


def compute(runs: Sequence[LoadedRun]) -> InteractionsData:
    """The maps of one run."""
    run = the_only(runs)
    (at,) = fitted(run, at_most=1)
    pairs = at.pairs()[:_MOST_PAIRS]
    maps = tuple(marginal(at.surrogate, pair, n_points=_POINTS) for pair in pairs)
    return InteractionsData(title=run.title, at=at, maps=maps)


def rows(data: InteractionsData) -> Iterator[Sequence[object]]:
    """A row for each field of each map."""
    yield "budget", "x", "y", "value_x", "value_y", "mean", "std_over_trees", "interaction"
    for each in data.maps:
        share = data.at.found.of(*each.names)
        yield from ((data.at.evaluations.budget, *each.names, *field, share) for field in map_rows(each))


def draw(data: InteractionsData) -> Figure:
    """A panel for each pair; all share the scale of colours."""
    n_columns = min(3, len(data.maps))
    n_rows = -(-len(data.maps) // n_columns)
    figure = Figure(figsize=(max(7, 3.7 * n_columns + 1.6), 3.4 * n_rows + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    norm, found = shared_norm(data.maps), data.at.found
    for axes, each in zip(grid.flat, data.maps, strict=False):
        x, y = (data.at.scales[name] for name in each.names)
        draw_map(axes, each, data.at.scales, norm)
        draw_points(axes, data.at.evaluations, x, y, norm)
        x.apply(axes, "x")
        y.apply(axes, "y")
        share, spread = 100 * found.of(*each.names), 100 * found.spreads[each.names]
        axes.set_title(f"interaction {share:.1f} ± {spread:.1f} % of the variance", fontsize=9)
    for axes in list(grid.flat)[len(data.maps) :]:
        axes.set_axis_off()
    where = f"{data.at.evaluations.where}: {data.at.evaluations.counted}; out-of-bag R² {r2_text(found)}"
    add_title(figure, data.title, where, found.warning or "")
    add_colours(figure, list(grid.flat), norm, data.at.evaluations.loss_name)
    add_legend(figure, grid[0][0])
    return figure
