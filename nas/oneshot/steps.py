"""The steps of an epoch, one after the other, without a wait for the device.

All that differs from step to step lies on the device before the first one: images, what chance decides, learning rate,
temperature and the probability of a cutout.  Losses are added up there and read once, at the end.  So the host may run
ahead of a GPU, and a step may be captured in a CUDA graph, which a GPU replays by itself (``nas.oneshot.graph``).
"""

from __future__ import annotations

import torch

from nas.oneshot.ahead import Ahead
from nas.oneshot.graph import Graph
from nas.oneshot.methods.method import Method
from nas.oneshot.model.batches import Batches, Draws
from nas.oneshot.model.weight_trainer import WeightTrainer, finite_loss


class Steps:
    """A step is an architecture step, where the optimizer has one, and a weight step.

    Args:
        method: The optimizer.
        weights: The trainer of the weights.
        weight_batches: Batches of the weights' half; a pass over it is an epoch.
        architecture_batches: Batches of the architecture's half.
        captured: Whether to capture the step in a CUDA graph.
    """

    def __init__(
        self,
        method: Method,
        weights: WeightTrainer,
        weight_batches: Batches,
        architecture_batches: Batches,
        *,
        captured: bool,
    ) -> None:
        device = weights.rate.device
        self.method = method
        self.weights = weights
        self.weight_batches = weight_batches
        self.architecture_batches = architecture_batches
        self._weight_draws, self._architecture_draws = Ahead(device), Ahead(device)
        self._cutout_prob = torch.zeros((), device=device)
        self._train_loss, self._arch_loss = (torch.zeros((), dtype=torch.float64, device=device) for _ in range(2))
        self._captured = captured
        self._graphs: dict[bool, Graph] = {}

    def run_epoch(self, cutout_prob: float, *, warming_up: bool) -> tuple[float, float | None]:
        """Takes the steps of an epoch; returns the mean losses of the weights and of the architecture, if it learns.

        Args:
            cutout_prob: Probability with which an image is cut.
            warming_up: Whether the weights alone learn.

        Raises:
            DivergedError: A loss is not finite.
        """
        n = len(self.weight_batches)
        both = self.method.architecture_steps and not warming_up
        self._draw(both)
        self._cutout_prob.fill_(cutout_prob)
        self._train_loss.zero_()
        self._arch_loss.zero_()
        step = self._both_steps if both else self._weight_step
        if self._captured and both not in self._graphs:
            self._graphs = {both: Graph(self._cutout_prob.device)}  # the other one, of the warm-up, frees its memory
        with self.method.drawn_ahead(2 * n if both else n):
            for _ in range(n):
                if self._captured:
                    self._graphs[both](step)
                else:
                    step()
        train_loss = finite_loss(self._train_loss / n, "training")
        return train_loss, finite_loss(self._arch_loss / n, "validation") if both else None

    def _draw(self, both: bool) -> None:
        """Draws what chance decides about the images of the epoch, step by step."""
        others = self.architecture_batches.draw_passes()
        of_weights: list[Draws] = []
        of_architecture: list[Draws] = []
        for draws in self.weight_batches.draw_pass():
            of_weights.append(draws)
            if both:
                of_architecture.append(next(others))
        self._weight_draws.fill(of_weights)
        if both:
            self._architecture_draws.fill(of_architecture)

    def _both_steps(self) -> None:
        batch = self.weight_batches.make(Draws(*self._weight_draws.next()), self._cutout_prob)
        other = self.architecture_batches.make(Draws(*self._architecture_draws.next()), self._cutout_prob)
        self._arch_loss.add_(self.method.architecture_step(batch, other, self.weights))
        self._train_loss.add_(self.weights.step(batch, self.method.mixtures))

    def _weight_step(self) -> None:
        batch = self.weight_batches.make(Draws(*self._weight_draws.next()), self._cutout_prob)
        self._train_loss.add_(self.weights.step(batch, self.method.mixtures))
