"""Importances of changed evaluations: in shuffled losses, which is the noise floor, and in bootstrap samples.

Evaluations of one configuration at several budgets tell of one another, so they stand or fall together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from analysis.importance.axes import FloatArray, IntArray
from analysis.importance.fanova import Names, importances
from analysis.importance.marginals import is_varying
from analysis.importance.surrogate import NO_CUTOFF, Cutoff, Observations, Surrogate, fit


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """Importances of several forests, each fitted to changed evaluations.

    Attributes:
        fractions: Component to its share of the variance in each forest, [n].
        out_of_bag_r2: Out-of-bag R2 of each forest, NaN where there is none, [n].
    """

    fractions: Mapping[Names, FloatArray]
    out_of_bag_r2: FloatArray

    def quantile(self, quantile: float) -> dict[Names, float]:
        """Computes a quantile of every component's share."""
        return {names: float(np.quantile(shares, quantile)) for names, shares in self.fractions.items()}

    def deviation(self) -> dict[Names, float]:
        """Computes the standard deviation of every component's share."""
        return {names: float(shares.std()) for names, shares in self.fractions.items()}


def shuffled(
    surrogate: Surrogate, *, n: int = 20, seed: int = 0, cutoff: Cutoff = NO_CUTOFF, at_most: int | None = None
) -> Replicates:
    """Computes the noise floor: the importances that the same forest finds in shuffled losses.

    The losses of a configuration stay together: they go to another configuration, as do the budgets, and are shuffled
    among these.

    Args:
        surrogate: The forest whose importances are judged.
        n: Number of permutations.
        seed: Seed of the permutations and of their forests.
        cutoff: The range to which predictions are clipped.
        at_most: Largest number of evaluations per permutation, drawn without replacement; None for all. The floor
            falls with their number, so fewer evaluations take less time and give a floor that is too high.
    """
    rng = np.random.default_rng(seed)
    observations = surrogate.observations
    n_evaluations, n_groups, members = len(observations.losses), observations.n_groups, observations.members
    size = n_evaluations if at_most is None else min(at_most, n_evaluations)
    n_drawn = max(1, n_groups * size // n_evaluations)
    moves = [_is_of_configuration(columns, observations) for columns in observations.columns]
    samples = []
    for _ in range(n):
        order = rng.permutation(n_groups)[:n_drawn]
        targets = np.sort(rng.permutation(n_groups)[:n_drawn])
        kept = [members[group] for group in order]
        rows = np.concatenate(kept)
        new = np.concatenate([np.full(len(each), members[to][0]) for to, each in zip(targets, kept, strict=True)])
        losses = np.concatenate([rng.permutation(each) if len(each) > 1 else each for each in kept])
        samples.append(
            Observations(
                dimensions=observations.dimensions,
                columns=tuple(
                    columns[new if is_moved else rows]
                    for is_moved, columns in zip(moves, observations.columns, strict=True)
                ),
                losses=observations.losses[losses],
                groups=_numbered(kept),
                left_out=observations.left_out,
            )
        )
    return _replicates(surrogate, samples, rng, cutoff)


def resampled(surrogate: Surrogate, *, n: int = 20, seed: int = 0, cutoff: Cutoff = NO_CUTOFF) -> Replicates:
    """Computes how importances vary with the evaluations: over bootstrap samples, drawn with replacement.

    A sample draws configurations, each with all of its evaluations.

    Args:
        surrogate: The forest whose importances are judged.
        n: Number of samples.
        seed: Seed of the samples and of their forests.
        cutoff: The range to which predictions are clipped.
    """
    rng = np.random.default_rng(seed)
    n_groups, members = surrogate.observations.n_groups, surrogate.observations.members
    samples = []
    for _ in range(n):
        kept = [members[group] for group in rng.integers(n_groups, size=n_groups)]
        drawn = np.concatenate(kept)
        samples.append(
            Observations(
                dimensions=surrogate.observations.dimensions,
                columns=tuple(columns[drawn] for columns in surrogate.observations.columns),
                losses=surrogate.observations.losses[drawn],
                groups=_numbered(kept),
                left_out=surrogate.observations.left_out,
            )
        )
    return _replicates(surrogate, samples, rng, cutoff)


def _is_of_configuration(columns: FloatArray, observations: Observations) -> bool:
    """Whether the values are the same in all evaluations of each configuration, unlike the budget's."""
    firsts = np.array([rows[0] for rows in observations.members])
    return np.array_equal(columns, columns[firsts[observations.groups]])


def _numbered(members: Sequence[IntArray]) -> IntArray:
    """The numbers of the configurations whose evaluations stand one behind the other."""
    return np.repeat(np.arange(len(members)), [len(rows) for rows in members])


def _replicates(
    surrogate: Surrogate, samples: Sequence[Observations], rng: np.random.Generator, cutoff: Cutoff
) -> Replicates:
    """Decomposes a forest per sample; one that does not vary attributes nothing to any component."""
    names = [
        names
        for size in range(1, surrogate.settings.order + 1)
        for names in combinations(surrogate.observations.names, size)
    ]
    fractions, r2 = np.zeros((len(samples), len(names))), np.full(len(samples), np.nan)
    for row, sample in enumerate(samples):
        forest = fit(sample, surrogate.settings, int(rng.integers(2**31)))
        if not is_varying(forest.leaves.clipped(cutoff.lower, cutoff.upper)).any():
            continue
        found = importances(forest, cutoff=cutoff)
        fractions[row] = list(found.fractions.values())
        r2[row] = np.nan if found.out_of_bag_r2 is None else found.out_of_bag_r2
    return Replicates(fractions=dict(zip(names, fractions.T, strict=True)), out_of_bag_r2=r2)
