"""The rule that chooses incumbents, against a loop that follows its words."""

from __future__ import annotations

import random
from math import isnan, nan

import pytest

from results.incumbents import IncumbentMode, incumbent_positions


def in_words(errors: list[float], budgets: list[int], mode: IncumbentMode, largest: int) -> list[int]:
    """At each moment, looks at all evaluations that have ended."""
    found = []
    for n in range(1, len(errors) + 1):
        ok = [i for i in range(n) if not isnan(errors[i])]
        if mode is IncumbentMode.LARGEST_BUDGET:
            ok = [i for i in ok if budgets[i] == largest]
        if mode is IncumbentMode.LARGER_PREFERRED and ok:
            reached = max(budgets[i] for i in ok)
            ok = [i for i in ok if budgets[i] == reached]
        found.append(min(ok, key=lambda i: (errors[i], i)) if ok else -1)
    return found


@pytest.mark.parametrize("mode", list(IncumbentMode))
@pytest.mark.parametrize("seed", range(20))
def test_it_follows_its_words(seed: int, mode: IncumbentMode) -> None:
    rng = random.Random(seed)
    errors = [rng.choice([nan, 0.1, 0.2, 0.3, 0.4]) for _ in range(rng.randrange(30))]
    budgets = [rng.choice([2, 4, 8]) for _ in errors]
    assert incumbent_positions(errors, budgets, mode, 8).tolist() == in_words(errors, budgets, mode, 8)


def test_the_largest_budget_is_that_of_the_evaluations_where_none_is_given() -> None:
    assert incumbent_positions([0.1, 0.3], [1, 2], IncumbentMode.LARGEST_BUDGET).tolist() == [-1, 1]
    assert incumbent_positions([0.1, 0.3], [1, 2], IncumbentMode.LARGEST_BUDGET, 4).tolist() == [-1, -1]
