"""Budgets and brackets of Hyperband in integers: pure functions that do not know who executes them.

Notation:
    R: number of rungs of the ladder; rung 0 has the smallest budget.
    eta: the factor between budgets, and the share 1/eta of configurations that advances.

Sources: Li et al. (2018), *Hyperband*, Algorithm 1; the sizes of the brackets as in hpbandster 0.7.4
(``optimizers/bohb.py``), which differ from the paper's in their rounding.

Differs from hpbandster: the number of rungs is found by multiplying integers. hpbandster truncates a ratio
of logarithms, so that 1 to 243 with eta 3 loses its smallest rung.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Bracket:
    """One iteration of successive halving.

    Attributes:
        sizes: [rungs] Number of configurations on each rung.
        budgets: [rungs] Budget of each rung, ascending.
    """

    sizes: tuple[int, ...]
    budgets: tuple[int, ...]


def ladder(min_budget: int, max_budget: int, eta: int) -> tuple[int, ...]:
    """Computes the budgets of all rungs, ascending; the last one is ``max_budget``.

    The number of rungs is one more than the number of times that ``min_budget`` can be multiplied by ``eta``
    without exceeding ``max_budget``. If ``max_budget / min_budget`` is no power of ``eta``, the largest budget
    is kept and the others are its fractions, rounded up: 10 to 100 with eta 2 gives 13, 25, 50, 100. Therefore
    no budget lies below ``min_budget``, and no two are equal.

    Args:
        min_budget: Smallest allowed budget.
        max_budget: Largest budget.
        eta: Factor between neighbouring rungs.

    Raises:
        ValueError: The budgets violate 1 <= min_budget <= max_budget, or eta is below 2.
    """
    for name, value, least in (("min_budget", min_budget, 1), ("max_budget", max_budget, 1), ("eta", eta, 2)):
        if type(value) is not int or value < least:
            raise ValueError(f"{name}: got {value!r}, expected a whole number of at least {least}")
    if min_budget > max_budget:
        raise ValueError(
            f"min_budget: got {min_budget}, above max_budget {max_budget}; expected at most max_budget; "
            "lower the one or raise the other"
        )
    divisors = [1]
    while min_budget * divisors[-1] * eta <= max_budget:
        divisors.append(divisors[-1] * eta)
    return tuple(-(-max_budget // divisor) for divisor in reversed(divisors))


def bracket(iteration: int, budgets: tuple[int, ...], eta: int) -> Bracket:
    """Computes the bracket of an iteration; brackets of R, R - 1, ..., 1 rungs take turns.

    For budgets 25, 50, 100 and eta 2 the sizes are (4, 2, 1), (2, 1), (3) in turn.

    Args:
        iteration: Number of the iteration, 0 for the first.
        budgets: Budgets of the whole ladder, ascending.
        eta: Inverse of the share of configurations that advances from rung to rung.
    """
    n_rungs = len(budgets) - iteration % len(budgets)
    first_size = len(budgets) // n_rungs * eta ** (n_rungs - 1)
    sizes = tuple(max(first_size // eta**rung, 1) for rung in range(n_rungs))
    return Bracket(sizes, budgets[-n_rungs:])


def hyperband(n_iterations: int, budgets: tuple[int, ...], eta: int) -> tuple[Bracket, ...]:
    """Computes the brackets of ``n_iterations`` in their order."""
    turns = [bracket(turn, budgets, eta) for turn in range(min(n_iterations, len(budgets)))]
    return tuple(turns[iteration % len(turns)] for iteration in range(n_iterations))


def evaluations_per_budget(brackets: Iterable[Bracket]) -> dict[int, int]:
    """Counts the evaluations of the brackets at each budget, ascending.

    64 iterations over the budgets 25, 50, 100 with eta 2 make 88, 86, 106.
    """
    counts: Counter[int] = Counter()
    for shape in brackets:
        counts.update(dict(zip(shape.budgets, shape.sizes, strict=True)))
    return dict(sorted(counts.items()))
