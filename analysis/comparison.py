"""Comparison of methods over seeds: paired differences with bootstrap intervals, ranks, and who is ahead when.

Notation:
    s: number of seeds.
    k: number of methods.
    n: number of blocks; in a block every method has one value, on the same problem with the same seed.

Sources:
    * Efron and Tibshirani (1993), *An Introduction to the Bootstrap*, chapter 13: percentile intervals.
    * Cohen (1988), *Statistical Power Analysis*: the mean difference divided by the standard deviation of the
      differences (paired, d_z), or by the pooled one of the values (unpaired, d).
    * Demsar (2006), *Statistical Comparisons of Classifiers over Multiple Data Sets*: Friedman's test, Nemenyi's
      critical difference and its diagram.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf, nan, sqrt

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from analysis.aggregation import FloatArray
from analysis.contest import Contest, Method

#: Bootstrap samples of each interval.
N_SAMPLES = 10_000
LEVEL = 0.95
#: Largest number of methods of which every pair is drawn and said; the table has all.
MOST_METHODS = 4
#: Number of places at which the leader is looked for, evenly spaced on a logarithmic axis.
N_MOMENTS = 20


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One method against another: a negative mean says that the first has the lower regret.

    Attributes:
        first: Name of a method.
        second: Name of another one.
        mean: Mean regret of the first minus that of the second.
        lower: Lower end of the bootstrap interval; NaN where there is a single run or pair.
        upper: Upper end of the interval.
        effect: Cohen's d_z, or d where unpaired; None where nothing varies.
        share_better: Share of the pairs in which the first is better; a tie is half a pair. Unpaired: of all pairs.
        n_first: Number of runs of the first; paired, of the pairs.
        n_second: Number of runs of the second; paired, of the pairs.
        is_paired: Whether the runs are paired by seed.
        n_unmatched: Number of runs of both that are left out, because the other has none of that seed.
    """

    first: str
    second: str
    mean: float
    lower: float
    upper: float
    effect: float | None
    share_better: float
    n_first: int
    n_second: int
    is_paired: bool
    n_unmatched: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.lower > 0 or self.upper < 0


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Friedman's test, and Nemenyi's critical difference.

    Attributes:
        mean_ranks: Name to the mean rank over the blocks, the best first; 1 is best, ties share their ranks.
        n_blocks: n
        p_value: Probability of ranks so far apart among equal methods (Friedman).
        critical_difference: Methods whose mean ranks differ by less cannot be told apart (Nemenyi, 5 %).
        groups: Names of the methods that cannot be told apart, in largest groups of at least two.
    """

    mean_ranks: Mapping[str, float]
    n_blocks: int
    p_value: float
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Lead:
    """Who is ahead over a stretch of the axis.

    Attributes:
        begin: First place that was looked at.
        end: Last place that was looked at.
        leaders: The method that the fewest others are ahead of in the mean, which is the lowest mean where all have
            the same seeds; and those whose intervals of the difference to it hold zero.
        others: Methods that are clearly behind.
    """

    begin: float
    end: float
    leaders: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Methods on one problem, at the place that all of their runs have reached.

    Attributes:
        contest: The methods.
        at: That place on the axis.
        values: Name to seed to regret there; methods that have none by then are left out.
        differences: Every pair of methods, the better one of the pair's runs first.
        leads: Who is ahead when, from the first place at which two methods have values.
    """

    contest: Contest
    at: float
    values: Mapping[str, Mapping[int, float]]
    differences: tuple[Difference, ...]
    leads: tuple[Lead, ...]

    @property
    def shown(self) -> tuple[Difference, ...]:
        """Every pair of few methods; of many, the best one against each other."""
        if len(self.values) <= MOST_METHODS:
            return self.differences
        return self.differences[: len(self.values) - 1]


def compare(contest: Contest, seed: int = 0) -> Comparison:
    """Compares the methods on a problem.

    Args:
        contest: At least two methods.
        seed: Seed of the bootstrap samples.

    Raises:
        ValueError: Fewer than two methods have a result in every run by the place that all runs reach.
    """
    at = min(curve.end for method in contest.methods for curve in method.curves.values())
    begun = [m for m in contest.methods if max(curve.x[0] for curve in m.curves.values()) <= at]
    if len(begun) < 2:
        raise ValueError(
            f"{contest.problem.title}: {len(begun)} of {len(contest.methods)} methods have a result by the place that "
            "all runs reach, and a comparison needs two"
        )
    values = {m.name: _values(m, at) for m in begun}
    bootstrap = Bootstrap(seed)
    differences = []
    for a, b in combinations(_ordered(begun, values), 2):
        x, y, _ = _matched(a, b, values)
        first, second = (a, b) if x.mean() <= y.mean() else (b, a)
        differences.append(difference(first, second, at, bootstrap))
    return Comparison(
        contest=contest, at=at, values=values, differences=tuple(differences), leads=_leads(begun, at, bootstrap)
    )


def difference(first: Method, second: Method, at: float, bootstrap: Bootstrap) -> Difference:
    """Compares the regrets of two methods at a place at which all their runs have one."""
    x, y, is_paired = _matched(first, second, {m.name: _values(m, at) for m in (first, second)})
    lower, upper = bootstrap.interval(x, y, is_paired)
    compared = np.sign(x - y if is_paired else x[:, None] - y[None, :])
    return Difference(
        first=first.name,
        second=second.name,
        mean=float(x.mean() - y.mean()),
        lower=lower,
        upper=upper,
        effect=_effect(x, y, is_paired),
        share_better=float((compared < 0).mean() + (compared == 0).mean() / 2),
        n_first=len(x),
        n_second=len(y),
        is_paired=is_paired,
        n_unmatched=len(first.curves) + len(second.curves) - len(x) - len(y),
    )


def rank(blocks: Sequence[Mapping[str, float]]) -> Ranks:
    """Ranks methods over blocks.

    Args:
        blocks: [n] Name to regret, with the same k names in each block.

    Raises:
        ValueError: There are fewer than three methods or two blocks.
    """
    names = list(blocks[0]) if blocks else []
    n, k = len(blocks), len(names)
    if k < 3 or n < 2:
        raise ValueError(
            f"a critical-difference diagram needs three methods with two seeds in common, and there are {k} methods "
            f"with {n} in common"
        )
    values = np.array([[block[name] for name in names] for block in blocks])
    mean_ranks = rankdata(values, axis=1).mean(axis=0)
    spread = 1.0 if (values == values[:, :1]).all() else float(friedmanchisquare(*values.T).pvalue)
    critical = float(studentized_range.ppf(1 - 0.05, k, inf)) / sqrt(2) * sqrt(k * (k + 1) / (6 * n))
    order = sorted(range(k), key=lambda i: mean_ranks[i])
    ranks = {names[i]: float(mean_ranks[i]) for i in order}
    return Ranks(
        mean_ranks=ranks, n_blocks=n, p_value=spread, critical_difference=critical, groups=_groups(ranks, critical)
    )


def blocks_of(comparisons: Sequence[Comparison]) -> list[dict[str, float]]:
    """The blocks of several problems: methods with a value on each problem, and seeds that all of these have.

    Raises:
        ValueError: Seeds of different methods mean different things.
    """
    common = [name for name in comparisons[0].values if all(name in each.values for each in comparisons)]
    blocks = []
    for each in comparisons:
        pairings = {m.pairing for m in each.contest.methods if m.name in common}
        if len(pairings) > 1:
            raise ValueError("a seed of a study and a repeat of a baseline are no pair, and ranks need blocks of them")
        for seed in sorted(set.intersection(*(set(each.values[name]) for name in common)) if common else ()):
            blocks.append({name: each.values[name][seed] for name in common})
    return blocks


def _groups(ranks: Mapping[str, float], critical: float) -> tuple[tuple[str, ...], ...]:
    """Largest stretches of neighbouring ranks that lie within the critical difference."""
    names, groups = list(ranks), []
    last_end = 0
    for i, name in enumerate(names):
        end = max(j for j in range(i, len(names)) if ranks[names[j]] - ranks[name] < critical) + 1
        if end - i > 1 and end > last_end:
            groups.append(tuple(names[i:end]))
            last_end = end
    return tuple(groups)


def _values(method: Method, at: float) -> dict[int, float]:
    """Seed to the regret at a place."""
    return {seed: float(curve.at([at])[0]) for seed, curve in method.curves.items()}


def _matched(
    first: Method, second: Method, values: Mapping[str, Mapping[int, float]]
) -> tuple[FloatArray, FloatArray, bool]:
    """The values of both, paired by seed where the seeds mean the same and at least two are common."""
    a, b = values[first.name], values[second.name]
    common = sorted(set(a) & set(b)) if first.pairing == second.pairing else []
    if len(common) > 1:
        return np.array([a[seed] for seed in common]), np.array([b[seed] for seed in common]), True
    return np.array(list(a.values())), np.array(list(b.values())), False


def _ordered(methods: Sequence[Method], values: Mapping[str, Mapping[int, float]]) -> list[Method]:
    """The methods by the number of others that are ahead of them in the runs that are compared, then by their means.

    It is the order of the means where all methods have the same seeds. The means of different seeds are no order.
    """
    n_ahead = dict.fromkeys((m.name for m in methods), 0)
    for a, b in combinations(methods, 2):
        x, y, _ = _matched(a, b, values)
        n_ahead[a.name] += bool(y.mean() < x.mean())
        n_ahead[b.name] += bool(x.mean() < y.mean())
    return sorted(methods, key=lambda m: (n_ahead[m.name], np.mean(list(values[m.name].values()))))


class Bootstrap:
    """Bootstrap samples that all intervals of a comparison share, so that 500 runs cost little."""

    def __init__(self, seed: int) -> None:
        """A source of samples, which all follow from the seed."""
        self._seed = seed
        self._weights: dict[tuple[int, int], FloatArray] = {}

    def interval(self, x: FloatArray, y: FloatArray, is_paired: bool) -> tuple[float, float]:
        """The ends of the interval of the mean of ``x`` [s] minus that of ``y`` [t]; NaN below two runs of each."""
        if min(len(x), len(y)) < 2:
            return nan, nan
        means = self._means(x - y, 0) if is_paired else self._means(x, 0) - self._means(y, 1)
        lower, upper = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        return float(lower), float(upper)

    def _means(self, values: FloatArray, side: int) -> FloatArray:
        """[N_SAMPLES] means of samples of ``values`` [s] with replacement; each side has samples of its own."""
        n = len(values)
        if (n, side) not in self._weights:
            rng = np.random.default_rng([self._seed, n, side])
            self._weights[n, side] = rng.multinomial(n, np.full(n, 1 / n), size=N_SAMPLES) / n
        return np.asarray(self._weights[n, side] @ values)


def _effect(x: FloatArray, y: FloatArray, is_paired: bool) -> float | None:
    if min(len(x), len(y)) < 2:
        return None
    if is_paired:
        std = float((x - y).std(ddof=1))
    else:
        std = sqrt(((len(x) - 1) * x.var(ddof=1) + (len(y) - 1) * y.var(ddof=1)) / (len(x) + len(y) - 2))
    return float(x.mean() - y.mean()) / std if std > 1e-12 else None


def _leads(methods: Sequence[Method], at: float, bootstrap: Bootstrap) -> tuple[Lead, ...]:
    """Who is ahead at each of ``N_MOMENTS`` places, neighbours of the same answer together."""
    starts = sorted(max(curve.x[0] for curve in m.curves.values()) for m in methods)
    moments = np.unique(np.geomspace(max(starts[1], at * 1e-6), at, N_MOMENTS)) if at > 0 else np.array([0.0])
    moments[-1] = at
    found: list[Lead] = []
    for moment in moments:
        begun = [m for m in methods if max(curve.x[0] for curve in m.curves.values()) <= moment]
        best = _ordered(begun, {m.name: _values(m, moment) for m in begun})[0]
        behind = {m.name for m in begun if m is not best and difference(best, m, moment, bootstrap).upper < 0}
        leaders = (best.name, *(m.name for m in begun if m is not best and m.name not in behind))
        others = tuple(m.name for m in begun if m.name in behind)
        last = found[-1] if found else None
        if last is not None and (set(last.leaders), set(last.others)) == (set(leaders), set(others)):
            found[-1] = Lead(begin=last.begin, end=float(moment), leaders=last.leaders, others=others)
        else:
            found.append(Lead(begin=float(moment), end=float(moment), leaders=leaders, others=others))
    return tuple(found)
