"""Aggregates of step functions, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.aggregation import MOST_PLACES, Spread, StepFunction, aggregate


def steps(x: list[float], y: list[float], end: float) -> StepFunction:
    return StepFunction(np.array(x), np.array(y), end)


#: 0.4 from 1 and 0.2 from 3, ended at 4; 0.3 from 2 and 0.1 from 5, ended at 6.
FIRST, SECOND = steps([1, 3], [0.4, 0.2], 4), steps([2, 5], [0.3, 0.1], 6)


@pytest.mark.parametrize(
    ("spread", "half_width"),
    [(Spread.STD, 0.1 / 2**0.5), (Spread.SEM, 0.05), (Spread.QUANTILES, 0.025)],
)
def test_two_runs(spread: Spread, half_width: float) -> None:
    # From 2 on, where both have begun: 0.4 and 0.3, 0.2 and 0.3, 0.2 and 0.1, the same at the end. Two values that
    # differ by 0.1 have the standard deviation 0.1 / sqrt(2); their quartiles lie a quarter of 0.1 inside.
    found = aggregate([FIRST, SECOND], spread)
    assert found.x.tolist() == [2, 3, 5, 6]
    assert found.center == pytest.approx([0.35, 0.25, 0.15, 0.15])
    assert found.lower == pytest.approx([0.35 - half_width, 0.25 - half_width, 0.15 - half_width, 0.15 - half_width])
    assert found.upper - found.center == pytest.approx([half_width] * 4)
    assert found.n_ended.tolist() == [0, 0, 1, 2]


def test_the_median_of_three_is_the_middle_one() -> None:
    found = aggregate([FIRST, SECOND, steps([2], [0.9], 3)], Spread.QUANTILES)
    assert found.center == pytest.approx([0.4, 0.3, 0.2, 0.2])
    assert (found.lower[0], found.upper[0]) == pytest.approx((0.35, 0.65))


def test_nothing_is_invented_before_the_first_result() -> None:
    assert np.isnan(FIRST.at([0, 0.99])).all()
    assert FIRST.at([1, 2.99, 3, 100]).tolist() == [0.4, 0.4, 0.2, 0.2]
    late = steps([50], [0.3], 60)
    assert aggregate([FIRST, late]).x.tolist() == [50, 60]
    with pytest.raises(ValueError, match="at least one run, and a value in each"):
        aggregate([FIRST, steps([], [], 3)])
    with pytest.raises(ValueError, match="at least one run"):
        aggregate([])


def test_a_single_run_has_no_band() -> None:
    for spread in Spread:
        found = aggregate([FIRST], spread)
        assert found.center.tolist() == [0.4, 0.2, 0.2]
        assert np.isnan(found.lower).all()
        assert np.isnan(found.upper).all()


def test_many_changes_are_thinned_and_what_is_left_is_exact() -> None:
    rng = np.random.default_rng(0)
    curves = [steps(np.sort(rng.uniform(1, 1e4, 50)).tolist(), rng.random(50).tolist(), 1e4) for _ in range(100)]
    found = aggregate(curves)
    assert MOST_PLACES / 2 < len(found.x) <= MOST_PLACES
    assert (found.x[0], found.x[-1]) == (max(curve.x[0] for curve in curves), 1e4)
    for place, center in zip(found.x[::97], found.center[::97], strict=True):
        by_hand = [curve.y[[x <= place for x in curve.x].count(True) - 1] for curve in curves]
        assert center == pytest.approx(sum(by_hand) / 100)
