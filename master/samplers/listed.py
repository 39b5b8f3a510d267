"""The sampler of given configurations, each at one budget: for sweeps, and for repeats under other seeds."""

from __future__ import annotations

import numpy as np

from master.brackets import Bracket
from master.samplers.sampler import Sampler
from results.records import Proposal, StudySpec


class ListedSampler(Sampler):
    """Proposes nothing: a study evaluates only its ``initial_configs``.

    A configuration that is listed several times is evaluated as often, each time with its own id and seed.
    """

    def brackets(self, spec: StudySpec) -> tuple[Bracket, ...]:
        """Makes one iteration per listed configuration, at the study's largest budget.

        Raises:
            ValueError: The study lists no configuration, or its budgets make no ladder.
        """
        if not spec.initial_configs:
            raise ValueError("--try: --sampler listed needs at least one configuration; give --try name=value")
        super().brackets(spec)
        return (Bracket((1,), (spec.max_budget,)),) * len(spec.initial_configs)

    def propose(self, budget: int, rng: np.random.Generator) -> Proposal:
        """Refuses to propose.

        Raises:
            LookupError: Always, because all listed configurations are part of the study already.
        """
        raise LookupError("all listed configurations have been proposed")
