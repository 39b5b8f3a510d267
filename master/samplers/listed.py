"""Given configurations alone, each at one budget: for sweeps, and for repeats under other seeds."""

from __future__ import annotations

import numpy as np

from master.brackets import Bracket
from master.samplers.sampler import Sampler
from results.records import Proposal, StudySpec


class ListedSampler(Sampler):
    """Proposes nothing of its own: the study's ``initial_configs`` are all that is evaluated.

    A configuration that is listed several times is evaluated as often: each has its own id, and so its own seed.
    """

    def brackets(self, spec: StudySpec) -> tuple[Bracket, ...]:
        """An iteration for each listed configuration, at the study's largest budget.

        Raises:
            ValueError: The study lists no configuration, or its budgets make no ladder.
        """
        if not spec.initial_configs:
            raise ValueError("--try: got no configuration, expected at least one for --sampler listed")
        super().brackets(spec)
        return (Bracket((1,), (spec.max_budget,)),) * len(spec.initial_configs)

    def propose(self, budget: int, rng: np.random.Generator) -> Proposal:
        """Refuses.

        Raises:
            LookupError: Always: every listed configuration is part of the study already.
        """
        raise LookupError("all listed configurations have been proposed")
