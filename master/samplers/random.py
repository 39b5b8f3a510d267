"""Uniform draws; with the brackets of a study, this is Hyperband (Li et al., 2018)."""

from __future__ import annotations

import numpy as np
from ConfigSpace import Configuration, ConfigurationSpace

from master.samplers.sampler import Sampler
from results.records import Proposal, Value


class RandomSampler(Sampler):
    """Draws every configuration uniformly, on the scale of each hyperparameter."""

    def propose(self, budget: int, rng: np.random.Generator) -> Proposal:
        """Draws a configuration; it is never model-based."""
        return Proposal(config=draw(self.space, rng), model_based=False)


def draw(space: ConfigurationSpace, rng: np.random.Generator) -> dict[str, Value]:
    """Draws a legal configuration of a space, which has generators of its own: they are seeded for this draw."""
    space.seed(int(rng.integers(2**31)))
    return built_in(space.sample_configuration())


def built_in(configuration: Configuration) -> dict[str, Value]:
    """The values as built-in types: ConfigSpace gives NumPy scalars for some, which no serializer takes."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in configuration.items()}
