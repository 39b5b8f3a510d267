"""The weight step, the same for every optimizer: SGD on the one-shot model's weights.

Differs from the public code: weights that take no part in a step are left alone.  Under the PyTorch of its time their
gradient was zero, so that L2 regularisation and momentum went on moving them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """

    def __init__(self, supernet: Supernet, settings: Settings) -> None:
        self.supernet = supernet
        self.settings = settings
        self.grad_clip = settings.grad_clip
        self.parameters: list[nn.Parameter] = supernet.weights()
        self.optimizer = torch.optim.SGD(
            self.parameters,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            foreach=True,
        )

    @property
    def learning_rate(self) -> float:
        """Learning rate of the current epoch."""
        return float(self.optimizer.param_groups[0]["lr"])

    def start_epoch(self, epoch: int) -> None:
        """Sets the learning rate of epoch 0, 1, ..."""
        high, low = self.settings.learning_rate, self.settings.learning_rate_min
        self.optimizer.param_groups[0]["lr"] = low + (high - low) * (1 + cos(pi * epoch / self.settings.epochs)) / 2

    def step(self, batch: Batch, mixtures: Callable[[], Sequence[Mixture]]) -> float:
        """One update on a batch; returns its loss.

        The architecture gets no gradient.  Weights that take no part in the mixtures are left as they are.

        Raises:
            DivergedError: The loss is not finite.
        """
        self.optimizer.zero_grad(set_to_none=True)
        with self.supernet.gradients_of_weights():
            loss = F.cross_entropy(self.supernet(batch.images, mixtures()), batch.labels)
            value = finite_loss(loss.detach(), "training")
            loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.grad_clip, foreach=True)
        self.optimizer.step()
        return value

    @torch.no_grad()
    def unrolled(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """The weights as a step with these gradients (unclipped) would leave them."""
        group = self.optimizer.param_groups[0]
        weights = list[Tensor](self.parameters)
        velocities = torch._foreach_add(list(gradients), weights, alpha=group["weight_decay"])
        buffers = [self.optimizer.state.get(p, {}).get("momentum_buffer") for p in self.parameters]
        moving = [(v, buffer) for v, buffer in zip(velocities, buffers, strict=True) if buffer is not None]
        if moving:
            torch._foreach_add_([v for v, _ in moving], [buffer for _, buffer in moving], alpha=group["momentum"])
        return list(torch._foreach_sub(weights, velocities, alpha=group["lr"]))

    def state_dict(self) -> dict[str, Any]:
        """The momentum buffers."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        self.optimizer.load_state_dict(state)
