"""Importances as bars, a panel for each budget and one over budgets, with the noise floor.

Main effects, pairs and the rest differ in colour, lightness and hatching (Okabe and Ito 2008).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.evaluations import evaluations_by_budget
from analysis.figures.figure import DoesNotApplyError, add_title, the_only
from analysis.importance_text import component_name, r2_text
from analysis.load import LoadedRun
from analysis.run_importances import BudgetImportances, budget_importances

#: Number of pairs in each panel.
_PAIRS = 5
_MAIN, _PAIR, _REST = "#0072B2", "#E69F00", "#D9D9D9"


@dataclass(frozen=True, kw_only=True)
class ImportancesData:
    """The importances of a run.

    Attributes:
        title: The run in one line.
        panels: Importances by ascending budget; over all budgets last.
        reasons: Sentences that say why a budget has none.
    """

    title: str
    panels: tuple[BudgetImportances, ...]
    reasons: tuple[str, ...]


def compute(runs: Sequence[LoadedRun]) -> ImportancesData:
    """The importances of one run at each budget, and over budgets."""
    run = the_only(runs)
    if run.tuner_space is not None and len(run.tuner_space) < 2:
        raise DoesNotApplyError("the configuration space has fewer than two hyperparameters")
    panels, reasons = [], []
    try:
        for evaluations in evaluations_by_budget(run):
            try:
                panels.append(budget_importances(evaluations))
            except ValueError as error:
                reasons.append(str(error))
    except ValueError as error:
        raise DoesNotApplyError(str(error)) from error
    if not panels:
        raise DoesNotApplyError(". ".join(reasons))
    return ImportancesData(title=run.title, panels=tuple(panels), reasons=tuple(reasons))


def rows(data: ImportancesData) -> Iterator[Sequence[object]]:
    """A row for each component; the field ``budget`` is empty over all budgets."""
    views = ("better than the default", "best 20 %")
    yield "budget", "component", "share", "std_over_trees", "noise_floor", *views, "out_of_bag_r2", "n_evaluations"
    for panel in data.panels:
        found, budget = panel.found, panel.evaluations.budget
        facts = found.out_of_bag_r2, found.n_evaluations
        for names, share in found.fractions.items():
            in_views = [
                None if isinstance(view, str) else view.fractions[names] for view in map(panel.views.__getitem__, views)
            ]
            yield budget, component_name(names), share, found.spreads[names], panel.floor[names], *in_views, *facts
        yield budget, "higher orders", found.higher_orders, None, None, None, None, *facts


def draw(data: ImportancesData) -> Figure:
    """A panel for each budget; the panels share the axis of shares."""
    n_bars = [len(panel.main_effects) + min(_PAIRS, len(panel.pairs)) + 1 for panel in data.panels]
    n_columns = min(2, len(data.panels))
    n_rows = -(-len(data.panels) // n_columns)
    height = n_rows * (1.3 + 0.24 * max(n_bars)) + 0.9
    figure = Figure(figsize=(max(8.5, 6.2 * n_columns), height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(n_rows, n_columns, sharex=True, squeeze=False)
    for axes, panel in zip(grid.flat, data.panels, strict=False):
        _draw_panel(axes, panel)
    grid[0][0].set_xlim(0, min(100, 1.03 * max(axes.dataLim.x1 for axes in grid.flat)))
    for axes in grid.flat:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("Share of the variance of the loss [%]")
    for axes in list(grid.flat)[len(data.panels) :]:
        axes.set_axis_off()
    add_title(figure, data.title, *data.reasons)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def _draw_panel(axes: Axes, panel: BudgetImportances) -> None:
    found, mains, pairs = panel.found, panel.main_effects, panel.pairs
    rest = 100 * (found.higher_orders + sum(found.fractions[names] for names in pairs[_PAIRS:]))
    pairs = pairs[:_PAIRS]
    shown = [*mains, *pairs]
    at = range(len(shown))
    shares = [100 * found.fractions[names] for names in shown]
    n = len(mains)
    axes.barh(at[:n], shares[:n], color=_MAIN, label="main effect")
    axes.barh(at[n:], shares[n:], color=_PAIR, hatch="///", edgecolor="white", linewidth=0, label="interaction of two")
    axes.barh([len(shown)], [rest], color=_REST, edgecolor="0.5", hatch="...", linewidth=0, label="all others")
    spreads = [100 * found.spreads[names] for names in shown]
    # A share stays between 0 and 100 %, and so does its bar of errors.
    upper = [min(100 - share, spread) for share, spread in zip(shares, spreads, strict=True)]
    lower = [min(share, spread) for share, spread in zip(shares, spreads, strict=True)]
    axes.errorbar(
        shares,
        list(at),
        xerr=[lower, upper],
        fmt="none",
        ecolor="0.35",
        elinewidth=0.9,
        capsize=2,
        label="± standard deviation over trees",
    )
    floors = [100 * panel.floor[names] for names in shown]
    axes.plot(floors, list(at), linestyle="none", marker="|", markersize=11, markeredgewidth=2.2, color="black",
              label="noise floor: 95 % of shuffled losses stay below")  # fmt: skip
    axes.set_yticks([*at, len(shown)], [*(component_name(names).replace("_", " ") for names in shown), "all others"])
    axes.tick_params(labelsize=8)
    axes.invert_yaxis()
    axes.grid(True, axis="x", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    doubt = "\nthe forest explains too little: these may be noise" if found.warning else ""
    axes.set_title(
        f"{panel.evaluations.where}: {panel.evaluations.counted}\nout-of-bag R² {r2_text(found)}{doubt}", fontsize=9
    )
