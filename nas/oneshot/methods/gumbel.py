"""Methods that mix by relaxed samples of categorical choices.

Source: Jang, Gu and Poole (2017), *Categorical Reparameterization with Gumbel-Softmax*; Maddison, Mnih and Teh (2017),
*The Concrete Distribution*.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor

from nas.oneshot.ahead import Ahead
from nas.oneshot.methods.method import GradientMethod
from nas.oneshot.model.supernet import Supernet
from nas.oneshot.spec import Settings


def gumbel_noise(n: int, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """[n, ...] independent draws from the Gumbel distribution."""
    return -torch.empty(n, *shape).exponential_(generator=generator).log()


def gumbel_softmax(logits: Tensor, gumbels: Tensor, temperature: Tensor | float) -> Tensor:
    """[n, ...] relaxed samples of the categoricals over the last axis of ``logits`` [...], by Gumbel noise [n, ...]."""
    return ((logits + gumbels) / temperature).softmax(-1)


class GumbelMethod(GradientMethod):
    """Methods that draw alpha, beta and gamma anew for each forward pass.

    Attributes:
        samples_per_cell: Whether each cell has a sample of its own, or all cells the same.
        temperature: [] on the device; ``start_epoch`` sets it with ``fill_``.
    """

    samples_per_cell: ClassVar[bool] = False

    def __init__(self, supernet: Supernet, settings: Settings, generator: torch.Generator) -> None:
        super().__init__(supernet, settings, generator)
        self.temperature = supernet.beta.new_ones(())
        self._ahead = Ahead(supernet.beta.device)
        self._reads_ahead = False

    @contextmanager
    def drawn_ahead(self, n: int) -> Iterator[None]:
        self._ahead.fill([self._draw() for _ in range(n)])
        self._reads_ahead = True
        try:
            yield
        finally:
            self._reads_ahead = False

    def _draw(self) -> list[Tensor]:
        """The noise of one forward pass, on the CPU."""
        n = len(self.supernet.cells) if self.samples_per_cell else 1
        return [gumbel_noise(n, logits.shape, self.generator) for logits in self.parameters]

    def samples(self) -> list[Tensor]:
        """New relaxed samples [cells, ...] or [1, ...] of each alpha, of beta and of gamma."""
        noise = self._ahead.next() if self._reads_ahead else [g.to(self.temperature.device) for g in self._draw()]
        return [
            gumbel_softmax(logits, gumbels.to(logits.dtype), self.temperature)
            for logits, gumbels in zip(self.parameters, noise, strict=True)
        ]
