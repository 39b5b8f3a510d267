"""BOHB's sampler: two kernel densities at a budget, of good and of bad configurations.

Sources: Falkner, Klein and Hutter (2018), *BOHB*, section 4.1 and Algorithm 2; hpbandster 0.7.4
(``optimizers/config_generators/bohb.py``), whose densities it reproduces on the same data.

Differs from hpbandster:
    * every random draw comes from the generator of its proposal, not from NumPy's global one;
    * missing values of conditional hyperparameters are imputed also if only the first one is missing;
    * ties between losses keep the order of arrival;
    * a failure to propose is an error, never a silent fall back to random search. Only if all samples violate
      forbidden clauses of the space, a random configuration is returned, and marked so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ConfigSpace import CategoricalHyperparameter, Configuration, ConfigurationSpace
from ConfigSpace import UniformFloatHyperparameter as UniformFloat
from ConfigSpace import UniformIntegerHyperparameter as UniformInteger
from ConfigSpace.exceptions import ForbiddenValueError
from ConfigSpace.util import deactivate_inactive_hyperparameters

from master.density import Density, FloatArray
from master.samplers.random import built_in, draw
from master.samplers.sampler import Sampler
from results.records import Proposal, Value

#: Keeps the ratio of two vanishing densities finite, as in hpbandster.
_SMALLEST_DENSITY = 1e-32


@dataclass(frozen=True)
class KdeSettings:
    """The sampler's settings; the defaults are hpbandster's.

    Attributes:
        min_points_in_model: Number of observations that a density needs; None for d + 1, the least possible.
        top_n_percent: Percentage of the observations that counts as good.
        n_samples: Number of points drawn to find the best ratio of densities.
        random_fraction: Fraction of the proposals that is drawn uniformly.
        bandwidth_factor: Factor that widens the kernels from which samples are drawn.
        min_bandwidth: Lower limit of the bandwidths, which keeps the densities from collapsing.
    """

    min_points_in_model: int | None = None
    top_n_percent: int = 15
    n_samples: int = 64
    random_fraction: float = 1 / 3
    bandwidth_factor: float = 3.0
    min_bandwidth: float = 1e-3


@dataclass(frozen=True)
class Model:
    """The densities at a budget."""

    budget: float
    good: Density
    bad: Density

    def ratio(self, points: FloatArray) -> FloatArray:
        """[m] Bad over good density at [m, d] points; the smallest is the best."""
        good, bad = (np.maximum(density.pdf(points), _SMALLEST_DENSITY) for density in (self.good, self.bad))
        return np.asarray(bad / good)


class KdeSampler(Sampler):
    """Proposes configurations where good ones are dense and bad ones are not.

    Attributes:
        settings: Settings of the sampler.
        levels: [d] 0 for a continuous hyperparameter, or else the number of categories.
    """

    def __init__(self, space: ConfigurationSpace, settings: KdeSettings | None = None) -> None:
        """Makes a sampler without observations.

        Args:
            space: Configuration space, which the sampler owns from now on.
            settings: Settings of the sampler; None for hpbandster's defaults.

        Raises:
            ValueError: The space has a kind of hyperparameter that the densities do not support, or
                ``min_points_in_model`` is too small for its dimensions.
        """
        super().__init__(space)
        self.settings = settings or KdeSettings()
        self.levels = np.array([_n_levels(h) for h in space.values()], dtype=np.int64)
        least = len(self.levels) + 1
        self._min_points = self.settings.min_points_in_model or least
        if self._min_points < least:
            raise ValueError(
                f"min_points_in_model: got {self._min_points}, expected at least {least}, the dimensions and one more"
            )
        self._vectors: dict[float, list[FloatArray]] = {}
        self._losses: dict[float, list[float]] = {}
        self._model: Model | None = None
        self._is_stale = False

    def observe(self, config: Mapping[str, Value], budget: float, loss: float) -> None:
        """Learns the finite loss of a configuration of the space at a budget."""
        vector = Configuration(self.space, values=dict(config)).get_array()
        self._vectors.setdefault(budget, []).append(vector)
        self._losses.setdefault(budget, []).append(loss)
        self._is_stale = True

    def propose(self, budget: int, rng: np.random.Generator) -> Proposal:
        """Proposes the best of many samples of the model, or a uniform draw; the budget has no influence."""
        model = self.model(rng)
        if model is not None and rng.random() >= self.settings.random_fraction:
            config = next(self.best_samples(model, rng), None)
            if config is not None:
                return Proposal(config=config, model_based=True)
        return Proposal(config=draw(self.space, rng), model_based=False)

    def model(self, rng: np.random.Generator) -> Model | None:
        """Fits the densities at the largest budget with enough observations; None if no budget has enough.

        Args:
            rng: Generator of the values that inactive hyperparameters lack. They are drawn for each proposal anew,
                so a proposal depends only on the observations and its own generator.
        """
        if self._is_stale or self.space.conditions:
            self._model = self._fit(rng)
            self._is_stale = False
        return self._model

    def _fit(self, rng: np.random.Generator) -> Model | None:
        d = len(self.levels)
        for budget in sorted(self._losses, reverse=True):
            n = len(self._losses[budget])
            n_good = max(self._min_points, self.settings.top_n_percent * n // 100)
            n_bad = min(max(self._min_points, (100 - self.settings.top_n_percent) * n // 100), n - n_good)
            if n_bad <= d:
                continue
            order = np.argsort(self._losses[budget], kind="stable")
            vectors = np.array(self._vectors[budget])[order]
            good, bad = vectors[:n_good], vectors[n_good : n_good + n_bad]
            return Model(budget, self.density(good, rng), self.density(bad, rng))
        return None

    def density(self, vectors: FloatArray, rng: np.random.Generator) -> Density:
        """Fits a density to [n, d] vectors, whose missing values are imputed."""
        return Density.fit(impute(vectors, self.levels, rng), self.levels, self.settings.min_bandwidth)

    def best_samples(self, model: Model, rng: np.random.Generator) -> Iterator[dict[str, Value]]:
        """Draws samples of the model and yields the legal ones, the best ratio of good to bad density first."""
        samples = model.good.sample(self.settings.n_samples, self.settings.bandwidth_factor, rng)
        for i in np.argsort(model.ratio(samples), kind="stable"):
            config = self._decode(samples[i])
            if config is not None:
                yield config

    def _decode(self, vector: FloatArray) -> dict[str, Value] | None:
        """Decodes a point into its configuration; None if it is forbidden."""
        configuration = Configuration(self.space, vector=vector)
        if self.space.conditions or self.space.forbidden_clauses:
            try:
                configuration = deactivate_inactive_hyperparameters(dict(configuration), self.space)
            except ForbiddenValueError:
                return None
        return built_in(configuration)


def impute(vectors: FloatArray, levels: npt.NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
    """Fills the missing values of inactive hyperparameters.

    A row takes them from another row, which is drawn at random from those that have the first missing value. If no
    row has that value, it is drawn uniformly.

    Args:
        vectors: [n, d] Vectors with NaN for missing values.
        levels: [d] 0 for a continuous dimension, or else the number of categories.
        rng: Generator of the drawn rows and values.

    Returns:
        [n, d] vectors without NaN.
    """
    filled = vectors.copy()
    for row in np.flatnonzero(np.isnan(vectors).any(axis=1)):
        while np.isnan(filled[row]).any():
            missing = np.flatnonzero(np.isnan(filled[row]))
            first = missing[0]
            donors = np.flatnonzero(~np.isnan(vectors[:, first]))
            if donors.size:
                filled[row, missing] = vectors[rng.choice(donors), missing]
            else:
                filled[row, first] = rng.integers(levels[first]) if levels[first] else rng.random()
    return filled


def _n_levels(hyperparameter: Any) -> int:
    if isinstance(hyperparameter, CategoricalHyperparameter):
        return len(hyperparameter.choices)
    if isinstance(hyperparameter, UniformFloat | UniformInteger):
        return 0
    raise ValueError(
        f"{hyperparameter.name}: got a {type(hyperparameter).__name__}, expected a uniform float, a uniform integer or "
        "a categorical hyperparameter; write an ordinal one as an integer, and leave a constant out"
    )
