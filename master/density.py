"""A multivariate kernel density over the unit cube and unordered categories.

Notation:
    n: number of observations; d: number of dimensions; m: number of points to evaluate or to draw.
    levels: [d] 0 for a continuous dimension, whose values lie in [0, 1]; the number of categories for a
        categorical dimension, whose values are 0..levels-1.
    h: [d] bandwidths.

The density is the mean over the observations of a product of kernels: Gaussian for continuous dimensions,
Aitchison and Aitken's for categorical ones (1 - h for the observed category, h / (levels - 1) for others).
Bandwidths follow the normal reference rule, h = 1.06 * std * n^(-1 / (4 + d)).

Sources: Falkner, Klein and Hutter (2018), *BOHB*, section 4.1; ``KDEMultivariate`` of statsmodels, which
hpbandster uses, and with which the values agree.

Differs from statsmodels:

* The number of categories is the hyperparameter's, not the number of observed categories. With one observed
  category, statsmodels divides by zero.
* A categorical bandwidth is at most (levels - 1) / levels, at which the kernel is uniform. Above it, observed
  categories would be less dense than others, and densities would become negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from scipy.special import ndtr, ndtri

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Density:
    """A fitted density.

    Attributes:
        data: [n, d] Observations.
        bandwidths: [d] Bandwidths, h.
        levels: [d] Kind of each dimension, see the module's notation.
    """

    data: FloatArray
    bandwidths: FloatArray
    levels: npt.NDArray[np.int64]

    @classmethod
    def fit(cls, data: FloatArray, levels: npt.NDArray[np.int64], min_bandwidth: float) -> Density:
        """Fits a density to [n, d] observations, with bandwidths of at least ``min_bandwidth``."""
        n, d = data.shape
        bandwidths = np.maximum(1.06 * data.std(axis=0) * n ** (-1 / (4 + d)), min_bandwidth)
        categorical = levels > 0
        bandwidths[categorical] = np.minimum(bandwidths[categorical], 1 - 1 / levels[categorical])
        return cls(data, bandwidths, levels)

    def pdf(self, points: FloatArray) -> FloatArray:
        """[m] Density at [m, d] points."""
        continuous = self.levels == 0
        h = self.bandwidths[continuous]
        distances = cdist(points[:, continuous] / h, self.data[:, continuous] / h, "sqeuclidean")
        kernels: FloatArray = np.exp(-0.5 * distances) / np.prod(h * np.sqrt(2 * np.pi))
        for j in np.flatnonzero(~continuous):
            same = points[:, None, j] == self.data[None, :, j]
            kernels *= np.where(same, 1 - self.bandwidths[j], self.bandwidths[j] / (self.levels[j] - 1))
        return np.asarray(kernels.mean(axis=1))

    def sample(self, n_points: int, bandwidth_factor: float, rng: np.random.Generator) -> FloatArray:
        """Draws [m, d] points around observations drawn at random.

        A continuous coordinate comes from a normal distribution that is truncated to [0, 1]. Its deviation is the
        bandwidth times ``bandwidth_factor``. A category is kept with probability 1 - h, or else drawn uniformly.
        """
        centres = self.data[rng.integers(len(self.data), size=n_points)]
        points = centres.copy()
        for j, (levels, h) in enumerate(zip(self.levels, self.bandwidths, strict=True)):
            uniform = rng.random(n_points)
            if levels:
                points[:, j] = np.where(uniform < 1 - h, centres[:, j], rng.integers(levels, size=n_points))
            else:
                points[:, j] = _truncated_normal(centres[:, j], h * bandwidth_factor, uniform)
        return points


def _truncated_normal(mean: FloatArray, deviation: float, uniform: FloatArray) -> FloatArray:
    """Computes quantiles ``uniform`` of normal distributions truncated to [0, 1], with means in [0, 1]."""
    low, high = ndtr(-mean / deviation), ndtr((1 - mean) / deviation)
    return np.clip(mean + deviation * ndtri(low + uniform * (high - low)), 0, 1)
