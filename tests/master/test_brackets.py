"""Ladders and brackets against examples worked by hand, the paper's counts, and hpbandster's own formula."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.brackets import bracket, evaluations_per_budget, hyperband, ladder


@pytest.mark.parametrize(
    ("min_budget", "max_budget", "eta", "expected"),
    [
        (25, 100, 2, (25, 50, 100)),
        (1, 243, 3, (1, 3, 9, 27, 81, 243)),  # hpbandster loses the 1
        (4, 108, 3, (4, 12, 36, 108)),
        (10, 100, 2, (13, 25, 50, 100)),  # 100/8 = 12.5, rounded up
        (30, 100, 2, (50, 100)),
        (7, 7, 2, (7,)),
        (1, 2, 3, (2,)),
    ],
)
def test_ladder_by_hand(min_budget: int, max_budget: int, eta: int, expected: tuple[int, ...]) -> None:
    assert ladder(min_budget, max_budget, eta) == expected


@given(st.integers(1, 500), st.integers(0, 5000), st.integers(2, 5))
def test_ladder_stays_in_bounds_and_has_as_many_rungs_as_fit(min_budget: int, extra: int, eta: int) -> None:
    budgets = ladder(min_budget, min_budget + extra, eta)
    assert budgets[-1] == min_budget + extra
    assert min_budget <= budgets[0]
    assert all(a < b for a, b in pairwise(budgets))
    n = len(budgets)
    assert min_budget * eta ** (n - 1) <= min_budget + extra < min_budget * eta**n


def test_brackets_take_turns() -> None:
    shapes = [bracket(i, (25, 50, 100), 2) for i in range(4)]
    assert [s.sizes for s in shapes] == [(4, 2, 1), (2, 1), (3,), (4, 2, 1)]
    assert [s.budgets for s in shapes] == [(25, 50, 100), (50, 100), (100,), (25, 50, 100)]


@pytest.mark.parametrize(("n_rungs", "eta"), [(1, 2), (3, 2), (4, 3), (6, 2), (5, 4)])
def test_sizes_are_those_of_hpbandster(n_rungs: int, eta: int) -> None:
    budgets = tuple(eta**k for k in range(n_rungs))
    for iteration in range(2 * n_rungs):
        # hpbandster/optimizers/bohb.py, get_next_iteration
        s = n_rungs - 1 - (iteration % n_rungs)
        n0 = int(np.floor(n_rungs / (s + 1)) * eta**s)
        theirs = [max(int(n0 * (eta ** (-i))), 1) for i in range(s + 1)]
        assert list(bracket(iteration, budgets, eta).sizes) == theirs


def test_study_of_the_paper() -> None:
    counts = evaluations_per_budget(hyperband(64, ladder(25, 100, 2), 2))
    assert counts == {25: 88, 50: 86, 100: 106}
    assert sum(counts.values()) == 280
    assert sum(budget * n for budget, n in counts.items()) == 17_100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((100, 25, 2), "min_budget: got 100, above max_budget 25"),
        ((0, 25, 2), "min_budget: got 0, expected a whole number of at least 1"),
        ((1, 25, 1), "eta: got 1, expected a whole number of at least 2"),
        ((1.5, 25, 2), "min_budget: got 1.5, expected a whole number"),
    ],
)
def test_impossible_ladders_are_refused(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ladder(*arguments)
