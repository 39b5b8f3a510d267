"""GDAS (Algorithm 3): paths sampled by the Gumbel-softmax, anew for each cell and each forward pass.

Source: Dong and Yang (2019), *Searching for a Robust Neural Architecture in Four GPU Hours*; Jang, Gu and
Poole (2017), *Categorical Reparameterization with Gumbel-Softmax*.

A block computes its sampled operation alone.  Its weight is 1 in the forward pass and has the gradient of the
relaxed probability (straight-through).  Edges stay relaxed: hard ones gave exploding gradients, as the public code
notes.  The architecture's gradient is clipped to ``grad_clip`` like that of the weights, as in the public code.

Differs from the public code: the temperature reaches 1 in the last epoch; there it trained at 1 + 9 / epochs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nas.oneshot.ahead import Ahead
from nas.oneshot.methods.method import GradientMethod
from nas.oneshot.model.batches import Batch
from nas.oneshot.model.mixture import Mixture, by_block
from nas.oneshot.model.supernet import Supernet
from nas.oneshot.model.weight_trainer import WeightTrainer
from nas.oneshot.spec import Settings

#: Temperature of the Gumbel-softmax in the first and in the last epoch; linear in between.
FIRST_TEMPERATURE, LAST_TEMPERATURE = 10.0, 1.0



def gumbel_softmax(logits: Tensor, gumbels: Tensor, temperature: Tensor | float) -> Tensor:
    """[n, ...] relaxed samples of the categoricals over the last axis of ``logits`` [...], by Gumbel noise [n, ...]."""
    return ((logits + gumbels) / temperature).softmax(-1)


class Gdas(GradientMethod):
    """GS(alpha), hard GS(beta), GS(gamma) with GS the Gumbel-softmax."""

    changing_operations = True

    def __init__(self, supernet: Supernet, settings: Settings, generator: torch.Generator) -> None:
        super().__init__(supernet, settings, generator)
        self.temperature = torch.tensor(FIRST_TEMPERATURE, device=supernet.beta.device)
        self._ahead = Ahead(supernet.beta.device)
        self._draws_ahead = False

    def start_epoch(self, epoch: int) -> None:
        """Sets the temperature."""
        progress = epoch / max(self.settings.epochs - 1, 1)
        self.temperature.fill_(FIRST_TEMPERATURE + (LAST_TEMPERATURE - FIRST_TEMPERATURE) * progress)

    @contextmanager
    def drawn_ahead(self, n: int) -> Iterator[None]:
        self._ahead.fill([self._gumbels() for _ in range(n)])
        self._draws_ahead = True
        try:
            yield
        finally:
            self._draws_ahead = False

    def _gumbels(self) -> list[Tensor]:
        """Noise for one forward pass, on the CPU: a row per cell, for the logits of alpha, beta and gamma in turn."""
        n = len(self.supernet.cells)
        shapes = [logits.shape for logits in self.supernet.architecture_parameters()]
        return [-torch.empty(n, *shape).exponential_(generator=self.generator).log() for shape in shapes]

    def mixtures(self) -> list[Mixture]:
        net = self.supernet
        noise = self._ahead.next() if self._draws_ahead else [g.to(net.beta.device) for g in self._gumbels()]
        *alpha, beta, gamma = (
            gumbel_softmax(logits, gumbels.to(logits.dtype), self.temperature)
            for logits, gumbels in zip(net.architecture_parameters(), noise, strict=True)
        )
        edges = by_block(self.space, [a.unbind() for a in alpha])
        weights, operations = (self._masked if net.masked else self._sampled)(beta)
        return [
            Mixture.relaxed(
                self.space,
                [None if of_blocks is None else of_blocks[cell] for of_blocks in edges],
                weights[cell].unbind(),
                of_output,
                operations[cell] if operations else None,
                one_hot=operations is None,
            )
            for cell, of_output in enumerate(gamma.unbind())
        ]

    @staticmethod
    def _sampled(beta: Tensor) -> tuple[Sequence[Tensor], list[list[list[int]]] | None]:
        """By cell, weights [B, 1] of the sampled operations, and which they are: this waits for a GPU."""
        sampled = beta.argmax(-1, keepdim=True)
        return _straight_through(beta.gather(-1, sampled)).unbind(), sampled.tolist()

    @staticmethod
    def _masked(beta: Tensor) -> tuple[Sequence[Tensor], list[list[list[int]]] | None]:
        """By cell, weights [B, O]: zeros but for the sampled operations."""
        hard = torch.zeros_like(beta).scatter(-1, beta.argmax(-1, keepdim=True), 1.0)
        return (hard * _straight_through(beta)).unbind(), None

    def architecture_gradient(self, weight_batch: Batch, batch: Batch, weights: WeightTrainer) -> Tensor:
        """Puts the gradient of DARTS's first order, clipped, into the architecture weights."""
        loss = super().architecture_gradient(weight_batch, batch, weights)
        nn.utils.clip_grad_norm_(self.parameters, weights.grad_clip, foreach=True)
        return loss


def _straight_through(relaxed: Tensor) -> Tensor:
    """Ones with the gradient of the relaxed probabilities."""
    return 1 + (relaxed - relaxed.detach())
