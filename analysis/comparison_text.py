"""A comparison of methods in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analysis.comparison import Comparison, Difference, Lead, Ranks
from analysis.trajectory import Axis, time_unit

#: Number of pairs below which a caution stands beside the intervals.
_FEW = 10
#: Number of methods from which on those that are behind are counted and not named.
_MANY = 5


def comparison_text(comparisons: Sequence[Comparison], ranks: Ranks | str | None, axis: Axis) -> str:
    """The sentences on each problem, and on the ranks over all of them."""
    lines = [line for comparison in comparisons for line in (*_of_problem(comparison, axis), "")]
    if isinstance(ranks, Ranks):
        lines += _of_ranks(ranks)
    elif ranks is not None:
        lines.append(f"No ranks: {ranks}.")
    return "\n".join(lines).rstrip()


def difference_text(each: Difference) -> str:
    """One comparison as a sentence."""
    if each.mean == 0 and each.effect is None:
        return f"{each.first} and {each.second} have the same mean test regret."
    size = f"{abs(each.mean):.5f}"
    if min(each.n_first, each.n_second) < 2:
        return f"{each.first} is {size} lower than {each.second}, but of a single run: no interval, no conclusion."
    name = "d_z" if each.is_paired else "d"
    effect = "no effect size, as nothing varies" if each.effect is None else f"effect size {name} {each.effect:.2f}"
    pairs = f"{each.n_first} pairs" if each.is_paired else f"unpaired, {each.n_first} and {each.n_second} runs"
    if each.n_unmatched:
        pairs += f", {each.n_unmatched} run{'' if each.n_unmatched == 1 else 's'} without a partner left out"
    facts = (
        f"difference {each.mean:.5f}, 95 % interval {each.lower:.5f} to {each.upper:.5f}, "
        f"{effect}, better in {100 * each.share_better:.0f} % of "
        f"{'the seeds' if each.is_paired else 'all pairs'}, {pairs}"
    )
    if each.is_clear:
        return f"{each.first} has a lower test regret than {each.second} ({facts})."
    return f"{each.first} and {each.second} cannot be told apart ({facts})."


def place_text(place: float, axis: Axis) -> str:
    """A place on an axis with its unit."""
    if axis is Axis.EVALUATIONS:
        return f"{place:.0f} evaluations"
    if axis is Axis.EPOCHS:
        return f"{place:g} search epochs"
    unit, seconds = time_unit(place)
    return f"{place / seconds:.3g} {unit}"


def _of_problem(comparison: Comparison, axis: Axis) -> Iterator[str]:
    title = comparison.contest.problem.title
    yield f"{title[0].upper()}{title[1:]}, after {place_text(comparison.at, axis)}, which all runs reach:"
    late = [m.name for m in comparison.contest.methods if m.name not in comparison.values]
    if late:
        yield f"  Without a result in every run by then, and not compared: {', '.join(late)}."
    yield from (f"  {difference_text(each)}" for each in comparison.shown)
    if len(comparison.shown) < len(comparison.differences):
        yield f"  The other {len(comparison.differences) - len(comparison.shown)} pairs stand in the table."
    fewest = min(min(each.n_first, each.n_second) for each in comparison.differences)
    if 2 <= fewest < _FEW:
        yield f"  With as few as {fewest} runs, these intervals are too narrow: read them as hints."
    if len(comparison.differences) > 1:
        yield f"  The intervals are not corrected for the number of comparisons, {len(comparison.differences)}."
    yield "  Who is ahead when, in the mean:"
    yield from (f"    {_lead_text(lead, axis)}" for lead in comparison.leads)


def _lead_text(lead: Lead, axis: Axis) -> str:
    begin, end = place_text(lead.begin, axis), place_text(lead.end, axis)
    number, _, unit = begin.partition(" ")
    first = number if end.endswith(f" {unit}") else begin
    when = f"At {begin}" if begin == end else f"From {first} to {end}"
    best, *rest = lead.leaders
    parts = [f"{when}: {best}"]
    if lead.others:
        n = len(lead.others)
        parts.append(f"clearly ahead of {_listed(lead.others) if n < _MANY else f'{n} others'}")
    if rest:
        parts.append(f"not told apart from {_listed(rest)}")
    return f"{', '.join(parts)}."


def _of_ranks(ranks: Ranks) -> Iterator[str]:
    listed = ", ".join(f"{name} {rank:.2f}" for name, rank in ranks.mean_ranks.items())
    yield f"Mean ranks over {ranks.n_blocks} seeds and problems (1 is best): {listed}."
    verdict = "the methods differ" if ranks.p_value < 0.05 else "the ranks do not show that the methods differ"
    yield f"Friedman's test: p = {ranks.p_value:.3g}, {verdict}."
    yield f"Critical difference of two mean ranks (Nemenyi, 5 %): {ranks.critical_difference:.2f}."
    yield from (f"  Not told apart: {_listed(group)}." for group in ranks.groups)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
