"""Functional analysis of variance: which hyperparameters, and which of their interactions, make the loss vary.

The objective is replaced by a random forest. Each tree's function is decomposed exactly into a sum of components, one
per subset of the hyperparameters, over the whole configuration space; a component's variance over the tree's is the
importance of its subset.

Source: Hutter, Hoos and Leyton-Brown (2014), *An Efficient Approach for Assessing Hyperparameter Importance*.

Differs from the original:
    * a tree's components are computed on grids of cells, all subsets from one pass over the leaves, instead of one
      traversal of the tree per cell;
    * hyperparameters are measured on the scale on which they are drawn, not on the raw one;
    * a cut-off clips the leaves' predictions and leaves their boxes as they are;
    * the importances that shuffled losses reach stand beside the importances.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.importance.axes import FloatArray
from analysis.importance.dimensions import Dimension, Ordered
from analysis.importance.marginals import component_variances, is_varying, marginal_at
from analysis.importance.settings import FanovaSettings
from analysis.importance.surrogate import NO_CUTOFF, Cutoff, Observations, Surrogate, fit, observe

#: Names of the hyperparameters of a component.
Names = tuple[str, ...]
#: Out-of-bag R2 below which importances say little.
LEAST_R2 = 0.1


@dataclass(frozen=True, kw_only=True)
class Importances:
    """The decomposition of a forest's variance.

    Attributes:
        fractions: Component to its share of the variance, mean over the trees that vary: main effects first, in the
            order of the space, then interactions.
        spreads: Component to the standard deviation of its share over these trees.
        higher_orders: Share of all components that are not listed, mean over the trees.
        variance: Variance of the predictions over the configuration space, mean over all trees.
        out_of_bag_r2: Share of variance that the trees explain of evaluations they have not seen; None where too few
            evaluations were left out of a tree.
        n_evaluations: Number of evaluations that the forest was fitted to.
        left_out: Hyperparameters that cannot be judged, with the reason.
        warning: A sentence where the forest explains too little to say anything; None otherwise.
    """

    fractions: Mapping[Names, float]
    spreads: Mapping[Names, float]
    higher_orders: float
    variance: float
    out_of_bag_r2: float | None
    n_evaluations: int
    left_out: Mapping[str, str]
    warning: str | None

    def of(self, *names: str) -> float:
        """Returns the share of a component, its hyperparameters in any order.

        Raises:
            ValueError: If the component is not listed.
        """
        return self.fractions[_listed(names, self.fractions)]


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """The loss as a function of some hyperparameters, averaged over all others.

    Attributes:
        names: The hyperparameters, in the order of the axes.
        values: Their values on the original scale, one tuple per axis.
        positions: The same values' positions in [0, 1], one array per axis.
        mean: Mean over the trees, [n_1, .. n_k].
        spread: Standard deviation over the trees, [n_1, .. n_k].
    """

    names: Names
    values: tuple[tuple[Any, ...], ...]
    positions: tuple[FloatArray, ...]
    mean: FloatArray
    spread: FloatArray


def surrogate_of(
    dimensions: Sequence[Dimension],
    configurations: Sequence[Mapping[str, Any]],
    losses: npt.ArrayLike,
    settings: FanovaSettings | None = None,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> Surrogate:
    """Fits the forest to evaluations that succeeded; everything else here takes it.

    Args:
        dimensions: The configuration space, from ``dimensions_of``.
        configurations: Hyperparameter to value, one per evaluation.
        losses: Losses of the evaluations, [n].
        settings: The settings, ours where None.
        seed: Seed of the forest.
        groups: What tells the configurations of the evaluations apart, [n]; None where each evaluation has its own.
            A tree sees all evaluations of a configuration or none, so that it is not judged by what it has seen.

    Raises:
        ValueError: If the evaluations cannot be decomposed; the message says why.
    """
    settings = settings or FanovaSettings()
    return fit(observe(dimensions, configurations, losses, settings, groups), settings, seed)


def importances(surrogate: Surrogate, *, order: int | None = None, cutoff: Cutoff = NO_CUTOFF) -> Importances:
    """Decomposes the variance of a forest.

    Args:
        surrogate: The forest.
        order: Number of hyperparameters in the largest interactions, the settings' where None.
        cutoff: The range to which predictions are clipped.

    Raises:
        ValueError: If no tree varies within the cut-off.
    """
    settings, observations = surrogate.settings, surrogate.observations
    leaves = surrogate.leaves.clipped(cutoff.lower, cutoff.upper)
    varying = is_varying(leaves)
    if not varying.any():
        where = "" if cutoff == NO_CUTOFF else f" between {cutoff.lower:.6g} and {cutoff.upper:.6g}"
        raise ValueError(f"no tree predicts different losses{where}; there is no variance to share out")
    total, variances = component_variances(leaves, settings.order if order is None else order)
    shares = {
        tuple(observations.names[index] for index in subset): variance[varying] / total[varying]
        for subset, variance in variances.items()
    }
    fractions = {names: float(share.mean()) for names, share in shares.items()}
    spreads = {names: float(share.std()) for names, share in shares.items()}
    if settings.normalised:
        scale = sum(fractions.values()) or 1.0
        fractions = {names: share / scale for names, share in fractions.items()}
        spreads = {names: spread / scale for names, spread in spreads.items()}
    r2 = surrogate.out_of_bag_r2(cutoff)
    return Importances(
        fractions=fractions,
        spreads=spreads,
        higher_orders=max(0.0, 1 - sum(fractions.values())),
        variance=float(total.mean()),
        out_of_bag_r2=r2,
        n_evaluations=len(observations.losses),
        left_out=observations.left_out,
        warning=_warning(r2),
    )


def _warning(r2: float | None) -> str | None:
    if r2 is None:
        return "There are too few evaluations to tell how much the forest explains; its importances may be noise."
    if r2 < LEAST_R2:
        share = f"{r2:.0%}" if r2 > 0 else "nothing"
        return f"The forest explains {share} of the variance of unseen evaluations; its importances may be noise."
    return None


def marginal(
    surrogate: Surrogate, names: Sequence[str], *, n_points: int = 100, cutoff: Cutoff = NO_CUTOFF
) -> Marginal:
    """Computes the loss as a function of one hyperparameter or several, averaged over all others.

    Args:
        surrogate: The forest.
        names: The hyperparameters, in the order that the axes are to have.
        n_points: Largest number of values per numerical hyperparameter, evenly spaced on its scale.
        cutoff: The range to which predictions are clipped.

    Raises:
        ValueError: If a hyperparameter is unknown, left out or named twice.
    """
    observations = surrogate.observations
    subset = tuple(_index_of(name, observations) for name in names)
    if not subset or len(set(subset)) < len(subset):
        raise ValueError(f"marginal: got {', '.join(names) or 'no name'}, expected different hyperparameters")
    grids = [observations.dimensions[index].grid(n_points) for index in subset]
    leaves = surrogate.leaves.clipped(cutoff.lower, cutoff.upper)
    values = marginal_at(leaves, subset, [positions for _, positions in grids])
    return Marginal(
        names=tuple(names),
        values=tuple(values for values, _ in grids),
        positions=tuple(positions for _, positions in grids),
        mean=values.mean(axis=0),
        spread=values.std(axis=0),
    )


def views(surrogate: Surrogate, default_loss: float | None = None) -> dict[str, Importances | str]:
    """Decomposes one forest three times: over all losses, below the default configuration's, and below the best 20 %.

    Args:
        surrogate: The forest.
        default_loss: The loss of the default configuration; its view is left out where None.

    Returns:
        View to its importances, or to the sentence that says why it has none.
    """
    cutoffs = {"all": NO_CUTOFF}
    if default_loss is not None:
        cutoffs["better than the default"] = Cutoff(upper=default_loss)
    cutoffs["best 20 %"] = Cutoff.at_quantile(surrogate.observations.losses, 0.2)
    found: dict[str, Importances | str] = {}
    for name, cutoff in cutoffs.items():
        try:
            found[name] = importances(surrogate, cutoff=cutoff)
        except ValueError as error:
            found[name] = str(error)
    return found


def by_budget(
    dimensions: Sequence[Dimension],
    configurations: Sequence[Mapping[str, Any]],
    losses: npt.ArrayLike,
    budgets: Sequence[float],
    settings: FanovaSettings | None = None,
    seed: int = 0,
) -> dict[float, Surrogate | str]:
    """Fits a forest per budget, as the paper's Figure 16 does.

    Args:
        dimensions: The configuration space.
        configurations: Hyperparameter to value, one per evaluation.
        losses: Losses of the evaluations, [n].
        budgets: Budgets of the evaluations, [n].
        settings: The settings, ours where None.
        seed: Seed of each forest.

    Returns:
        Budget, ascending, to its forest, or to the sentence that says why it has none.
    """
    values, at = np.asarray(losses, dtype=np.float64), np.asarray(budgets, dtype=np.float64)
    found: dict[float, Surrogate | str] = {}
    for budget in np.unique(at).tolist():
        chosen = np.flatnonzero(at == budget)
        try:
            found[budget] = surrogate_of(
                dimensions, [configurations[index] for index in chosen], values[chosen], settings, seed
            )
        except ValueError as error:
            found[budget] = str(error)
    return found


def with_budget(
    dimensions: Sequence[Dimension],
    configurations: Sequence[Mapping[str, Any]],
    budgets: Sequence[float],
    name: str = "budget",
) -> tuple[tuple[Dimension, ...], list[dict[str, Any]]]:
    """Adds the budget as a further hyperparameter.

    Every budget that occurs has the same weight. On the ladder of successive halving, where budgets grow by a
    constant factor, this is a logarithmic scale in equal bins.

    Args:
        dimensions: The configuration space.
        configurations: Hyperparameter to value, one per evaluation.
        budgets: Budgets of the evaluations, [n].
        name: Name of the new hyperparameter.

    Raises:
        ValueError: If a hyperparameter has the name already.
    """
    if name in {dimension.name for dimension in dimensions}:
        raise ValueError(f"name: got {name!r}, expected one that no hyperparameter has")
    ladder = Ordered(name, tuple(sorted(set(budgets))))
    extended = [{**config, name: budget} for config, budget in zip(configurations, budgets, strict=True)]
    return (*dimensions, ladder), extended


def _index_of(name: str, observations: Observations) -> int:
    if name in observations.left_out:
        raise ValueError(f"{name} cannot be judged: {observations.left_out[name]}")
    if name not in observations.names:
        raise ValueError(f"hyperparameter: got {name!r}, expected one of {', '.join(observations.names)}")
    return observations.names.index(name)


def _listed(names: Sequence[str], fractions: Mapping[Names, float]) -> Names:
    for listed in fractions:
        if sorted(listed) == sorted(names):
            return listed
    raise ValueError(f"component: got {', '.join(names)}, expected hyperparameters that vary, and no higher order")
