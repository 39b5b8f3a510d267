"""Weighted sums and concatenations of feature maps, with fewer passes over memory than their parts.

Away from its convolutions a supernet is bound by memory, and most of what is left is adding up feature maps.  Written
with ``*`` and ``+``, each term costs a product and a sum, and the gradient of each weight a whole product besides; here
a term is one pass in each direction, a weight's gradient one scalar product, taken only where it is asked for.

Feature maps are [N, C, H, W], channels last.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

#: Added to the variance in every BatchNorm.
BATCH_NORM_EPS = 1e-5


def weighted_sum(plain: Sequence[Tensor], weighted: Sequence[Tensor], weights: Tensor | None) -> Tensor:
    """``sum(plain) + sum_i weights[i] * weighted[i]``; weights None stands for ones."""
    if weights is None or not weighted:
        plain, weighted = [*plain, *weighted], []
    if len(plain) == 1 and not weighted:
        return plain[0]
    if torch.compiler.is_compiling():  # the compiler fuses the terms itself
        factors = () if weights is None or not weighted else weights.to(weighted[0].dtype).unbind()
        return functools.reduce(torch.add, [*plain, *(term * w for term, w in zip(weighted, factors, strict=True))])
    return _WeightedSum.apply(weights if weighted else None, len(plain), *plain, *weighted)


def weighted_concatenation(base: Tensor, parts: Sequence[Tensor], weights: Tensor) -> Tensor:
    """``base + concatenate_i(weights[i] * parts[i])`` along the channels."""
    if torch.compiler.is_compiling():
        factors = weights.to(base.dtype).unbind()
        return base + torch.cat([part * factor for part, factor in zip(parts, factors, strict=True)], dim=1)
    return _WeightedConcatenation.apply(base, weights, *parts)


def batch_norm_relu(z: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``relu(scale * (z - mean) / sqrt(var + BATCH_NORM_EPS) + shift)`` with the mean and variance of z per channel.

    The backward pass overwrites the output: nothing may read it afterwards.
    """
    if torch.compiler.is_compiling():  # the compiler fuses these itself, and cannot follow what overwrites
        return F.relu(F.batch_norm(z, None, None, scale, shift, training=True, eps=BATCH_NORM_EPS))
    return _BatchNormRelu.apply(z, scale, shift)


class _BatchNormRelu(Function):
    """The gradient behind the ReLU overwrites the ReLU's output, which nobody reads any more by then.

    (PyTorch's version counters turn a second backward pass into an error.)
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        y, mean, inverse_std = torch.native_batch_norm(z, scale, shift, None, None, True, 0.0, BATCH_NORM_EPS)
        y.relu_()
        ctx.save_for_backward(z, scale, y, mean, inverse_std)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        z, scale, y, mean, inverse_std = ctx.saved_tensors
        aten = torch.ops.aten
        aten.threshold_backward.grad_input(gradient, y, 0, grad_input=y)
        gradients = aten.native_batch_norm_backward(
            y, z, scale, None, None, mean, inverse_std, True, BATCH_NORM_EPS, ctx.needs_input_grad[:3]
        )
        return tuple(gradients)


class _WeightedSum(Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor | None, n_plain: int, *terms: Tensor) -> Tensor:
        plain, weighted = terms[:n_plain], terms[n_plain:]
        factors = [] if weights is None else list(weights.to(terms[0].dtype).unbind())
        if len(plain) > 1:
            total, plain = plain[0] + plain[1], plain[2:]
        elif plain:
            total, plain = torch.addcmul(plain[0], weighted[0], factors[0]), ()
            weighted, factors = weighted[1:], factors[1:]
        else:
            total = weighted[0] * factors[0]
            weighted, factors = weighted[1:], factors[1:]
        for term in plain:
            total.add_(term)
        for term, factor in zip(weighted, factors, strict=True):
            total.addcmul_(term, factor)
        ctx.n_plain = n_plain
        needs_terms = weights is not None and weights.requires_grad
        ctx.save_for_backward(weights, *(terms[n_plain:] if needs_terms else ()))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, *weighted = ctx.saved_tensors
        plain = [gradient if needed else None for needed in ctx.needs_input_grad[2 : 2 + ctx.n_plain]]
        if weights is None:
            return (None, None, *plain)
        by_weight = torch.stack([dot(gradient, term) for term in weighted]).to(weights.dtype) if weighted else None
        factors = weights.to(gradient.dtype).unbind()
        needed = ctx.needs_input_grad[2 + ctx.n_plain :]
        by_term = [gradient * factor if needs else None for factor, needs in zip(factors, needed, strict=True)]
        return (by_weight, None, *plain, *by_term)


class _WeightedConcatenation(Function):
    @staticmethod
    def forward(ctx: Any, base: Tensor, weights: Tensor, *parts: Tensor) -> Tensor:
        widths = [part.shape[1] for part in parts]
        factors = torch.cat([w.expand(width) for w, width in zip(weights.to(base.dtype), widths, strict=True)])
        ctx.widths = widths
        ctx.save_for_backward(weights, *(parts if weights.requires_grad else ()))
        return torch.addcmul(base, torch.cat(parts, dim=1), factors.view(1, -1, 1, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, *parts = ctx.saved_tensors
        slices = gradient.split(ctx.widths, dim=1)
        factors = weights.to(gradient.dtype).unbind()
        if not parts:
            return (gradient, None, *(piece * factor for piece, factor in zip(slices, factors, strict=True)))
        by_part, by_weight = [], []
        for piece, part, factor in zip(slices, parts, factors, strict=True):
            dense = piece.contiguous(memory_format=torch.channels_last)
            by_weight.append(dot(dense, part))
            by_part.append(dense * factor)
        return (gradient, torch.stack(by_weight).to(weights.dtype), *by_part)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The scalar product of two feature maps, accumulated in at least single precision."""
    if a.dtype != b.dtype or a.dtype not in (torch.float32, torch.float64):
        a, b = a.float(), b.float()
    return torch.dot(a.permute(0, 2, 3, 1).reshape(-1), b.permute(0, 2, 3, 1).reshape(-1))
