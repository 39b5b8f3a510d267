"""Rank correlations with bootstrap intervals: Spearman's rho and Kendall's tau.

Notation:
    n: number of pairs.
    B: number of bootstrap samples.

The interval is that of the percentiles of the coefficient over samples of the pairs, drawn with replacement. Kendall's
coefficient of a sample needs no sorting: with w the number of times that each pair was drawn and s_ij the product of
the signs of x_i - x_j and y_i - y_j, its numerator is w' s w, and the ties of its denominator are counted likewise.

Sources: Kendall (1945), *The treatment of ties in ranking problems* (tau-b); Efron and Tibshirani (1993), *An
Introduction to the Bootstrap*, section 13.3; Politis, Romano and Wolf (1999), *Subsampling*, for more than
``MOST_RESAMPLED`` pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau, rankdata, spearmanr

from results.one_shot_errors import OneShotError

FloatArray = npt.NDArray[np.float64]

#: Share of the bootstrap samples inside of an interval.
LEVEL = 0.95
#: Number of bootstrap samples.
SAMPLES = 1_000
#: Largest number of pairs that are resampled. Of more, so many are, and the interval is narrowed by sqrt(m / n).
MOST_RESAMPLED = 1_000
#: Smallest number of pairs of which there is a coefficient.
LEAST_PAIRS = 3


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """A rank correlation.

    Attributes:
        coefficient: Coefficient of all pairs, in [-1, 1]; with ties, as tau-b and with mean ranks.
        samples: [B] Coefficients of the bootstrap samples.
        n: Number of pairs.
    """

    coefficient: float
    samples: FloatArray
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """The bootstrap interval of level ``LEVEL``."""
        return interval_of(self.samples)


def interval_of(samples: FloatArray) -> tuple[float, float]:
    """Percentiles around the middle ``LEVEL`` of bootstrap samples, [B]; those without a coefficient do not count."""
    lower, upper = np.nanquantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(lower), float(upper)


def rank_correlations(x: Sequence[float], y: Sequence[float], *, seed: int = 0) -> dict[str, Correlation]:
    """``spearman`` and ``kendall`` of pairs of numbers.

    Args:
        x: [n] First numbers.
        y: [n] Second numbers.
        seed: Seed of the bootstrap samples.

    Returns:
        Name to correlation; empty for fewer than three pairs, or where all values on a side are equal.
    """
    one, two = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    n = len(one)
    if n < LEAST_PAIRS or np.ptp(one) == 0 or np.ptp(two) == 0:
        return {}
    coefficients = {"spearman": float(spearmanr(one, two).statistic), "kendall": float(kendalltau(one, two).statistic)}
    rng = np.random.default_rng(seed)
    m = min(n, MOST_RESAMPLED)
    chosen = rng.permutation(n)[:m]
    drawn = rng.integers(m, size=(SAMPLES, m))
    resampled = {
        "spearman": _spearman(one[chosen][drawn], two[chosen][drawn]),
        "kendall": _kendall(one[chosen], two[chosen], drawn),
    }
    return {
        name: Correlation(coefficient=value, samples=_narrowed(resampled[name], value, m, n), n=n)
        for name, value in coefficients.items()
    }


def one_shot_correlations(errors: Sequence[OneShotError], *, seed: int = 0) -> dict[int, Mapping[str, Correlation]]:
    """Budget of the table to the correlations of one-shot validation error and the table's test error.

    Source: paper, section 5.2, which correlates the two over all architectures of a space, with Spearman's coefficient.

    Args:
        errors: Architectures with the same shared weights on the same images, each once.
        seed: Seed of the bootstrap samples.
    """
    pairs: dict[int, list[tuple[float, float]]] = {}
    for error in errors:
        for budget, answer in error.table.items():
            pairs.setdefault(budget, []).append((error.one_shot_validation_error, answer.test_error))
    found = {budget: rank_correlations(*zip(*pairs[budget], strict=True), seed=seed) for budget in sorted(pairs)}
    return {budget: correlations for budget, correlations in found.items() if correlations}


def _spearman(x: FloatArray, y: FloatArray) -> FloatArray:
    """[B] Spearman's coefficient of each row of two arrays [B, m]."""
    ranks = [rankdata(values, axis=1) for values in (x, y)]
    one, two = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((one * two).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1)))


def _kendall(x: FloatArray, y: FloatArray, drawn: npt.NDArray[np.int64]) -> FloatArray:
    """[B] Kendall's tau-b of samples of the pairs x, y [m], which ``drawn`` [B, m] names by their indices."""
    m = len(x)
    counts = np.stack([np.bincount(sample, minlength=m) for sample in drawn]).astype(np.float32)
    one, two = (np.sign(values[:, None] - values[None, :]).astype(np.float32) for values in (x, y))
    # Whole numbers of at most m^2 = 1e6, which float32 holds exactly.
    agreement, untied_x, untied_y = (
        ((counts @ signs) * counts).sum(axis=1, dtype=np.float64) for signs in (one * two, one**2, two**2)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(agreement / np.sqrt(untied_x * untied_y))


def _narrowed(samples: FloatArray, coefficient: float, m: int, n: int) -> FloatArray:
    """Samples of m pairs as those of n would spread: closer to the coefficient by sqrt(m / n)."""
    if m == n:
        return samples
    centre = np.nanmean(samples)
    return np.asarray(np.clip(coefficient + (samples - centre) * np.sqrt(m / n), -1, 1))
