"""Distribution of the test error in each search space, at each budget of the table, with the runs' incumbents.

A line is the share of a space's architectures, loose ends included, with at most a test error (mean over the repeats).
The marker of a study is its incumbent's test error, at the study's table epochs.

Source: paper, Figure 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.figures.figure import DoesNotApplyError, add_title
from analysis.figures.styles import add_grid, add_line_legend, line_style
from analysis.load import LoadedRun
from analysis.summary import best_of
from analysis.tables import is_whole, table_of
from nas.tabular import Table
from spaces import SEARCH_SPACES

FloatArray = npt.NDArray[np.float64]

#: Shares of the architectures at which the error is kept: many where the good ones are.
_SHARES = np.unique(np.concatenate([[0], np.geomspace(1e-4, 0.1, 61), np.linspace(0.1, 1, 181)]))
_MARKERS = "*PX^vDso"


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """The test errors of a space at a budget.

    Attributes:
        space: Search space.
        budget: Epochs of the table.
        n: Number of architectures.
        errors: Some of the test errors, ascending; more of them where errors are low.
        shares: Share of the architectures with at most the error at the same place.
    """

    space: str
    budget: int
    n: int
    errors: tuple[float, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Incumbent:
    """A study's incumbent in the distribution of its space.

    Attributes:
        run: Name of the run's directory.
        space: Search space.
        budget: Epochs of the table.
        test_error: Its test error.
        share: Share of the space's architectures with at most this error.
    """

    run: str
    space: str
    budget: int
    test_error: float
    share: float


@dataclass(frozen=True, kw_only=True)
class DistributionsData:
    """The distributions, the incumbents, and the spaces that the table does not wholly hold."""

    title: str
    distributions: tuple[Distribution, ...]
    incumbents: tuple[Incumbent, ...]
    left_out: tuple[str, ...]


def compute(runs: Sequence[LoadedRun]) -> DistributionsData:
    """The distributions in the table of the runs, which must be the same."""
    tables = {table.name: table for table in map(table_of, runs) if table is not None}
    if len(tables) != 1:
        raise DoesNotApplyError(f"it shows the spaces in one table, and the runs have {len(tables)}")
    (table,) = tables.values()
    whole = [name for name, space in SEARCH_SPACES.items() if is_whole(table, space)]
    if not whole:
        raise DoesNotApplyError(f"table {table.name} holds no search space as a whole")
    errors = {(name, budget): _test_errors(table, name, budget) for budget in table.budgets for name in whole}
    return DistributionsData(
        title=f"Table {table.name}",
        distributions=tuple(_distribution(*key, found) for key, found in errors.items()),
        incumbents=tuple(_incumbents(runs, errors)),
        left_out=tuple(name for name in SEARCH_SPACES if name not in whole),
    )


def _test_errors(table: Table, space_name: str, budget: int) -> FloatArray:
    """[n] Mean test errors of all architectures of a space, ascending."""
    space = SEARCH_SPACES[space_name]
    errors = table.query_indices(space, np.arange(space.size), budget).mean_test_error
    return np.sort(errors.round(12))  # means of the same errors in another order are the same


def _distribution(space: str, budget: int, errors: FloatArray) -> Distribution:
    """The lowest error and those of ranks ceil(p n), for the kept shares p, with the exact share up to each."""
    n = len(errors)
    kept = np.unique(errors[np.ceil(_SHARES * n).astype(int).clip(1, n) - 1])
    shares = np.searchsorted(errors, kept, side="right") / n
    return Distribution(space=space, budget=budget, n=n, errors=tuple(kept.tolist()), shares=tuple(shares.tolist()))


def _incumbents(runs: Sequence[LoadedRun], errors: dict[tuple[str, int], FloatArray]) -> Iterator[Incumbent]:
    for run in runs:
        best = best_of(run.results)
        if run.description is None or best is None or best.evaluation.test_error is None:
            continue
        study, error = run.description.spec, best.evaluation.test_error
        of_space = errors.get((study.search_space, study.table_epochs))
        if of_space is not None:
            share = float(np.searchsorted(of_space, round(error, 12), side="right")) / len(of_space)
            yield Incumbent(
                run=run.path.name, space=study.search_space, budget=study.table_epochs, test_error=error, share=share
            )


def rows(data: DistributionsData) -> Iterator[Sequence[object]]:
    """A row for each kept share of each distribution, then one for each incumbent."""
    yield "what", "search_space", "table_epochs", "test_error", "share", "n_architectures"
    for d in data.distributions:
        for error, share in zip(d.errors, d.shares, strict=True):
            yield "architectures", d.space, d.budget, error, share, d.n
    for i in data.incumbents:
        yield f"incumbent of {i.run}", i.space, i.budget, i.test_error, i.share, None


def draw(data: DistributionsData) -> Figure:
    """A column for each budget, with shared axes; shares are logarithmic, so that the best cells can be seen."""
    budgets = sorted({d.budget for d in data.distributions})
    spaces = list(dict.fromkeys(d.space for d in data.distributions))
    figure = Figure(figsize=(max(6.5, 3.6 * len(budgets) + 0.8), 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    (grid,) = figure.subplots(1, len(budgets), sharex=True, sharey=True, squeeze=False)
    for axes, budget in zip(grid, budgets, strict=True):
        for d in (d for d in data.distributions if d.budget == budget):
            style = line_style(spaces.index(d.space)) | {"marker": ""}
            label = f"search space {d.space}, {d.n:,} architectures"
            axes.step(d.errors, d.shares, where="post", linewidth=1.8, label=label, **style)
        for position, i in enumerate(data.incumbents):
            if i.budget == budget:
                label = f"incumbent of {i.run}, among the best {100 * i.share:.2g} %"
                axes.plot(
                    [i.test_error],
                    [i.share],
                    _MARKERS[position % len(_MARKERS)],
                    markersize=11,
                    color="#000000",
                    label=label,
                )
        axes.set_title(f"Table at {budget} {'epoch' if budget == 1 else 'epochs'}", fontsize=10)
        axes.set_xlabel("Test error (fraction)")
        axes.set(xscale="log", yscale="log", ylim=(min(min(d.shares) for d in data.distributions) / 1.5, 1.4))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    grid[0].set_ylabel("Architectures with at most this error [%]")
    add_grid(grid)
    left_out = f"Spaces that the table does not wholly hold: {', '.join(data.left_out)}" if data.left_out else ""
    add_title(figure, data.title, left_out)
    add_line_legend(figure, list(grid))
    return figure
