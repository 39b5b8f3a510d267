"""The importances of a run: for each budget and over budgets, with what tells how far they can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.evaluations import Evaluations, NoImportancesError, evaluations_by_budget, fit_forest
from analysis.importance import (
    PRESETS,
    Cutoff,
    FanovaSettings,
    Importances,
    importances,
    resampled,
    shuffled,
    views,
)
from analysis.importance.fanova import Names
from analysis.load import LoadedRun

#: Share of the forests of shuffled losses that stay below the noise floor.
_FLOOR_QUANTILE = 0.95
#: Largest number of evaluations whose losses are shuffled; a floor falls with the number, so this errs upwards.
_MOST_SHUFFLED = 300


@dataclass(frozen=True, kw_only=True)
class BudgetImportances:
    """The importances at one budget.

    Attributes:
        evaluations: Evaluations that they are computed from.
        found: Importances of all losses, or of those within the cut-off.
        floor: Component to the share that shuffled losses stay below in 95 % of the forests.
        sample_spreads: Component to the standard deviation of its share over bootstrap samples of the evaluations;
            empty where none were asked for.
        views: Further ranges of losses, "better than the default" and "best 20 %", to their importances, or to the
            sentence that says why there are none. Empty with a cut-off.
    """

    evaluations: Evaluations
    found: Importances
    floor: Mapping[Names, float]
    sample_spreads: Mapping[Names, float]
    views: Mapping[str, Importances | str]

    @property
    def main_effects(self) -> list[Names]:
        """Hyperparameters by falling share."""
        return self._by_share(1)

    @property
    def pairs(self) -> list[Names]:
        """Pairs by falling share of their interaction."""
        return self._by_share(2)

    def is_noise(self, names: Names) -> bool:
        """Whether the share cannot be told from that of shuffled losses."""
        return self.found.fractions[names] <= self.floor[names]

    def _by_share(self, order: int) -> list[Names]:
        fractions = self.found.fractions
        return sorted((names for names in fractions if len(names) == order), key=lambda names: -fractions[names])


def budget_importances(
    evaluations: Evaluations,
    *,
    settings: FanovaSettings | None = None,
    cutoff: str | None = None,
    n_samples: int = 0,
    seed: int = 0,
) -> BudgetImportances:
    """Computes the importances at one budget.

    Args:
        evaluations: The evaluations.
        settings: The settings, ours where None.
        cutoff: See ``cutoff_of``; None for none.
        n_samples: Number of bootstrap samples of the evaluations.
        seed: Seed of the forests, the permutations and the samples.

    Raises:
        ValueError: There are none; the message is a sentence that says why and where.
    """
    surrogate = fit_forest(evaluations, settings, seed)
    clip = Cutoff() if cutoff is None else cutoff_of(cutoff, evaluations)
    try:
        found = importances(surrogate, cutoff=clip)
    except ValueError as error:
        raise ValueError(f"{evaluations.where}: {error}") from error
    further: dict[str, Importances | str] = {}
    if cutoff is None:
        further = {"better than the default": "the default configuration has no loss here"}
        further |= views(surrogate, evaluations.default_loss)
        del further["all"]
    return BudgetImportances(
        evaluations=evaluations,
        found=found,
        floor=shuffled(surrogate, seed=seed, cutoff=clip, at_most=_MOST_SHUFFLED).quantile(_FLOOR_QUANTILE),
        sample_spreads=resampled(surrogate, n=n_samples, seed=seed, cutoff=clip).deviation() if n_samples else {},
        views=further,
    )


def run_importances(
    run: LoadedRun,
    *,
    budget: float | None = None,
    preset: str = "nasbohb",
    cutoff: str | None = None,
    n_samples: int = 0,
    seed: int = 0,
) -> list[BudgetImportances | str]:
    """Computes the importances at each budget, and over all of them.

    Args:
        run: The run.
        budget: The only budget to look at; None for each and all.
        preset: A key of ``analysis.importance.PRESETS``.
        cutoff: See ``cutoff_of``; None for none.
        n_samples: Number of bootstrap samples of the evaluations.
        seed: Seed of the forests, the permutations and the samples.

    Returns:
        Importances, or the sentence that says why there are none, by ascending budget; all budgets come last.

    Raises:
        NoImportancesError: The run says nothing of importances, or has no such budget.
        ValueError: The preset or the cut-off is unknown.
    """
    if preset not in PRESETS:
        raise ValueError(f"--preset: got {preset!r}, expected one of {', '.join(PRESETS)}")
    if cutoff is not None:
        _parsed(cutoff)
    every = evaluations_by_budget(run)
    chosen = [evaluations for evaluations in every if budget in (None, evaluations.budget)]
    if not chosen:
        known = ", ".join(f"{evaluations.budget:g}" for evaluations in every if evaluations.budget is not None)
        raise NoImportancesError(f"--budget: got {budget:g}, expected one of {known}")
    found: list[BudgetImportances | str] = []
    for evaluations in chosen:
        try:
            found.append(
                budget_importances(evaluations, settings=PRESETS[preset], cutoff=cutoff, n_samples=n_samples, seed=seed)
            )
        except ValueError as error:
            found.append(str(error))
    return found


def cutoff_of(text: str, evaluations: Evaluations) -> Cutoff:
    """Makes a cut-off from above.

    Args:
        text: ``default`` for the default configuration's loss, a share of the evaluations such as ``20%``, or a loss.
        evaluations: The evaluations that the first two refer to.

    Raises:
        ValueError: The text is none of these, or the default configuration has no loss.
    """
    parsed = _parsed(text)
    if parsed is None:
        if evaluations.default_loss is None:
            raise ValueError(f"{evaluations.where}: the default configuration has no loss to cut off at")
        return Cutoff(upper=evaluations.default_loss)
    if text.endswith("%"):
        return Cutoff.at_quantile(evaluations.losses, parsed)
    return Cutoff(upper=parsed)


def _parsed(text: str) -> float | None:
    """The number in a cut-off, a percentage as a fraction; None for ``default``."""
    if text == "default":
        return None
    try:
        number = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        number = np.nan
    if not np.isfinite(number) or (text.endswith("%") and not 0 < number <= 1):
        raise ValueError(f"--cutoff: got {text!r}, expected default, a share such as 20%, or a loss")
    return number
