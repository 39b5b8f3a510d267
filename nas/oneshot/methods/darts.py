"""DARTS, first order (Algorithm 1): softmax mixtures, alternating gradient steps.

Source: Liu, Simonyan and Yang (2019), *DARTS: Differentiable Architecture Search*; paper, section 3.1.
"""

from __future__ import annotations

from nas.oneshot.methods.method import GradientMethod
from nas.oneshot.model.mixture import Mixture


class Darts(GradientMethod):
    """S(alpha), S(beta), S(gamma) with S the softmax; the same mixture in every cell."""

    def mixtures(self) -> list[Mixture]:
        net = self.supernet
        alpha = [None if logits is None else logits.softmax(0) for logits in net.alpha_by_block()]
        mixture = Mixture.relaxed(self.space, alpha, list(net.beta.softmax(1)), net.gamma.softmax(0))
        return [mixture] * len(net.cells)
