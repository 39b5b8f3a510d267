"""The base class of samplers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from master.brackets import Bracket, hyperband, ladder
from results.records import Proposal, StudySpec, TrialSpec, Value

if TYPE_CHECKING:
    import numpy as np
    from ConfigSpace import ConfigurationSpace


class Sampler(ABC):
    """Proposes configurations of a space; a subclass is one file and one line in ``SAMPLERS``.

    A sampler holds no generator; each proposal has its own. Therefore a tuner that was replayed from a journal goes
    on exactly as the tuner that wrote it.

    Attributes:
        space: The configuration space, which the sampler owns.
        running: Trials that run now; the tuner keeps them up to date. Their order means nothing.
    """

    running: Collection[TrialSpec] = ()

    def __init__(self, space: ConfigurationSpace) -> None:
        self.space = space

    @property
    def learns(self) -> bool:
        """Whether results change the proposals."""
        return type(self).observe is not Sampler.observe

    @abstractmethod
    def propose(self, budget: int, rng: np.random.Generator) -> Proposal:
        """Proposes a configuration, in built-in types.

        Args:
            budget: Search epochs at which the configuration runs first.
            rng: Generator of this proposal alone; every random draw comes from it.
        """

    def observe(self, config: Mapping[str, Value], budget: float, loss: float) -> None:  # noqa: B027  # a default
        """Learns the finite loss of a configuration of the space; a sampler without a model learns nothing."""

    def brackets(self, spec: StudySpec) -> tuple[Bracket, ...]:
        """Makes the brackets of a study, one per iteration; by default those of Hyperband.

        Raises:
            ValueError: The study's budgets make no ladder.
        """
        return hyperband(spec.n_iterations, ladder(spec.min_budget, spec.max_budget, spec.eta), spec.eta)
