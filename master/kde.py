"""BOHB's sampler: two kernel densities for a budget, of good and of bad configurations.

It knows neither hpbandster nor who executes: ``propose`` gives a configuration, ``observe`` takes a loss.

Sources: Falkner, Klein and Hutter (2018), *BOHB*, section 4.1 and Algorithm 2; hpbandster 0.7.4
(``optimizers/config_generators/bohb.py``), whose densities it reproduces on the same data.

Differs from hpbandster:
    * every random draw comes from one generator with a seed, not from NumPy's global one;
    * missing values of conditional hyperparameters are imputed also where only the first one is missing;
    * ties between losses keep the order of arrival;
    * the first configuration is the default one;
    * a failure to propose is an error, never a silent fall back to random search: only where the space has
      forbidden clauses, and all samples violate them, a random configuration is returned (and marked so).
"""

from __future__ import annotations

from collections.abc import Mapping
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

Config = dict[str, Any]
#: Keeps the ratio of two vanishing densities finite, as in hpbandster.
_SMALLEST_DENSITY = 1e-32


@dataclass(frozen=True)
class KdeSettings:
    """The sampler's settings; the defaults are hpbandster's.

    Attributes:
        min_points_in_model: Observations that a density needs, None for d + 1, the least possible.
        top_n_percent: Which share of the observations counts as good.
        n_samples: How many points are drawn to find the best ratio of densities.
        random_fraction: Which share of the proposals is drawn uniformly.
        bandwidth_factor: Widens the kernels that the samples are drawn from.
        min_bandwidth: Keeps the densities from collapsing.
    """

    min_points_in_model: int | None = None
    top_n_percent: int = 15
    n_samples: int = 64
    random_fraction: float = 1 / 3
    bandwidth_factor: float = 3.0
    min_bandwidth: float = 1e-3


@dataclass(frozen=True)
class Model:
    """The densities of a budget."""

    budget: float
    good: Density
    bad: Density


class KdeSampler:
    """Proposes configurations of a space."""

    def __init__(self, space: ConfigurationSpace, seed: int, settings: KdeSettings | None = None) -> None:
        """A sampler without observations.

        Args:
            space: The configuration space; the sampler reseeds it and owns it from now on.
            seed: Every draw follows from it.
            settings: None for hpbandster's defaults.

        Raises:
            ValueError: The space has a kind of hyperparameter that the densities do not know, or
                ``min_points_in_model`` is too small for its dimensions.
        """
        self._space = space
        self._settings = settings or KdeSettings()
        self._rng = np.random.default_rng(seed)
        self._levels = np.array([_n_levels(h) for h in space.values()], dtype=np.int64)
        least = len(self._levels) + 1
        self._min_points = self._settings.min_points_in_model or least
        if self._min_points < least:
            raise ValueError(
                f"min_points_in_model: got {self._min_points}, expected at least {least}, the dimensions and one more"
            )
        self._vectors: dict[float, list[FloatArray]] = {}
        self._losses: dict[float, list[float]] = {}
        self._n_proposed = 0
        self._model: Model | None = None
        self._is_stale = False
        space.seed(int(self._rng.integers(2**31)))

    def observe(self, config: Mapping[str, Any], budget: float, loss: float) -> None:
        """Learns the finite loss of a configuration of the space at a budget."""
        vector = Configuration(self._space, values=dict(config)).get_array()
        self._vectors.setdefault(budget, []).append(vector)
        self._losses.setdefault(budget, []).append(loss)
        self._is_stale = True

    def propose(self) -> tuple[Config, bool]:
        """The next configuration, in built-in types, and whether the model chose it."""
        self._n_proposed += 1
        if self._n_proposed == 1:
            return _built_in(self._space.get_default_configuration()), False
        model = self.model()
        if model is not None and self._rng.random() >= self._settings.random_fraction:
            config = self._best_sample(model)
            if config is not None:
                return config, True
        return _built_in(self._space.sample_configuration()), False

    def model(self) -> Model | None:
        """The densities of the largest budget that has enough observations; None if no budget has."""
        if self._is_stale:
            self._model = self._fit()
            self._is_stale = False
        return self._model

    def _fit(self) -> Model | None:
        d = len(self._levels)
        for budget in sorted(self._losses, reverse=True):
            n = len(self._losses[budget])
            n_good = max(self._min_points, self._settings.top_n_percent * n // 100)
            n_bad = min(max(self._min_points, (100 - self._settings.top_n_percent) * n // 100), n - n_good)
            if n_bad <= d:
                continue
            order = np.argsort(self._losses[budget], kind="stable")
            vectors = np.array(self._vectors[budget])[order]
            good, bad = vectors[:n_good], vectors[n_good : n_good + n_bad]
            return Model(budget, self._density(good), self._density(bad))
        return None

    def _density(self, vectors: FloatArray) -> Density:
        return Density.fit(impute(vectors, self._levels, self._rng), self._levels, self._settings.min_bandwidth)

    def _best_sample(self, model: Model) -> Config | None:
        """Of the samples around good configurations, the legal one with the best ratio good to bad."""
        samples = model.good.sample(self._settings.n_samples, self._settings.bandwidth_factor, self._rng)
        good = np.maximum(model.good.pdf(samples), _SMALLEST_DENSITY)
        bad = np.maximum(model.bad.pdf(samples), _SMALLEST_DENSITY)
        for i in np.argsort(bad / good, kind="stable"):
            config = self._decode(samples[i])
            if config is not None:
                return config
        return None

    def _decode(self, vector: FloatArray) -> Config | None:
        """The configuration at a point; None if it is forbidden."""
        configuration = Configuration(self._space, vector=vector)
        if self._space.conditions or self._space.forbidden_clauses:
            try:
                configuration = deactivate_inactive_hyperparameters(dict(configuration), self._space)
            except ForbiddenValueError:
                return None
        return _built_in(configuration)


def impute(vectors: FloatArray, levels: npt.NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
    """Fills the missing values of inactive hyperparameters.

    A row takes them from another row, drawn at random from those that have the first missing one; where no
    row has it, it is drawn uniformly.

    Args:
        vectors: [n, d] with NaN for what is missing.
        levels: [d] 0 for a continuous dimension, else the number of categories.
        rng: Draws the rows and the values.

    Returns:
        [n, d] without NaN.
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


def _built_in(configuration: Configuration) -> Config:
    """The values as built-in types: ConfigSpace gives NumPy scalars for some, which no serializer takes."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in configuration.items()}
