"""GDAS (Algorithm 3): paths sampled by the Gumbel-softmax, anew for each cell and each forward pass.

Source: Dong and Yang (2019), *Searching for a Robust Neural Architecture in Four GPU Hours*; Jang, Gu and
Poole (2017), *Categorical Reparameterization with Gumbel-Softmax*.

A block computes its sampled operation alone.  Its weight is 1 in the forward pass and has the gradient of the
relaxed probability (straight-through).  Edges stay relaxed: hard ones gave exploding gradients, as the public code
notes.  The architecture's gradient is clipped to ``grad_clip`` like that of the weights, as in the public code.

Differs from the public code: the temperature reaches 1 in the last epoch; there it trained at 1 + 9 / epochs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.oneshot.methods.method import GradientMethod
from nas.oneshot.model.batches import Batch
from nas.oneshot.model.mixture import Mixture
from nas.oneshot.model.weight_trainer import WeightTrainer

#: Temperature of the Gumbel-softmax in the first and in the last epoch; linear in between.
FIRST_TEMPERATURE, LAST_TEMPERATURE = 10.0, 1.0


def gumbel_softmax(logits: Tensor, n: int, temperature: float, generator: torch.Generator) -> Tensor:
    """[n, ...] independent relaxed samples of the categoricals over the last axis of ``logits`` [...]."""
    gumbels = -torch.empty(n, *logits.shape).exponential_(generator=generator).log()
    return ((logits + gumbels.to(logits)) / temperature).softmax(-1)


class Gdas(GradientMethod):
    """GS(alpha), hard GS(beta), GS(gamma) with GS the Gumbel-softmax."""

    changing_operations = True
    temperature = FIRST_TEMPERATURE

    def start_epoch(self, epoch: int) -> None:
        """Sets the temperature."""
        progress = epoch / max(self.settings.epochs - 1, 1)
        self.temperature = FIRST_TEMPERATURE + (LAST_TEMPERATURE - FIRST_TEMPERATURE) * progress

    def mixtures(self) -> list[Mixture]:
        net = self.supernet
        alpha = [None if logits is None else self._sample(logits).unbind() for logits in net.alpha_by_block()]
        beta, gamma = self._sample(net.beta), self._sample(net.gamma).unbind()
        sampled = beta.argmax(-1, keepdim=True)
        relaxed = beta.gather(-1, sampled)
        straight_through = (1 + (relaxed - relaxed.detach())).unbind()
        operations = sampled.tolist()
        return [
            Mixture.relaxed(
                self.space,
                [None if of_blocks is None else of_blocks[cell] for of_blocks in alpha],
                straight_through[cell].unbind(),
                gamma[cell],
                operations[cell],
            )
            for cell in range(len(net.cells))
        ]

    def _sample(self, logits: Tensor) -> Tensor:
        """One relaxed sample per cell."""
        return gumbel_softmax(logits, len(self.supernet.cells), self.temperature, self.generator)

    def architecture_gradient(self, weight_batch: Batch, batch: Batch, weights: WeightTrainer) -> float:
        """Puts the gradient of DARTS's first order, clipped, into the architecture weights."""
        loss = super().architecture_gradient(weight_batch, batch, weights)
        nn.utils.clip_grad_norm_(self.parameters, weights.grad_clip, foreach=True)
        return loss
