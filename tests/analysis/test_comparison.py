"""Comparisons of methods, against scipy, published critical values, and by hand."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, sqrt

import numpy as np
import pytest
from scipy.stats import bootstrap

from analysis.aggregation import StepFunction
from analysis.comparison import Bootstrap, Lead, blocks_of, compare, difference, rank
from analysis.comparison_text import comparison_text
from analysis.contest import Contest, Method, Problem
from analysis.trajectory import Axis

PROBLEM = Problem(search_space="1", table="digits", epochs=12)


def method(name: str, regrets: list[float], *, seeds: list[int] | None = None, pairing: str = "study") -> Method:
    """A method whose runs have their only result at 1, and end at 10."""
    curves = [StepFunction(np.array([1.0]), np.array([regret]), 10.0) for regret in regrets]
    numbers = range(len(regrets)) if seeds is None else seeds
    return Method(name=name, curves=dict(zip(numbers, curves, strict=True)), pairing=pairing)


def contest(*methods: Method) -> Contest:
    return Contest(problem=PROBLEM, methods=methods)


A, B = [0.02, 0.03, 0.05, 0.04], [0.03, 0.05, 0.05, 0.08]


def test_paired_differences() -> None:
    # Differences -0.01, -0.02, 0, -0.04: mean -0.0175, standard deviation 0.017078; better, better, a tie, better.
    found = difference(method("a", A), method("b", B), 5.0, Bootstrap(0))
    assert (found.mean, found.effect) == pytest.approx((-0.0175, -0.0175 / 0.0170783), rel=1e-5)
    assert (found.share_better, found.n_first, found.n_second, found.is_paired) == (3.5 / 4, 4, 4, True)
    theirs = bootstrap(
        (np.subtract(A, B),), np.mean, n_resamples=20_000, method="percentile", random_state=np.random.default_rng(1)
    ).confidence_interval
    assert (found.lower, found.upper) == pytest.approx((theirs.low, theirs.high), abs=1e-3)


def test_seeds_are_paired_by_their_number_and_others_are_left_out() -> None:
    b = method("b", [*B[::-1], 9.0], seeds=[3, 2, 1, 0, 8])
    ours, expected = (difference(method("a", A), other, 5.0, Bootstrap(0)) for other in (b, method("b", B)))
    assert (ours.n_unmatched, expected.n_unmatched) == (1, 0)
    assert replace(ours, n_unmatched=0) == expected


def test_the_seeds_in_common_say_which_method_is_better() -> None:
    # In common are seeds 1 and 2, where b is lower by 0.01 and 0.02. In the mean of all its runs a is lower: 0.04
    # against 0.115. Seeds 0 of a and 9 of b have no partner.
    a = method("a", [0.00, 0.05, 0.07], seeds=[0, 1, 2])
    b = method("b", [0.04, 0.05, 0.255], seeds=[1, 2, 9])
    comparison = compare(contest(a, b))
    (found,) = comparison.differences
    assert (found.first, found.second, found.share_better, found.n_unmatched) == ("b", "a", 1.0, 2)
    assert found.mean == pytest.approx(-0.015)
    assert comparison.leads == (Lead(begin=1.0, end=10.0, leaders=("b",), others=("a",)),)
    text = comparison_text([comparison], None, Axis.SERIAL)
    assert "  b has a lower test regret than a (difference -0.01500, 95 % interval -0.02000 to -0.01000" in text
    assert "better in 100 % of the seeds, 2 pairs, 2 runs without a partner left out)." in text


def test_the_best_of_many_is_the_one_that_no_other_is_ahead_of() -> None:
    # c has seed 0 too, where nothing is hard: its mean over its runs is the lowest, but a and b are ahead of it.
    a, b = method("a", [0.10, 0.12], seeds=[1, 2]), method("b", [0.11, 0.13], seeds=[1, 2])
    c = method("c", [0.00, 0.14, 0.15], seeds=[0, 1, 2])
    comparison = compare(contest(c, b, a))
    assert [(each.first, each.second) for each in comparison.differences] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert all(each.mean < 0 for each in comparison.differences)
    assert comparison.leads[0].leaders[0] == "a"


def test_seeds_of_another_meaning_are_not_paired() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.05, 0.01, 30), rng.normal(0.06, 0.01, 12)
    found = difference(method("a", a.tolist()), method("b", b.tolist(), pairing="repeat"), 5.0, Bootstrap(0))
    assert (found.is_paired, found.n_first, found.n_second) == (False, 30, 12)
    pooled = sqrt((29 * a.var(ddof=1) + 11 * b.var(ddof=1)) / 40)
    assert found.effect == pytest.approx((a.mean() - b.mean()) / pooled)
    assert found.share_better == sum(x < y for x in a for y in b) / 360
    theirs = bootstrap(
        (a, b),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        n_resamples=20_000,
        method="percentile",
        random_state=np.random.default_rng(1),
    ).confidence_interval
    assert (found.lower, found.upper) == pytest.approx((theirs.low, theirs.high), abs=1e-3)


def test_a_single_run_has_no_interval_and_is_never_clear() -> None:
    found = difference(method("a", [0.1]), method("b", [0.5]), 5.0, Bootstrap(0))
    assert isnan(found.lower)
    assert (found.is_clear, found.effect) == (False, None)


@pytest.mark.parametrize(("k", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)])
def test_critical_differences_are_those_of_demsar(k: int, q: float) -> None:
    # Demsar (2006), Table 5 (a), and its equation: CD = q sqrt(k (k + 1) / (6 N)).
    rng = np.random.default_rng(k)
    blocks = [{f"m{i}": float(rng.random()) for i in range(k)} for _ in range(14)]
    assert rank(blocks).critical_difference == pytest.approx(q * sqrt(k * (k + 1) / (6 * 14)), abs=1e-3)


def test_ranks_by_hand() -> None:
    # Ranks a, b, c: 1 2 3; 1.5 1.5 3; 1 3 2; 1 2 3: means 1.125, 2.125, 2.75.
    blocks = [
        {"c": 0.3, "a": 0.1, "b": 0.2},
        {"c": 0.3, "a": 0.1, "b": 0.1},
        {"c": 0.2, "a": 0.1, "b": 0.3},
        {"c": 0.3, "a": 0.1, "b": 0.2},
    ]
    found = rank(blocks)
    assert list(found.mean_ranks.items()) == [("a", 1.125), ("b", 2.125), ("c", 2.75)]
    # Friedman with ties: sums 4.5, 8.5, 11; 12/(4 3 4) (20.25 + 72.25 + 121) - 3 4 4 = 5.375; one pair of ties divides
    # by 1 - 6/96 = 0.9375: 5.7333; of 2 degrees of freedom exp(-5.7333 / 2).
    assert found.p_value == pytest.approx(np.exp(-5.375 / 0.9375 / 2))
    # The difference is 2.343 sqrt(12 / 24) = 1.657: all three means lie within it.
    assert found.groups == (("a", "b", "c"),)


def test_groups_are_the_largest_and_none_is_inside_another() -> None:
    blocks = [{"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}] * 12
    # 2.569 sqrt(20 / 72) = 1.354: neighbours are joined, and no others.
    assert rank(blocks).groups == (("a", "b"), ("b", "c"), ("c", "d"))
    assert rank(blocks * 10).groups == ()
    equal = rank([{"a": 1.0, "b": 1.0, "c": 1.0}] * 3)
    assert (equal.p_value, equal.groups) == (1.0, (("a", "b", "c"),))


def test_ranks_need_three_methods_and_two_common_seeds() -> None:
    for blocks in ([], [{"a": 1.0, "b": 2.0}] * 5, [{"a": 1.0, "b": 2.0, "c": 3.0}]):
        with pytest.raises(ValueError, match="needs three methods with two seeds in common"):
            rank(blocks)


def test_blocks_are_common_seeds_of_common_methods_on_each_problem() -> None:
    one = compare(contest(method("a", A), method("b", B), method("only here", A)))
    other = compare(contest(method("b", [0.2, 0.3], seeds=[2, 7]), method("a", [0.1, 0.4], seeds=[7, 9])))
    assert blocks_of([one, other]) == [*({"a": a, "b": b} for a, b in zip(A, B, strict=True)), {"a": 0.1, "b": 0.3}]
    with pytest.raises(ValueError, match="are no pair"):
        blocks_of([compare(contest(method("a", A), method("b", B, pairing="repeat")))])


def test_runs_are_compared_at_the_place_that_all_of_them_reach() -> None:
    long = Method(name="long", curves={0: StepFunction(np.array([1.0, 12.0]), np.array([0.5, 0.0]), 20.0)})
    late = Method(name="late", curves={0: StepFunction(np.array([11.0]), np.array([0.0]), 30.0)})
    found = compare(contest(long, method("short", [0.1]), late))
    assert found.at == 10.0
    assert found.values == {"long": {0: 0.5}, "short": {0: 0.1}}
    assert "not compared: late" in comparison_text([found], None, Axis.SERIAL)
    with pytest.raises(ValueError, match="1 of 2 methods have a result"):
        compare(contest(method("short", [0.1]), late))


def test_who_is_ahead_when() -> None:
    # From 1 on, the first is at 0.5 and the second at 0.3, by 20 seeds each; from 100 on the first is at 0.1.
    def runs(x: list[float], y: list[float]) -> dict[int, StepFunction]:
        return {seed: StepFunction(np.array(x), np.array(y) + seed * 1e-4, 1000.0) for seed in range(20)}

    slow, fast = Method(name="slow", curves=runs([1, 100], [0.5, 0.1])), Method(name="fast", curves=runs([1], [0.3]))
    before, after = compare(contest(slow, fast)).leads
    assert (before.leaders, before.others, before.begin) == (("fast",), ("slow",), 1)
    assert (after.leaders, after.others, after.end) == (("slow",), ("fast",), 1000)
    assert before.end < 100 <= after.begin
    # 20 places on a logarithmic axis from 1 to 1000 are a factor of 1.44 apart.
    assert after.begin / before.end == pytest.approx(1000 ** (1 / 19))
    same = compare(contest(slow, Method(name="twin", curves=slow.curves))).leads
    assert [(set(lead.leaders), lead.others) for lead in same] == [({"slow", "twin"}, ())]


def test_it_is_said_in_words() -> None:
    comparison = compare(contest(method("darts", A), method("gdas", B), method("enas", [x + 0.3 for x in A])))
    text = comparison_text([comparison], rank(blocks_of([comparison])), Axis.EVALUATIONS)
    lines = text.splitlines()
    assert lines[0] == "Search space 1, table digits at 12 epochs, after 10 evaluations, which all runs reach:"
    assert lines[1].startswith("  darts has a lower test regret than gdas (difference -0.01750, 95 % interval -0.0")
    assert lines[1].endswith("effect size d_z -1.02, better in 88 % of the seeds, 4 pairs).")
    assert lines[2].startswith("  darts has a lower test regret than enas (difference -0.30000")
    assert "no effect size, as nothing varies, better in 100 % of the seeds" in lines[2]
    assert "  With as few as 4 runs, these intervals are too narrow: read them as hints." in lines
    assert "    From 1 to 10 evaluations: darts, clearly ahead of gdas and enas." in lines
    assert "Mean ranks over 4 seeds and problems (1 is best): darts 1.12, gdas 1.88, enas 3.00." in lines
    assert "  Not told apart: darts and gdas." in lines
    assert "  Not told apart: gdas and enas." in lines


def test_what_cannot_be_told_apart_is_said() -> None:
    comparison = compare(contest(method("a", [0.1, 0.2, 0.3]), method("b", [0.2, 0.1, 0.3])))
    text = comparison_text([comparison], "there are two", Axis.SERIAL)
    assert "a and b cannot be told apart (difference 0.00000" in text
    assert ": a, not told apart from b." in text
    assert text.endswith("No ranks: there are two.")
    single = compare(contest(method("a", [0.1]), method("b", [0.2])))
    assert "a is 0.10000 lower than b, but of a single run: no interval" in comparison_text([single], None, Axis.SERIAL)
    equal = compare(contest(method("a", A), method("b", A)))
    assert "a and b have the same mean test regret." in comparison_text([equal], None, Axis.SERIAL)
    assert equal.leads == (Lead(begin=1.0, end=10.0, leaders=("a", "b"), others=()),)
