"""What a one-shot optimizer is: the few decisions in which the paper's Algorithms 1 to 5 differ.

The loop (``nas.oneshot.loop``) is the same for all:

    for each epoch:
        method.start_epoch
        within method.drawn_ahead(...):
            for each batch of the weights' half:
                method.architecture_step  update the architecture, if architecture_steps and not warming up
                weights.step              update the weights, the cells mixing by method.mixtures
        method.end_epoch
        method.select(final=...)          the discrete architecture

A method overrides what differs from here and is registered by one line in ``nas.oneshot.methods.METHODS``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.oneshot.model.batches import Batch
from nas.oneshot.model.mixture import Mixture
from nas.oneshot.model.supernet import Supernet
from nas.oneshot.model.weight_trainer import DivergedError, WeightTrainer
from nas.oneshot.spec import Settings
from spaces.search_space import Architecture

if TYPE_CHECKING:
    from nas.oneshot.model.evaluation import Evaluator


class Method(ABC):
    """A one-shot optimizer.

    Args:
        supernet: The one-shot model.
        settings: Settings of the search, none of them open.
        generator: Source of everything that the method samples; see ``drawing_from``.

    Attributes:
        uses: Fields of ``SearchSpec`` that the method uses, of those that may be left to it; others are refused.
        defaults: Value of each field that may be left open.
        channel_groups: K of the supernet.
        changing_operations: Whether the operations that take part change from step to step.
        architecture_steps: Whether an architecture step precedes each weight step.
        updates_architecture: Whether anything but the weights is learned.
        averages_parents: Whether the weights of a block's parents add up to 1 in training, so that ``evaluate``
            averages those of a discrete architecture.
    """

    uses: ClassVar[frozenset[str]] = frozenset({"batch_size", "grad_clip", "weight_decay"})
    defaults: ClassVar[dict[str, float]] = {
        "batch_size": 96,
        "grad_clip": 5.0,
        "weight_decay": 3e-4,
        "arch_learning_rate": 3e-4,
        "arch_weight_decay": 1e-3,
        "controller_steps": 300,
        "final_samples": 1000,
    }
    channel_groups: ClassVar[int] = 1
    changing_operations: ClassVar[bool] = False
    architecture_steps: ClassVar[bool] = False
    updates_architecture: ClassVar[bool] = True
    averages_parents: ClassVar[bool] = False

    def __init__(self, supernet: Supernet, settings: Settings, generator: torch.Generator) -> None:
        self.supernet = supernet
        self.space = supernet.space
        self.settings = settings
        self.generator = generator

    @contextmanager
    def drawing_from(self, generator: torch.Generator) -> Iterator[None]:
        """Within it, the method samples from another generator: what is only reported changes no later draw."""
        own, self.generator = self.generator, generator
        try:
            yield
        finally:
            self.generator = own

    def start_epoch(self, epoch: int) -> None:  # noqa: B027  # most methods have nothing to do here
        """Called before the steps of epoch 0, 1, ..."""

    @contextmanager
    def drawn_ahead(self, n: int) -> Iterator[None]:
        """Within it, n calls of ``mixtures`` read what is sampled here at once, so that none waits for the CPU."""
        yield

    @abstractmethod
    def mixtures(self) -> list[Mixture]:
        """One mixture per cell, for the next forward pass; samplers draw anew."""

    def architecture_step(self, weight_batch: Batch, batch: Batch, weights: WeightTrainer) -> Tensor:
        """Updates the architecture before the weights learn from ``weight_batch``; only if ``architecture_steps``.

        Nothing in it waits for the device.

        Args:
            weight_batch: Batch on which the next weight step trains.
            batch: Batch of the architecture's half.
            weights: The trainer of the weights.

        Returns:
            The loss on the architecture's half, [] on the device.
        """
        raise NotImplementedError(f"{type(self).__name__} has no architecture steps")

    def end_epoch(self, batches: Iterator[Batch]) -> list[float]:
        """Updates that come after an epoch's steps, on endless batches of the architecture's half; their losses."""
        return []

    @abstractmethod
    def select(self, evaluator: Evaluator, *, final: bool) -> Architecture:
        """The discrete architecture.

        Args:
            evaluator: Errors of architectures with the shared weights.
            final: Whether the search ends here; before, the answer is only reported and must be cheap.
        """

    @abstractmethod
    def one_shot_error(self, evaluator: Evaluator, selected: Architecture) -> float:
        """The one-shot validation error that is reported with an epoch."""

    def architecture_weights(self) -> list[list[float]] | None:
        """The architecture's state as reported with an epoch; None if that is no vector for each choice."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """The method's part of a checkpoint, beside the supernet and the generators."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027  # nothing to load by default
        """The inverse of ``state_dict``."""


class GradientMethod(Method):
    """Methods that learn architecture weights by gradient, and discretise them.

    Their architecture optimizer is DARTS's: Adam with betas (0.5, 0.999).
    """

    uses = Method.uses | {"arch_learning_rate", "arch_weight_decay"}
    architecture_steps = True
    averages_parents = True

    def __init__(self, supernet: Supernet, settings: Settings, generator: torch.Generator) -> None:
        super().__init__(supernet, settings, generator)
        self.parameters = supernet.architecture_parameters()
        self.optimizer = torch.optim.Adam(
            self.parameters,
            lr=settings.arch_learning_rate,
            betas=(0.5, 0.999),
            weight_decay=settings.arch_weight_decay,
            fused=True,  # the only kind that leaves the count of its steps on the device
            capturable=supernet.beta.is_cuda,
        )

    def architecture_step(self, weight_batch: Batch, batch: Batch, weights: WeightTrainer) -> Tensor:
        """One step of Adam on the architecture weights; the weights get no gradient."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.architecture_gradient(weight_batch, batch, weights)
        self.optimizer.step()
        return loss

    def architecture_gradient(self, weight_batch: Batch, batch: Batch, weights: WeightTrainer) -> Tensor:
        """Puts the gradient into the architecture weights; returns the validation loss (first order here)."""
        with self.supernet.gradients_of_architecture():
            loss = F.cross_entropy(self.supernet(batch.images, self.mixtures()), batch.labels)
            loss.backward()
        return loss.detach()

    def select(self, evaluator: Evaluator, *, final: bool) -> Architecture:
        """The highest weights: arg-max operations, top-k parents (paper, section 3.2)."""
        alpha = [None if a is None else a.detach().cpu().numpy() for a in self.supernet.alpha_by_block()]
        beta, gamma = (p.detach().cpu().numpy() for p in (self.supernet.beta, self.supernet.gamma))
        if not all(bool(torch.isfinite(p).all()) for p in self.parameters):
            raise DivergedError("an architecture weight is not finite")
        return self.space.discretise(alpha, beta, gamma)

    def one_shot_error(self, evaluator: Evaluator, selected: Architecture) -> float:
        """The error of the supernet as the method mixes it."""
        return evaluator.error(self.mixtures)

    def architecture_weights(self) -> list[list[float]] | None:
        """The logits of alpha, beta and gamma, a list for each softmax."""
        net = self.supernet
        vectors = [*net.alpha, *net.beta, net.gamma]
        return [vector.detach().tolist() for vector in vectors]

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:  # it may come from another device
            group["capturable"] = self.supernet.beta.is_cuda
