"""DARTS, second order: the architecture's gradient looks one weight step ahead.

Source: Liu, Simonyan and Yang (2019), *DARTS: Differentiable Architecture Search*, equations 7 and 8.  With the
weights w, the architecture a, and w' = w - xi * (momentum * v + grad_w L_train + L2 * w), the weights one step ahead,

    grad_a L_val(w', a)  -  xi * (grad_a L_train(w+, a) - grad_a L_train(w-, a)) / (2 * epsilon)

where w+- = w +- epsilon * grad_w' L_val(w', a) and epsilon = 0.01 / |grad_w' L_val(w', a)|.

The difference is DARTS's approximation of a product with the Hessian, and a coarse one: within 0.01 of the weights many
ReLUs and max-pools of a supernet change sides.  On supernets of 2 and 3 cells (8 channels, digits, batches of 32 to 400
images, at the start and after 20 steps) its cosine with the difference over a step of 1e-6 in double precision was
between -0.2 and 1.0, half of the time below 0.5; over that step it is exact but where a kink lies within it.

The two gradients of the difference are taken in float32 whatever the search's precision: bfloat16 would round the
offsets of w away, and leave noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.oneshot.methods.darts import Darts
from nas.oneshot.model.batches import Batch
from nas.oneshot.model.weight_trainer import WeightTrainer

#: Length of the step of the finite difference.
FINITE_DIFFERENCE_STEP = 0.01
#: Keeps epsilon finite where the direction vanishes, and the difference with it.
_SMALLEST_NORM = 1e-12


class DartsSecondOrder(Darts):
    """First order with another gradient."""

    def architecture_gradient(self, weight_batch: Batch, batch: Batch, weights: WeightTrainer) -> Tensor:
        """The gradient of the module's docstring; the weights are afterwards what they were."""
        w = [p.detach().clone() for p in weights.parameters]
        xi = weights.rate
        try:
            self._set(weights, weights.unrolled(self._weight_gradient(weight_batch, weights)))
            loss, ahead, direction = self._gradients_ahead(batch, weights)
            norm = torch.linalg.vector_norm(torch.cat([d.flatten() for d in direction]))
            epsilon = FINITE_DIFFERENCE_STEP / norm.clamp_min(_SMALLEST_NORM)
            offsets = torch._foreach_mul(direction, epsilon)
            self._set(weights, torch._foreach_add(w, offsets))
            above = self._architecture_gradient_at(weight_batch)
            self._set(weights, torch._foreach_sub(w, offsets))
            below = self._architecture_gradient_at(weight_batch)
        finally:
            self._set(weights, w)
        for parameter, first, plus, minus in zip(self.parameters, ahead, above, below, strict=True):
            parameter.grad = first - xi * (plus - minus) / (2 * epsilon)
        return loss

    def _weight_gradient(self, batch: Batch, weights: WeightTrainer) -> list[Tensor]:
        """grad_w L_train(w, a)."""
        with self.supernet.gradients_of_weights():
            return list(torch.autograd.grad(self._loss(batch), weights.parameters))

    def _gradients_ahead(self, batch: Batch, weights: WeightTrainer) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """L_val(w', a) with its gradients by a and by w'."""
        loss = self._loss(batch)
        gradients = list(torch.autograd.grad(loss, [*self.parameters, *weights.parameters]))
        return loss.detach(), gradients[: len(self.parameters)], gradients[len(self.parameters) :]

    def _architecture_gradient_at(self, batch: Batch) -> list[Tensor]:
        """grad_a L_train at the weights as they are set."""
        with self.supernet.gradients_of_architecture(), self.supernet.computing_in("float32"):
            return list(torch.autograd.grad(self._loss(batch), self.parameters))

    def _loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.supernet(batch.images, self.mixtures()), batch.labels)

    @staticmethod
    @torch.no_grad()
    def _set(weights: WeightTrainer, values: Sequence[Tensor]) -> None:
        torch._foreach_copy_(list[Tensor](weights.parameters), list(values))
