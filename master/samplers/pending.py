"""BOHB's sampler with knowledge of what runs: several workers at once do not try the same thing.

The paper's BOHB ignores running trials, and proposes a configuration again that it knows (hpbandster's issue 53). Both
happen often where a space is small or workers are many. Two rules are added:

* Constant liar: a configuration that runs and has no result yet counts as bad until it has one. Ginsbourger, Le Riche
  and Carraro (2010), *Kriging is well-suited to parallelize optimization*, section 4.2, lie about the loss of running
  points; this is their pessimistic lie. With two densities, it is a point of the bad one, as in Optuna's ``TPESampler``
  (``constant_liar``).
* No repeats: a configuration that runs or has an observation is not proposed while another one exists. When the space
  is exhausted, the ones without an observation at the proposal's budget or a larger one come next.

Differs from Optuna: a configuration that was promoted and runs again is no lie, because its earlier result is known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from ConfigSpace import CategoricalHyperparameter, Configuration, ConfigurationSpace
from ConfigSpace.exceptions import ForbiddenValueError
from ConfigSpace.util import deactivate_inactive_hyperparameters

from master.density import FloatArray
from master.samplers.kde import KdeSampler, KdeSettings, Model, impute
from master.samplers.random import built_in, draw
from results.records import Proposal, Value

#: Largest space whose configurations are listed to find those that are left.
_MAX_LISTED = 10_000
#: Number of uniform draws in search of a configuration that is not known.
_MAX_DRAWS = 64

#: A configuration as a key: its hyperparameters by name.
Key = tuple[tuple[str, Value], ...]


class PendingKdeSampler(KdeSampler):
    """Proposes as BOHB, away from what runs, and nothing twice while the space has something else."""

    def __init__(self, space: ConfigurationSpace, settings: KdeSettings | None = None) -> None:
        super().__init__(space, settings)
        self._evaluated: dict[Key, float] = {}  # to the largest budget
        self._lies: dict[Key, FloatArray] = {}  # vectors of the last proposal's lies, which are mostly the next one's

    def observe(self, config: Mapping[str, Value], budget: float, loss: float) -> None:
        """Learns the finite loss of a configuration of the space at a budget."""
        super().observe(config, budget, loss)
        key = _key(config)
        self._evaluated[key] = max(budget, self._evaluated.get(key, budget))

    def propose(self, budget: int, rng: np.random.Generator) -> Proposal:
        """Proposes the best of many samples that is not known, or a uniform draw that is not known.

        Args:
            budget: Search epochs at which the configuration runs first; it decides only in an exhausted space.
            rng: Generator of this proposal alone.
        """
        model = self.model(rng)
        if model is not None:
            model = self._with_lies(model, rng) if rng.random() >= self.settings.random_fraction else None
        known = dict(self._evaluated)
        for trial in self.running:
            key = _key(trial.config)
            known[key] = max(trial.budget, known.get(key, trial.budget))
        for least in (0, budget):
            taken = {key for key, largest in known.items() if largest >= least}
            proposal = self._fresh(model, taken, rng)
            if proposal is not None:
                return proposal
        return super().propose(budget, rng)  # all configurations have run at this budget

    def _with_lies(self, model: Model, rng: np.random.Generator) -> Model:
        """Adds the running configurations without a result to the bad density."""
        before, self._lies = self._lies, {}
        for trial in sorted(self.running, key=lambda trial: trial.config_id):
            key = _key(trial.config)
            if key not in self._evaluated:
                self._lies[key] = before[key] if key in before else self._vectors_of([trial.config])[0]
        if not self._lies:
            return model
        return replace(model, bad=self.density(np.vstack([model.bad.data, *self._lies.values()]), rng))

    def _fresh(self, model: Model | None, taken: Collection[Key], rng: np.random.Generator) -> Proposal | None:
        """Finds a configuration that is not taken, by the model if there is one; None if none was found."""
        for config in self.best_samples(model, rng) if model is not None else ():
            if _key(config) not in taken:
                return Proposal(config=config, model_based=True)
        left = [config for config in self._listed if _key(config) not in taken]
        if self._listed and not left:
            return None
        if model is not None and left:
            ratios = model.ratio(impute(self._vectors_of(left), self.levels, rng))
            return Proposal(config=left[int(np.argmin(ratios))], model_based=True)
        for _ in range(_MAX_DRAWS):
            config = draw(self.space, rng)
            if _key(config) not in taken:
                return Proposal(config=config, model_based=False)
        return Proposal(config=left[int(rng.integers(len(left)))], model_based=False) if left else None

    @cached_property
    def _listed(self) -> list[dict[str, Value]]:
        """All configurations of a small space; none of a large or an infinite one."""
        if math.prod(hyperparameter.size for hyperparameter in self.space.values()) > _MAX_LISTED:
            return []
        values = [_values_of(hyperparameter) for hyperparameter in self.space.values()]
        listed: dict[Key, dict[str, Value]] = {}
        for each in itertools.product(*values):
            try:
                config = built_in(
                    deactivate_inactive_hyperparameters(dict(zip(self.space, each, strict=True)), self.space)
                )
            except ForbiddenValueError:
                continue
            listed[_key(config)] = config
        return list(listed.values())

    def _vectors_of(self, configs: Sequence[Mapping[str, Value]]) -> FloatArray:
        """[n, d] vectors of configurations, NaN where a hyperparameter is inactive."""
        return np.array([Configuration(self.space, values=dict(config)).get_array() for config in configs])


def _values_of(hyperparameter: Any) -> Sequence[Value]:
    """All values of a hyperparameter that has finitely many: a categorical one or an integer."""
    if isinstance(hyperparameter, CategoricalHyperparameter):
        return tuple(hyperparameter.choices)
    return range(hyperparameter.lower, hyperparameter.upper + 1)


def _key(config: Mapping[str, Value]) -> Key:
    return tuple(sorted(config.items()))
