"""One pair of hyperparameters as maps: budgets by columns, runs by rows, as in the paper's Figure 16.

The paper shows the cutout probability against the weight decay. Where a run does not vary both, the pair is the one
that explains most at the largest budget, main effects and interaction together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.figure import DoesNotApplyError, broken
from analysis.figures.maps import Fitted, add_colours, add_legend, draw_map, draw_points, fitted, map_rows, shared_norm
from analysis.importance import Marginal, marginal
from analysis.importance_text import r2_text
from analysis.load import LoadedRun, run_names

_POINTS = 20
_PAPER_PAIR = ("cutout_prob", "weight_decay")


@dataclass(frozen=True, kw_only=True)
class MapsByBudgetData:
    """The grid of maps.

    Attributes:
        pair: Hyperparameters of both axes.
        titles: Name of each row.
        rows: For each run, budget to its forest and its map.
    """

    pair: tuple[str, str]
    titles: tuple[str, ...]
    rows: tuple[Mapping[float, tuple[Fitted, Marginal]], ...]


def compute(runs: Sequence[LoadedRun]) -> MapsByBudgetData:
    """The maps of each run at each budget at which both hyperparameters vary."""
    forests = [fitted(run) for run in runs]
    pair = _pair_of([at[-1] for at in forests])
    grid = tuple(
        {
            at.evaluations.budget: (at, marginal(at.surrogate, pair, n_points=_POINTS))
            for at in of_run
            if at.evaluations.budget is not None and set(pair) <= set(at.surrogate.observations.names)
        }
        for of_run in forests
    )
    return MapsByBudgetData(pair=pair, titles=_titles_of(runs), rows=grid)


def rows(data: MapsByBudgetData) -> Iterator[Sequence[object]]:
    """A row for each field of each map."""
    x, y = data.pair
    yield "run", "budget", x, y, "mean", "std_over_trees", "interaction", "out_of_bag_r2"
    for title, of_run in zip(data.titles, data.rows, strict=True):
        for budget, (at, each) in of_run.items():
            facts = at.found.of(*data.pair), at.found.out_of_bag_r2
            yield from ((title.replace("\n", ", "), budget, *field, *facts) for field in map_rows(each))


def draw(data: MapsByBudgetData) -> Figure:
    """A panel for each run and budget; all share the scale of colours."""
    budgets = sorted({budget for of_run in data.rows for budget in of_run})
    n_rows, n_columns = len(data.rows), len(budgets)
    figure = Figure(figsize=(max(7, 3.3 * n_columns + 1.9), 3.1 * n_rows + 1.1), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    norm = shared_norm([each for of_run in data.rows for _, each in of_run.values()])
    lowest_row = {budget: row for row, of_run in enumerate(data.rows) for budget in of_run}
    for row, (title, of_run) in enumerate(zip(data.titles, data.rows, strict=True)):
        for column, budget in enumerate(budgets):
            axes = grid[row][column]
            if budget not in of_run:
                axes.set_axis_off()
                axes.text(0.5, 0.5, f"too few evaluations\nat {budget:g} epochs", ha="center", va="center", fontsize=9)
                continue
            at, each = of_run[budget]
            x, y = (at.scales[name] for name in data.pair)
            draw_map(axes, each, at.scales, norm)
            draw_points(axes, at.evaluations, x, y, norm, size=14)
            is_first = budget == min(of_run)
            x.apply(axes, "x", labelled=row == lowest_row[budget])
            y.apply(axes, "y", labelled=is_first)
            if is_first:
                axes.set_ylabel(f"{title}\n{y.label}", fontsize=9)
            facts = f"interaction {100 * at.found.of(*data.pair):.1f} %, out-of-bag R² {r2_text(at.found)}"
            axes.set_title(f"{budget:g} search epochs\n{facts}", fontsize=9)
    at = next(at for of_run in data.rows for at, _ in of_run.values())
    add_colours(figure, list(grid.flat), norm, at.evaluations.loss_name)
    add_legend(figure, next(axes for axes in grid.flat if axes.axison))
    return figure


def _pair_of(last: Sequence[Fitted]) -> tuple[str, str]:
    """The paper's pair, or the one that explains most in the mean over the runs."""
    common = [set(at.surrogate.observations.names) for at in last]
    shared = set.intersection(*common)
    if set(_PAPER_PAIR) <= shared:
        return _PAPER_PAIR
    pairs = [pair for pair in last[0].pairs() if set(pair) <= shared]
    if not pairs:
        raise DoesNotApplyError("the runs have fewer than two hyperparameters in common that vary")
    x, y = max(
        pairs, key=lambda pair: sum(at.found.of(pair[0]) + at.found.of(pair[1]) + at.found.of(*pair) for at in last)
    )
    return x, y


def _titles_of(runs: Sequence[LoadedRun]) -> tuple[str, ...]:
    """A title for each run; runs that would share one, such as seeds of a study, are named by their directories."""
    titles = [_title_of(run) for run in runs]
    return tuple(
        f"{broken(name)}\n{title}" if titles.count(title) > 1 else title
        for title, name in zip(titles, run_names(runs), strict=True)
    )


def _title_of(run: LoadedRun) -> str:
    if run.description is None:
        return run.title
    study = run.description.spec
    return f"search space {study.search_space}\n{study.optimizer}, {study.config_space}"
