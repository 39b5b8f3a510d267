"""ENAS (Algorithm 5): architectures drawn from a policy that REINFORCE improves after each epoch.

Source: Pham et al. (2018), *Efficient Neural Architecture Search via Parameter Sharing*; Williams (1992), *Simple
Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning*.

Differs from the public code: the learning rate of the weights follows the schedule per epoch (it was stepped per
mini-batch); weights and controller learn from halves of equal size (there 45,000 and 5,000 images, with another
normalisation); architectures are ranked on the architecture's half (it was the test set), all on the same mini-batches;
the reward is a fraction and the moving average starts at the first one, as in ENAS's own code (there percent, so that
Adam's epsilon weighs less and the entropy nothing, and a start at 0); see also ``nas.oneshot.methods.controller``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.oneshot.methods.controller import Controller
from nas.oneshot.methods.sampling import SamplingMethod
from nas.oneshot.model.batches import Batch
from nas.oneshot.model.mixture import Mixture
from nas.oneshot.model.supernet import Supernet
from nas.oneshot.model.weight_trainer import DivergedError, finite_loss
from nas.oneshot.spec import Settings
from spaces.search_space import Architecture

ENTROPY_WEIGHT = 1e-4
BASELINE_DECAY = 0.99


class Enas(SamplingMethod):
    """The reward is the accuracy on a mini-batch of the architecture's half, plus a little entropy."""

    uses = SamplingMethod.uses | {"arch_learning_rate", "arch_weight_decay", "controller_steps"}
    defaults = SamplingMethod.defaults | {
        "batch_size": 64,
        "grad_clip": 0.25,
        "weight_decay": 1e-4,
        "arch_learning_rate": 3.5e-4,
        "arch_weight_decay": 0.0,
        "final_samples": 100,
    }
    updates_architecture = True

    def __init__(self, supernet: Supernet, settings: Settings, generator: torch.Generator) -> None:
        super().__init__(supernet, settings, generator)
        self.controller = Controller(self.space, generator)
        self.baseline: float | None = None
        self.optimizer = torch.optim.Adam(
            self.controller.parameters(),
            lr=settings.arch_learning_rate,
            betas=(0.1, 0.999),
            eps=1e-3,
            weight_decay=settings.arch_weight_decay,
            foreach=True,
        )

    @torch.no_grad()
    def sample(self, n: int) -> list[Architecture]:
        indices = self.space.encode_choices(self.controller(n, self.generator).choices.numpy())
        return [self.space.decode(index) for index in indices.tolist()]

    def end_epoch(self, batches: Iterator[Batch]) -> list[float]:
        """The controller's updates; the weights stay as they are.

        Raises:
            DivergedError: A loss or a weight of the controller is not finite.
        """
        losses = [self._update(next(batches)) for _ in range(self.settings.controller_steps)]
        if not all(bool(p.isfinite().all()) for p in self.controller.parameters()):
            raise DivergedError("a weight of the controller is not finite")
        return losses

    def _update(self, batch: Batch) -> float:
        """One architecture, one reward, one step; returns the architecture's loss."""
        samples = self.controller(1, self.generator)
        (index,) = self.space.encode_choices(samples.choices.numpy()).tolist()
        mixture = Mixture.discrete(self.space.decode(index))
        with torch.no_grad():
            logits = self.supernet(batch.images, [mixture] * len(self.supernet.cells))
            loss = finite_loss(F.cross_entropy(logits, batch.labels), "validation")
            accuracy = float((logits.argmax(1) == batch.labels).float().mean())
        self.reinforce(samples.log_prob[0], accuracy + ENTROPY_WEIGHT * float(samples.entropy[0].detach()))
        return loss

    def reinforce(self, log_prob: Tensor, reward: float) -> None:
        """One step that makes draws better than the moving average likelier."""
        previous = reward if self.baseline is None else self.baseline
        self.baseline = BASELINE_DECAY * previous + (1 - BASELINE_DECAY) * reward
        self.optimizer.zero_grad(set_to_none=True)
        (-log_prob * (reward - self.baseline)).backward()
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {
            "controller": self.controller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "baseline": self.baseline,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.controller.load_state_dict(state["controller"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.baseline = state["baseline"]
