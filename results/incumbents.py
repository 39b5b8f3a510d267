"""The rule that chooses the incumbent: the configuration, or the cell, that a user would take at that moment.

Notation:
    m: number of evaluations, in the order in which they ended.

An error chooses. The incumbent at a moment depends only on the evaluations that have ended by then; of equal errors
the earlier one stays. A failed evaluation has the error NaN: it is never the incumbent. There is none before the first
success.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
import numpy.typing as npt


class IncumbentMode(str, Enum):
    """The part of the budgets in the choice of the incumbent.

    * ``any_budget``: the lowest error so far, whatever the budget.
    * ``largest_budget``: the lowest error so far among evaluations at one budget, the study's largest.
    * ``larger_preferred``: the lowest error so far among evaluations at the largest budget that any successful
      evaluation has had so far; the error may rise when a larger budget is first reached.
    """

    ANY_BUDGET = "any_budget"
    LARGEST_BUDGET = "largest_budget"
    LARGER_PREFERRED = "larger_preferred"


def incumbent_positions(
    errors: npt.ArrayLike,
    budgets: npt.ArrayLike,
    mode: IncumbentMode = IncumbentMode.ANY_BUDGET,
    largest_budget: float | None = None,
) -> npt.NDArray[np.int64]:
    """Finds the incumbent after each evaluation.

    Args:
        errors: [m] Errors that choose; NaN for a failed evaluation.
        budgets: [m] Budgets.
        mode: Part of the budgets in the choice.
        largest_budget: Budget for the mode ``largest_budget``; None for the largest of ``budgets``.

    Returns:
        [m] Position of the evaluation that is the incumbent after each; -1 before the first.
    """
    error, budget = np.asarray(errors, dtype=np.float64), np.asarray(budgets, dtype=np.float64)
    may_lead = ~np.isnan(error)
    if mode is IncumbentMode.LARGEST_BUDGET:
        may_lead &= budget == (budget.max(initial=-np.inf) if largest_budget is None else largest_budget)
    reached: npt.NDArray[np.float64] = np.zeros_like(error)
    if mode is IncumbentMode.LARGER_PREFERRED:
        reached = np.maximum.accumulate(np.where(may_lead, budget, -np.inf))
        may_lead &= budget == reached
    positions = np.full(len(error), -1, dtype=np.int64)
    for level in np.unique(reached):
        stretch = np.flatnonzero(reached == level)
        held = np.where(may_lead[stretch], error[stretch], np.inf)
        before = np.concatenate([[np.inf], np.minimum.accumulate(held)[:-1]])
        newest = np.maximum.accumulate(np.where(held < before, stretch, -1))
        positions[stretch] = newest
    return positions
