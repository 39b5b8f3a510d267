"""Rank correlation of one-shot and stand-alone error over the epochs of the search, for each budget of the table.

Rows are Spearman's and Kendall's coefficients, columns the table's budgets. A line is the mean over the seeds. Its bars
are 95 % intervals: seeds are drawn with replacement, and for each of them a bootstrap sample of its architectures.

The numbers come from ``evaluate DIRECTORY --epoch N``, which writes ``one_shot_errors.jsonl``.

Source: paper, section 5.2 with Figure 3, and appendix H with Figure 17, both with Spearman's coefficient alone and
without intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.correlation import Correlation, interval_of, one_shot_correlations
from analysis.figures.figure import DoesNotApplyError, add_title
from analysis.figures.styles import add_grid, add_line_legend, line_style
from analysis.load import LoadedRun
from analysis.search_groups import MOST_LINES, Group, groups_of, label_of
from analysis.searches import LoadedSearch
from results.one_shot_errors import OneShotError

_NAMES = {"spearman": "Spearman's rank correlation", "kendall": "Kendall's rank correlation"}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A coefficient of one line at one epoch and one budget of the table.

    Attributes:
        line: Name of the line.
        name: ``spearman`` or ``kendall``.
        budget: Epochs of the table.
        epoch: Epochs that trained the shared weights.
        mean: Mean coefficient over the seeds.
        lower: Lower end of the 95 % interval.
        upper: Upper end of the 95 % interval.
        n_searches: Number of searches, one per seed.
        n_cells: Number of architectures of the search with the fewest.
    """

    line: str
    name: str
    budget: int
    epoch: int
    mean: float
    lower: float
    upper: float
    n_searches: int
    n_cells: int


@dataclass(frozen=True, kw_only=True)
class CorrelationData:
    """The estimates, and each run in one line."""

    titles: tuple[str, ...]
    estimates: tuple[Estimate, ...]


def compute(runs: Sequence[LoadedRun]) -> CorrelationData:
    """The coefficients of all searches with evaluated architectures."""
    groups = groups_of(runs)
    estimates = [estimate for group in groups for estimate in _estimates(group, label_of(group, groups))]
    if not estimates:
        raise DoesNotApplyError("no search has three architectures that `evaluate` has evaluated and the table holds")
    lines = {estimate.line for estimate in estimates}
    if len(lines) > MOST_LINES:
        raise DoesNotApplyError(f"{len(lines)} lines are too many to tell apart; name fewer folders of searches")
    return CorrelationData(titles=tuple(run.title for run in runs), estimates=tuple(estimates))


def _estimates(group: Group, line: str) -> Iterator[Estimate]:
    found: dict[tuple[str, int, int], list[Correlation]] = {}
    for seed, search in enumerate(group.searches):
        for epoch, errors in _by_epoch(search).items():
            for budget, by_name in one_shot_correlations(errors, seed=seed).items():
                for name, correlation in by_name.items():
                    found.setdefault((name, budget, epoch), []).append(correlation)
    for (name, budget, epoch), correlations in sorted(found.items()):
        lower, upper = interval_over_seeds(correlations)
        yield Estimate(
            line=line,
            name=name,
            budget=budget,
            epoch=epoch,
            mean=float(np.mean([correlation.coefficient for correlation in correlations])),
            lower=lower,
            upper=upper,
            n_searches=len(correlations),
            n_cells=min(correlation.n for correlation in correlations),
        )


def _by_epoch(search: LoadedSearch) -> dict[int, list[OneShotError]]:
    """The errors with each epoch's weights: of several evaluations, that on the most images of the last weights."""
    by_weights: dict[tuple[int, str, int], list[OneShotError]] = {}
    for error in search.one_shot_errors():
        by_weights.setdefault((error.epoch, error.fingerprint, error.n_images), []).append(error)
    chosen: dict[int, tuple[int, list[OneShotError]]] = {}
    for (epoch, _, n_images), errors in by_weights.items():
        if epoch not in chosen or n_images >= chosen[epoch][0]:
            chosen[epoch] = n_images, errors
    return {epoch: errors for epoch, (_, errors) in sorted(chosen.items())}


def interval_over_seeds(correlations: Sequence[Correlation]) -> tuple[float, float]:
    """The interval of the mean coefficient: seeds are drawn with replacement, then samples of each drawn seed."""
    samples = np.stack([correlation.samples for correlation in correlations])
    n_seeds, n_samples = samples.shape
    rng = np.random.default_rng(0)
    seeds = rng.integers(n_seeds, size=(n_samples, n_seeds))
    return interval_of(samples[seeds, rng.integers(n_samples, size=(n_samples, n_seeds))].mean(axis=1))


def rows(data: CorrelationData) -> Iterator[Sequence[object]]:
    """A row for each estimate."""
    yield "line", "coefficient", "table_epochs", "search_epochs", "mean", "lower", "upper", "n_searches", "n_cells"
    for e in data.estimates:
        yield e.line, e.name, e.budget, e.epoch, e.mean, e.lower, e.upper, e.n_searches, e.n_cells


def draw(data: CorrelationData) -> Figure:
    """All panels share their axes; a grey line marks a coefficient of 0."""
    budgets = sorted({estimate.budget for estimate in data.estimates})
    lines = list(dict.fromkeys(estimate.line for estimate in data.estimates))
    epochs = sorted({estimate.epoch for estimate in data.estimates})
    step = min((later - earlier for earlier, later in pairwise(epochs)), default=1)
    figure = Figure(figsize=(max(6.5, 3.6 * len(budgets) + 0.8), 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(budgets), sharex=True, sharey=True, squeeze=False)
    for row, name in enumerate(_NAMES):
        for column, budget in enumerate(budgets):
            axes = grid[row][column]
            axes.axhline(0, color="0.6", linewidth=1)
            for position, line in enumerate(lines):
                shown = [e for e in data.estimates if (e.name, e.budget, e.line) == (name, budget, line)]
                shift = 0.08 * step * (position - (len(lines) - 1) / 2)  # bars of lines stand side by side
                axes.errorbar(
                    [e.epoch + shift for e in shown],
                    [e.mean for e in shown],
                    yerr=[[max(0.0, e.mean - e.lower) for e in shown], [max(0.0, e.upper - e.mean) for e in shown]],
                    label=line,
                    linewidth=1.6,
                    markersize=5,
                    capsize=2,
                    elinewidth=1,
                    **line_style(position),
                )
        grid[row][0].set_ylabel(f"{_NAMES[name]} (no unit)")
    for column, budget in enumerate(budgets):
        grid[0][column].set_title(f"Table at {budget} {'epoch' if budget == 1 else 'epochs'}", fontsize=10)
        grid[1][column].set_xlabel("Search epochs that trained the weights")
    add_grid(grid.flat)
    add_title(
        figure,
        *data.titles,
        "One-shot validation error against the table's test error; bars: 95 % intervals over seeds and architectures",
    )
    add_line_legend(figure, list(grid.flat))
    return figure
