"""The weight step, the same for every optimizer: SGD on the one-shot model's weights.

    g' = g * min(1, grad_clip / |g|)                    the gradient, clipped
    v  = momentum * v + g' + weight_decay * w
    w  = w - learning_rate * v

Weights that take no part in a step are left alone, with their velocity.  They have no gradient, or, where a supernet
computes every path and multiplies by zero (``Supernet.masked``), one of zeros.  ``torch.optim.SGD`` has no such mask.

Differs from the public code: under the PyTorch of its time, the gradient of a weight that takes no part was zero, so
that L2 regularisation and momentum went on moving it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import cos, isfinite, pi
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.oneshot.model.batches import Batch
from nas.oneshot.model.mixture import Mixture
from nas.oneshot.model.supernet import Supernet
from nas.oneshot.spec import Settings


class DivergedError(ArithmeticError):
    """A loss or an architecture weight is no longer finite."""


def finite_loss(loss: Tensor, what: str) -> float:
    """The loss as a number.

    Raises:
        DivergedError: It is infinite or not a number.
    """
    value = float(loss)
    if not isfinite(value):
        raise DivergedError(f"the {what} loss is {value}")
    return value


class WeightTrainer:
    """SGD with momentum, L2 regularisation, a cosine schedule per epoch and a clipped gradient.

    Args:
        supernet: The one-shot model.
        settings: Settings of the search, none of them open.

    Attributes:
        parameters: The weights.
        velocities: Their velocities, in the same order; zero before the first step.
        rate: [] the learning rate of the current epoch, on the device.
    """

    def __init__(self, supernet: Supernet, settings: Settings) -> None:
        self.supernet = supernet
        self.settings = settings
        self.grad_clip = settings.grad_clip
        self.parameters: list[nn.Parameter] = supernet.weights()
        self.velocities = [torch.zeros_like(p) for p in self.parameters]
        self.rate = torch.tensor(settings.learning_rate, device=self.parameters[0].device)
        self.learning_rate = settings.learning_rate
        self._mask = _Mask(self.parameters) if supernet.masked else None

    def start_epoch(self, epoch: int) -> None:
        """Sets the learning rate of epoch 0, 1, ..."""
        high, low = self.settings.learning_rate, self.settings.learning_rate_min
        self.learning_rate = low + (high - low) * (1 + cos(pi * epoch / self.settings.epochs)) / 2
        self.rate.fill_(self.learning_rate)

    def step(self, batch: Batch, mixtures: Callable[[], Sequence[Mixture]]) -> Tensor:
        """One update on a batch; returns its loss, [] on the device.

        The architecture gets no gradient.  Weights that take no part in the mixtures are left as they are.
        """
        for parameter in self.parameters:
            parameter.grad = None
        with self.supernet.gradients_of_weights():
            loss = F.cross_entropy(self.supernet(batch.images, mixtures()), batch.labels)
            loss.backward()
        self._descend()
        return loss.detach()

    @torch.no_grad()
    def _descend(self) -> None:
        learning = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        weights: list[Tensor] = [self.parameters[i] for i in learning]
        velocities = [self.velocities[i] for i in learning]
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norms = torch._foreach_norm(gradients)
        torch._foreach_mul_(gradients, clipping(norms, self.grad_clip))
        moved = self._velocities(weights, velocities, gradients)
        if self._mask is None:
            torch._foreach_copy_(velocities, moved)
        else:
            masks = self._mask.of(norms)
            torch._foreach_lerp_(velocities, moved, masks)
            torch._foreach_mul_(moved, masks)
        torch._foreach_sub_(weights, torch._foreach_mul(moved, self.rate))

    def _velocities(
        self, weights: Sequence[Tensor], velocities: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> list[Tensor]:
        """``momentum * v + g + weight_decay * w``."""
        pulled = torch._foreach_add(gradients, weights, alpha=self.settings.weight_decay)
        return list(torch._foreach_add(pulled, velocities, alpha=self.settings.momentum))

    @torch.no_grad()
    def unrolled(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """The weights as a step with these gradients (unclipped) would leave them."""
        weights = list[Tensor](self.parameters)
        moved = self._velocities(weights, self.velocities, list(gradients))
        return list(torch._foreach_sub(weights, torch._foreach_mul(moved, self.rate)))

    def state_dict(self) -> dict[str, Any]:
        """The velocities."""
        return {"velocities": self.velocities}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        for own, saved in zip(self.velocities, state["velocities"], strict=True):
            own.copy_(saved)


def clipping(norms: Sequence[Tensor], largest: float) -> Tensor:
    """The factor by which gradients of these norms are multiplied so that their joint norm is at most ``largest``."""
    return (largest / (torch.linalg.vector_norm(torch.stack(list(norms))) + 1e-6)).clamp(max=1.0)


class _Mask:
    """Ones for the weights that take part in a step, zeros for the others, in the shapes of the weights.

    Args:
        parameters: The weights; each is dense in memory, in any order of its dimensions.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        sizes = torch.tensor([p.numel() for p in parameters])
        device = parameters[0].device
        self._owners = torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(device)
        self._values = torch.ones(len(self._owners), device=device, dtype=parameters[0].dtype)
        pieces = self._values.split(sizes.tolist())
        self._views = [v.as_strided(p.shape, p.stride(), v.storage_offset()) for v, p in zip(pieces, parameters)]

    def of(self, norms: Sequence[Tensor]) -> list[Tensor]:
        """The masks for gradients of these norms: a weight takes part unless its gradient is zero."""
        taking_part = (torch.stack(list(norms)) > 0).to(self._values.dtype)
        torch.index_select(taking_part, 0, self._owners, out=self._values)
        return self._views
