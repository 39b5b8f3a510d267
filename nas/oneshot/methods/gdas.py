"""GDAS (Algorithm 3): paths sampled by the Gumbel-softmax, anew for each cell and each forward pass.

Source: Dong and Yang (2019), *Searching for a Robust Neural Architecture in Four GPU Hours*.

A block's weight of the sampled operation is 1 in the forward pass and has the gradient of the relaxed probability
(straight-through).  On the CPU the block computes that operation alone; a masked supernet computes all, times zeros and
a one.  Edges stay relaxed: hard ones gave exploding gradients, as the public code notes.  The architecture's gradient
is clipped to ``grad_clip`` like that of the weights, as in the public code.

Differs from the public code: the temperature reaches 1 in the last epoch; there it trained at 1 + 9 / epochs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nas.oneshot.methods.gumbel import GumbelMethod
from nas.oneshot.model.batches import Batch
from nas.oneshot.model.mixture import Mixture, by_block
from nas.oneshot.model.weight_trainer import WeightTrainer, clipping

#: Temperature of the Gumbel-softmax in the first and in the last epoch; linear in between.
FIRST_TEMPERATURE, LAST_TEMPERATURE = 10.0, 1.0


class Gdas(GumbelMethod):
    """GS(alpha), hard GS(beta), GS(gamma) with GS the Gumbel-softmax."""

    changing_operations = True
    samples_per_cell = True

    def start_epoch(self, epoch: int) -> None:
        """Sets the temperature."""
        progress = epoch / max(self.settings.epochs - 1, 1)
        self.temperature.fill_(FIRST_TEMPERATURE + (LAST_TEMPERATURE - FIRST_TEMPERATURE) * progress)

    def mixtures(self) -> list[Mixture]:
        *alpha, beta, gamma = self.samples()
        edges = by_block(self.space, [a.unbind() for a in alpha])
        weights, operations = (_masked if self.supernet.masked else _sampled)(beta)
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

    def architecture_gradient(self, weight_batch: Batch, batch: Batch, weights: WeightTrainer) -> Tensor:
        """Puts the gradient of DARTS's first order, clipped, into the architecture weights."""
        loss = super().architecture_gradient(weight_batch, batch, weights)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        torch._foreach_mul_(gradients, clipping(torch._foreach_norm(gradients), weights.grad_clip))
        return loss


def _sampled(beta: Tensor) -> tuple[Sequence[Tensor], list[list[list[int]]] | None]:
    """By cell, weights [B, 1] of the sampled operations, and which they are: this waits for a GPU."""
    sampled = beta.argmax(-1, keepdim=True)
    return _straight_through(beta.gather(-1, sampled)).unbind(), sampled.tolist()


def _masked(beta: Tensor) -> tuple[Sequence[Tensor], list[list[list[int]]] | None]:
    """By cell, weights [B, O]: zeros but for the sampled operations."""
    hard = torch.zeros_like(beta).scatter(-1, beta.argmax(-1, keepdim=True), 1.0)
    return (hard * _straight_through(beta)).unbind(), None


def _straight_through(relaxed: Tensor) -> Tensor:
    """Ones with the gradient of the relaxed probabilities."""
    return 1 + (relaxed - relaxed.detach())
