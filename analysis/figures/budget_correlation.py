"""Losses of the same configurations at two budgets: does a short search predict a long one?

A panel for each pair of budgets, with Spearman's and Kendall's coefficients and their 95 % bootstrap intervals. The
pairs are configurations that succeeded at both. Under successive halving these are the better ones at the smaller
budget. The narrower range of losses lowers the coefficients: what the panel says holds among promoted configurations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.correlation import LEAST_PAIRS, Correlation, rank_correlations
from analysis.figures.figure import DoesNotApplyError, add_title, the_only, thinned
from analysis.figures.styles import add_grid, add_line_legend, scale_errors
from analysis.load import LoadedRun
from results.records import ConfigId, Status

_ALL, _DEFAULT = "#0072B2", "#D55E00"


@dataclass(frozen=True, kw_only=True)
class BudgetPair:
    """The configurations that succeeded at two budgets.

    Attributes:
        small: Smaller budget, in search epochs.
        large: Larger budget, in search epochs.
        losses: Configuration to its losses at both.
        correlations: ``spearman`` and ``kendall``; empty where there are none.
    """

    small: float
    large: float
    losses: Mapping[ConfigId, tuple[float, float]]
    correlations: Mapping[str, Correlation]


@dataclass(frozen=True, kw_only=True)
class BudgetCorrelationData:
    """The pairs of budgets of a run.

    Attributes:
        title: The run in one line.
        loss_name: Name of the loss on an axis, with its unit.
        default_ids: Configurations that have the default values.
        pairs: Pairs of budgets, ascending.
    """

    title: str
    loss_name: str
    default_ids: frozenset[ConfigId]
    pairs: tuple[BudgetPair, ...]


def compute(runs: Sequence[LoadedRun]) -> BudgetCorrelationData:
    """The correlations between the budgets of one run."""
    run = the_only(runs)
    losses: dict[float, dict[ConfigId, float]] = {}
    for result in run.results:
        if result.evaluation.status is Status.OK:  # of several results of a trial, the first one counts
            losses.setdefault(result.budget, {}).setdefault(result.config_id, result.evaluation.loss)
    pairs = []
    for small, large in combinations(sorted(losses), 2):
        both = {i: (loss, losses[large][i]) for i, loss in losses[small].items() if i in losses[large]}
        if len(both) >= LEAST_PAIRS:
            correlations = rank_correlations(*zip(*both.values(), strict=True))
            pairs.append(BudgetPair(small=small, large=large, losses=both, correlations=correlations))
    if not pairs:
        raise DoesNotApplyError(f"no {LEAST_PAIRS} configurations have succeeded at two budgets")
    return BudgetCorrelationData(
        title=run.title,
        loss_name="Loss" if run.description is None else "Validation error (fraction)",
        default_ids=run.default_ids if run.description is not None else frozenset(),
        pairs=tuple(pairs),
    )


def rows(data: BudgetCorrelationData) -> Iterator[Sequence[object]]:
    """A row for each configuration of each pair of budgets, with the coefficients of the pair."""
    yield (
        *("smaller_budget", "larger_budget", "iteration", "stage", "index", "loss_at_smaller", "loss_at_larger"),
        *("spearman", "spearman_lower", "spearman_upper", "kendall", "kendall_lower", "kendall_upper"),
    )
    for pair in data.pairs:
        numbers: list[float | None] = []
        for name in ("spearman", "kendall"):
            found = pair.correlations.get(name)
            numbers += [None] * 3 if found is None else [found.coefficient, *found.interval]
        for config_id, losses in pair.losses.items():
            yield pair.small, pair.large, *config_id, *losses, *numbers


def draw(data: BudgetCorrelationData) -> Figure:
    """A panel for each pair, at most three in a row; all share their axes."""
    n_columns = min(3, len(data.pairs))
    n_rows = -(-len(data.pairs) // n_columns)
    figure = Figure(figsize=(max(6.5, 4.0 * n_columns + 0.6), 4.1 * n_rows + 1.0), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    every = [loss for pair in data.pairs for losses in pair.losses.values() for loss in losses]
    for axes, pair in zip(grid.flat, data.pairs, strict=False):
        _draw_panel(axes, pair, data)
    scale_errors(grid[0][0], every)
    margin = 0.05 * (max(every) - min(every)) or 0.01
    limits = (min(every) * 0.9, max(every) * 1.1) if min(every) > 0 else (min(every) - margin, max(every) + margin)
    grid[0][0].set(xlim=limits, ylim=limits)
    if grid[0][0].get_yscale() == "log":
        grid[0][0].set_xscale("log")
        grid[0][0].xaxis.set_major_locator(grid[0][0].yaxis.get_major_locator())
        grid[0][0].xaxis.set_major_formatter(grid[0][0].yaxis.get_major_formatter())
        grid[0][0].xaxis.set_minor_formatter(grid[0][0].yaxis.get_minor_formatter())
    for axes in list(grid.flat)[len(data.pairs) :]:
        axes.set_axis_off()
    shown = list(grid.flat)[: len(data.pairs)]
    add_grid(shown)
    add_title(
        figure, data.title, "Configurations that succeeded at both budgets; in brackets: 95 % bootstrap intervals"
    )
    add_line_legend(figure, shown)
    return figure


def _draw_panel(axes: Axes, pair: BudgetPair, data: BudgetCorrelationData) -> None:
    styles: dict[str, tuple[bool, dict[str, Any]]] = {
        "configuration": (False, {"marker": "o", "markersize": 5, "color": _ALL, "alpha": 0.65}),
        "default configuration": (True, {"marker": "D", "markersize": 8, "color": _DEFAULT}),
    }
    for label, (is_default, style) in styles.items():
        points = [losses for i, losses in pair.losses.items() if (i in data.default_ids) == is_default]
        if points:
            axes.plot(*zip(*thinned(points), strict=True), linestyle="none", label=label, **style)
    axes.axline((0.1, 0.1), (0.2, 0.2), color="0.6", linewidth=1, label="equal losses")
    texts = []
    for name, found in pair.correlations.items():
        lower, upper = found.interval
        texts.append(f"{name.capitalize()} {found.coefficient:+.2f} ({lower:+.2f} to {upper:+.2f})")
    said = "\n".join(texts) or "no coefficient, as all losses are equal"
    axes.set_title(f"{len(pair.losses)} configurations\n{said}", fontsize=9)
    axes.set_xlabel(f"{data.loss_name}, {pair.small:g} epochs")
    axes.set_ylabel(f"{data.loss_name}, {pair.large:g} epochs")
    axes.tick_params(labelbottom=True, labelleft=True)
