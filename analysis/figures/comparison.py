"""Methods against each other: differences with bootstrap intervals, and the critical-difference diagram of Demsar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.comparison import Comparison, Difference, Ranks, blocks_of, compare, rank
from analysis.comparison_text import place_text
from analysis.contest import Choices, Contest
from analysis.figures.figure import DoesNotApplyError, add_title, broken, contests_of_several
from analysis.load import LoadedRun

_CLEAR, _UNCLEAR = "#D55E00", "#555555"


@dataclass(frozen=True, kw_only=True)
class ComparisonData:
    """Methods against each other.

    Attributes:
        choices: What of the runs is compared.
        comparisons: The comparison on each problem.
        ranks: Ranks over all problems; else the reason why there are none.
    """

    choices: Choices
    comparisons: tuple[Comparison, ...]
    ranks: Ranks | str


def compute(runs: Sequence[LoadedRun]) -> ComparisonData:
    """Compares at the place on one worker's simulated time that all runs reach."""
    choices = Choices()
    return comparison_of(contests_of_several(runs, choices), choices)


def comparison_of(contests: Sequence[Contest], choices: Choices) -> ComparisonData:
    """Compares the methods on each problem on which there are two.

    Raises:
        DoesNotApplyError: There is no such problem.
    """
    several = [contest for contest in contests if len(contest.methods) > 1]
    if not several:
        raise DoesNotApplyError("it compares methods, and all runs are of one; only their seeds differ")
    try:
        comparisons = tuple(compare(contest) for contest in several)
    except ValueError as error:
        raise DoesNotApplyError(str(error)) from error
    try:
        ranks: Ranks | str = rank(blocks_of(comparisons))
    except ValueError as error:
        ranks = str(error)
    return ComparisonData(choices=choices, comparisons=comparisons, ranks=ranks)


def rows(data: ComparisonData) -> Iterator[Sequence[object]]:
    """A row for each pair of methods on each problem, with the mean ranks over all problems."""
    yield (
        *("problem", "axis", "at", "first", "second", "mean_difference", "lower", "upper", "effect_size"),
        *(
            "share_better",
            "first_runs",
            "second_runs",
            "paired",
            "first_mean_rank",
            "second_mean_rank",
            "critical_difference",
        ),
    )
    for comparison in data.comparisons:
        for each in comparison.differences:
            interval = (None, None) if np.isnan(each.lower) else (each.lower, each.upper)
            ranks: tuple[object, ...] = (None, None, None)
            if isinstance(data.ranks, Ranks):
                mean = data.ranks.mean_ranks
                ranks = mean.get(each.first), mean.get(each.second), data.ranks.critical_difference
            yield (
                *(comparison.contest.problem.title, data.choices.axis.value, comparison.at),
                *(each.first, each.second, each.mean, *interval, each.effect, each.share_better),
                *(each.n_first, each.n_second, int(each.is_paired), *ranks),
            )


def draw(data: ComparisonData) -> Figure:
    """A panel of differences for each problem, and below them the ranks."""
    most = max(len(comparison.shown) for comparison in data.comparisons)
    n_lines = _most_lines(_label(each) for comparison in data.comparisons for each in comparison.shown)
    heights = [1.0 + most * (0.12 + 0.15 * n_lines)]
    if isinstance(data.ranks, Ranks):
        labels = [_rank_label(*each) for each in data.ranks.mean_ranks.items()]
        heights.append(1.3 + 0.13 * len(data.ranks.mean_ranks) * (1 + _most_lines(labels)))
    figure = Figure(figsize=(max(8.0, 6.5 * len(data.comparisons)), sum(heights) + 1.0), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(heights), len(data.comparisons), height_ratios=heights)
    first: Axes | None = None
    for column, comparison in enumerate(data.comparisons):
        axes = figure.add_subplot(grid[0, column], sharex=first)
        first = first or axes
        _draw_differences(axes, comparison)
        axes.set_title(
            f"{comparison.contest.problem.title},\nafter {place_text(comparison.at, data.choices.axis)}", fontsize=9
        )
    if isinstance(data.ranks, Ranks):
        _draw_ranks(figure.add_subplot(grid[1, :]), data.ranks)
    meaning = data.choices.regret.label.replace("\n", " ")
    add_title(
        figure,
        f"{meaning}.",
        "Differences of means, 95 % bootstrap intervals; left of zero the first method is better.",
    )
    return figure


def _label(each: Difference) -> str:
    return f"{broken(each.first)}\n{broken(f'against {each.second}')}"


def _rank_label(name: str, mean: float) -> str:
    return broken(f"{name} ({mean:.2f})")


def _most_lines(labels: Iterable[str]) -> int:
    return max(label.count("\n") + 1 for label in labels)


def _draw_differences(axes: Axes, comparison: Comparison) -> None:
    """A point with its interval for each pair; filled and coloured where the interval excludes zero."""
    for row, each in enumerate(comparison.shown):
        colour = _CLEAR if each.is_clear else _UNCLEAR
        if not np.isnan(each.lower):
            axes.plot([each.lower, each.upper], [row, row], color=colour, linewidth=1.8)
        fill = colour if each.is_clear else "white"
        axes.plot([each.mean], [row], "o", markersize=6, color=colour, markerfacecolor=fill)
    axes.axvline(0, color="black", linewidth=0.9, linestyle=":")
    labels = [_label(each) for each in comparison.shown]
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel("Difference of the test regrets (fraction)")
    axes.grid(True, axis="x", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def _draw_ranks(axes: Axes, ranks: Ranks) -> None:
    """Mean ranks as labelled points on one line, groups that are not told apart as bars, and the difference itself."""
    n = len(ranks.mean_ranks)
    for row, (name, mean) in enumerate(ranks.mean_ranks.items()):
        axes.plot([mean, mean], [0, row + 1], color="0.6", linewidth=0.8)
        axes.plot([mean], [0], "o", color="black", markersize=5)
        is_right = mean > (n + 1) / 2  # there its label stands to the left, where there is room
        axes.annotate(
            _rank_label(name, mean),
            (mean, row + 1),
            xytext=(-4 if is_right else 4, 0),
            textcoords="offset points",
            ha="right" if is_right else "left",
            va="center",
            fontsize=8,
            bbox={"color": "white", "pad": 0.5},
        )
    for level, group in enumerate(ranks.groups):
        places = [ranks.mean_ranks[name] for name in group]
        height = -0.35 - 0.3 * level
        axes.plot([min(places) - 0.03, max(places) + 0.03], [height, height], color=_CLEAR, linewidth=4)
    axes.set_xlim(0.8, n + 0.9)
    axes.set_ylim(n + 0.8, -0.7 - 0.3 * len(ranks.groups))
    axes.set_yticks([])
    axes.set_xticks(range(1, n + 1))
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.set_xlabel("Mean rank (1 is best)")
    facts = f"critical difference {ranks.critical_difference:.2f} (Nemenyi, 5 %), Friedman p = {ranks.p_value:.3g}"
    bars = "bars join methods that are not told apart" if ranks.groups else "all methods are told apart"
    axes.set_title(f"Ranks over {ranks.n_blocks} seeds and problems; {bars}\n{facts}", fontsize=9)
