"""Methods that train one sampled architecture at a time, and choose by the shared weights at the end.

Differs from the public code: the cells reported in each epoch come from a cheaper ranking than its 1,000 x 10
(Random-WS) and 1,000 x 1 (ENAS) samples and mini-batches, so their curves are no copy of the paper's Figure 2.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor

from nas.oneshot.ahead import Ahead
from nas.oneshot.methods.method import Method
from nas.oneshot.model.evaluation import Evaluator
from nas.oneshot.model.mixture import Mixture, by_block
from nas.oneshot.model.supernet import Supernet
from nas.oneshot.spec import Settings
from spaces.search_space import N_OPERATIONS, Architecture, SearchSpace


class SamplingMethod(Method):
    """Random-WS and ENAS (Algorithms 4 and 5): a plain sum of the sampled parents, the sampled operation alone.

    At the end, ``final_samples`` architectures are ranked on the same ``RANKING_BATCHES`` mini-batches of the
    architecture's half, and the best ``FINALISTS`` that differ in more than loose ends on the whole of it.  In earlier
    epochs fewer samples, one per mini-batch of the half, are ranked on a single mini-batch, so a report costs one
    forward pass per training step.  The one-shot error of the best costs another: together about half of an epoch's
    weight steps.
    """

    uses = Method.uses | {"final_samples"}
    updates_architecture = False
    RANKING_BATCHES: ClassVar[int] = 10
    FINALISTS: ClassVar[int] = 5

    changing_operations = True

    def __init__(self, supernet: Supernet, settings: Settings, generator: torch.Generator) -> None:
        super().__init__(supernet, settings, generator)
        self._ahead = Ahead(supernet.beta.device)
        self._drawn: Iterator[Architecture] | None = None

    @abstractmethod
    def sample(self, n: int) -> list[Architecture]:
        """Draws n architectures from ``self.generator``."""

    @contextmanager
    def drawn_ahead(self, n: int) -> Iterator[None]:
        architectures = self.sample(n)
        if self.supernet.masked:
            self._ahead.fill([_zeros_and_ones(self.space, architecture) for architecture in architectures])
        self._drawn = iter(architectures)
        try:
            yield
        finally:
            self._drawn = None

    def mixtures(self) -> list[Mixture]:
        """One new architecture, the same in every cell."""
        n_cells = len(self.supernet.cells)
        if self._drawn is None:
            return [Mixture.discrete(*self.sample(1))] * n_cells
        if not self.supernet.masked:
            return [Mixture.discrete(next(self._drawn))] * n_cells
        *alpha, beta, gamma = self._ahead.next()
        return [Mixture.relaxed(self.space, by_block(self.space, alpha), beta.unbind(), gamma, one_hot=True)] * n_cells

    def select(self, evaluator: Evaluator, *, final: bool) -> Architecture:
        if not final:
            candidates = self.sample(evaluator.n_mini_batches)
            errors = evaluator.architecture_errors(candidates, evaluator.first_batches(1))
            return candidates[errors.argmin()]
        candidates = self.sample(self.settings.final_samples)
        errors = evaluator.architecture_errors(candidates, evaluator.first_batches(self.RANKING_BATCHES))
        distinct: dict[Mixture, Architecture] = {}
        for i in errors.argsort(kind="stable"):
            distinct.setdefault(Mixture.discrete(candidates[i]), candidates[i])
        finalists = list(distinct.values())[: self.FINALISTS]
        return finalists[evaluator.architecture_errors(finalists, evaluator.batches).argmin()]

    def one_shot_error(self, evaluator: Evaluator, selected: Architecture) -> float:
        """The error of the selected architecture with the shared weights."""
        return float(evaluator.architecture_errors([selected], evaluator.batches)[0])


def _zeros_and_ones(space: SearchSpace, architecture: Architecture) -> list[Tensor]:
    """The architecture as weights: [j] of the parents of each block with a choice, [B, O], [B + 1] of the output's."""
    nodes = [node for node in range(1, space.n_blocks + 2) if node > space.n_blocks or space.has_parent_choice(node)]
    *alpha, gamma = (
        torch.tensor([float(i in architecture.parents[node - 1]) for i in range(node)]) for node in nodes
    )
    return [*alpha, torch.eye(N_OPERATIONS)[list(architecture.operations)], gamma]
