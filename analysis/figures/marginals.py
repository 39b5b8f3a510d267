"""The loss as a function of one hyperparameter, averaged over all others, for each budget.

Budgets differ in colour (viridis), lightness and dashes; the rug shows where the largest budget was evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.evaluations import Evaluations, forests_of
from analysis.figures.figure import DoesNotApplyError, add_title, the_only, thinned
from analysis.figures.scales import Scale, scales_of, values_at
from analysis.importance import Importances, Marginal, importances, marginal
from analysis.importance_text import r2_text
from analysis.load import LoadedRun

_POINTS = 100
_DASHES = ("solid", "dashed", "dashdot", "dotted")
_INCUMBENT, _DEFAULT = "#D55E00", "#000000"


@dataclass(frozen=True, kw_only=True)
class MarginalsData:
    """The curves of a run.

    Attributes:
        title: The run in one line.
        scales: Hyperparameter to its axis.
        curves: Hyperparameter, by falling importance at the largest budget, to budget to its curve.
        evaluations: Evaluations at each budget that has curves, ascending.
        found: Importances at the same budgets.
    """

    title: str
    scales: Mapping[str, Scale]
    curves: Mapping[str, Mapping[float, Marginal]]
    evaluations: tuple[Evaluations, ...]
    found: tuple[Importances, ...]


def compute(runs: Sequence[LoadedRun]) -> MarginalsData:
    """The curves of one run, for each hyperparameter that varies at the largest budget."""
    run = the_only(runs)
    try:
        forests = forests_of(run)
    except ValueError as error:
        raise DoesNotApplyError(str(error)) from error
    found = tuple(importances(forest) for _, forest in forests)
    names = sorted(forests[-1][1].observations.names, key=lambda name: -found[-1].of(name))
    curves = {
        name: {
            evaluations.budget: marginal(forest, [name], n_points=_POINTS)
            for evaluations, forest in forests
            if evaluations.budget is not None and name in forest.observations.names
        }
        for name in names
    }
    evaluations = tuple(evaluations for evaluations, _ in forests)
    return MarginalsData(
        title=run.title,
        scales=scales_of(evaluations[0].dimensions),
        curves=curves,
        evaluations=evaluations,
        found=found,
    )


def rows(data: MarginalsData) -> Iterator[Sequence[object]]:
    """A row for each point of each curve."""
    yield "hyperparameter", "budget", "value", "mean", "std_over_trees"
    for name, by_budget in data.curves.items():
        for budget, curve in by_budget.items():
            for value, mean, spread in zip(curve.values[0], curve.mean, curve.spread, strict=True):
                yield name, budget, value, mean, spread


def draw(data: MarginalsData) -> Figure:
    """A panel for each hyperparameter; the panels share the axis of the loss."""
    n_columns = min(3, len(data.curves))
    n_rows = -(-len(data.curves) // n_columns)
    figure = Figure(figsize=(max(7, 4.0 * n_columns + 0.6), 2.9 * n_rows + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    for index, (axes, (name, curves)) in enumerate(zip(grid.flat, data.curves.items(), strict=False)):
        _draw_panel(axes, data, name, curves)
        share = 100 * data.found[-1].of(name)
        axes.set_title(f"{share:.0f} % of the variance at {data.evaluations[-1].budget:g} epochs", fontsize=9)
        if index % n_columns == 0:
            axes.set_ylabel(data.evaluations[-1].loss_name, fontsize=9)
    for axes in list(grid.flat)[len(data.curves) :]:
        axes.set_axis_off()
    quality = ", ".join(
        f"{at.budget:g} epochs: {r2_text(found)}" for at, found in zip(data.evaluations, data.found, strict=True)
    )
    add_title(figure, data.title, f"Mean over all other hyperparameters; out-of-bag R²: {quality}")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _draw_panel(axes: Axes, data: MarginalsData, name: str, curves: Mapping[float, Marginal]) -> None:
    scale, last = data.scales[name], data.evaluations[-1]
    budgets = [at.budget for at in data.evaluations]
    shades = colormaps["viridis"].reversed().resampled(len(budgets) + 1)
    marker = "o" if scale.choices is not None else ""
    for budget, curve in curves.items():
        position = budgets.index(budget)
        at, colour = scale.coordinates(curve.values[0]), shades(position + 1)
        dashes = _DASHES[(len(budgets) - 1 - position) % len(_DASHES)]
        is_last = budget == last.budget
        axes.plot(at, curve.mean, color=colour, linestyle=dashes, marker=marker, linewidth=2 if is_last else 1.3,
                  label=f"{budget:g} search epochs")  # fmt: skip
        if is_last:
            label = f"± standard deviation over trees, {budget:g} epochs"
            axes.fill_between(
                at, curve.mean - curve.spread, curve.mean + curve.spread, color=colour, alpha=0.18, lw=0, label=label
            )
    edge = axes.get_xaxis_transform()
    rug = scale.coordinates(thinned(values_at(name, last.configurations)))
    axes.plot(rug, [0.025] * len(rug), "|", color="0.25", markersize=6, alpha=0.6, transform=edge,
              rasterized=len(rug) > 1_000, label=f"evaluation, {last.budget:g} epochs")  # fmt: skip
    for config, shade, line, end, label in (
        (last.default, _DEFAULT, "dashed", "v", "default configuration"),
        (last.incumbent, _INCUMBENT, "solid", "*", f"incumbent, {last.budget:g} epochs"),
    ):
        if config is not None and name in config:
            value = float(scale.coordinates([config[name]])[0])
            axes.plot([value, value], [0, 1], color=shade, linestyle=line, linewidth=1.2, marker=end, markevery=[1],
                      markersize=8, clip_on=False, transform=edge, label=label)  # fmt: skip
    scale.apply(axes, "x")
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(True, color="0.92", linewidth=0.7)
    axes.set_axisbelow(True)
