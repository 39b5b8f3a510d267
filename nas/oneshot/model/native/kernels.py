"""The compiled kernels on tensors.

A feature map is a matrix [P, C] of float32 on the CPU, one row per pixel, whose rows are dense; it may be some columns
of a wider one.  N, H, W: images, height and width, with P = N * H * W.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from nas.oneshot.model.native import calls
from nas.oneshot.model.native.calls import (
    ColumnsStructure,
    NormalisedStructure,
    SourceStructure,
    TermStructure,
    array,
    at,
    at_or_null,
    empty,
    strides,
    threads,
)

#: Columns of a product and channels of a convolution are multiples of it, or PyTorch takes over.
_PANEL = 16


class Term(NamedTuple):
    """``weight * x``, or ``weight * relu(slope * x + offset)`` with the last two rows of a [4, C] ``normaliser``.

    It is added to the columns of a sum from ``column`` on; the first term of a column covers all that later ones do.
    """

    x: Tensor
    weight: float = 1.0
    normaliser: Tensor | None = None
    column: int = 0


@dataclass(frozen=True)
class BatchNorm:
    """The parameters of a BatchNorm: scale [C], shift [C], eps."""

    scale: Tensor
    shift: Tensor
    eps: float

    def of(self, z: Tensor) -> Tensor:
        """The normaliser [4, C] of z [P, C]: mean, 1 / sqrt(variance + eps), slope and offset."""
        rows, c = z.shape
        out = empty(4, c)
        calls.call(
            "normaliser", at(z), z.stride(0), rows, c, at(self.scale), at(self.shift), self.eps, at(out),
            threads(rows * c),
        )  # fmt: skip
        return out


def product(x: Tensor, kernel: Tensor, out: Tensor | None = None) -> Tensor:
    """``x @ kernel`` of x [P, K] and kernel [K, C], into the dense ``out`` [P, C] if given."""
    columns = kernel.shape[1]
    if out is None:
        out = empty(x.shape[0], columns)
    if columns % _PANEL:
        return torch.mm(x, kernel, out=out)
    _multiply(x, kernel, [out], None, None)
    return out


def normalised_product(
    x: Tensor, kernel: Tensor, batch_norm: BatchNorm, widths: Sequence[int] = ()
) -> tuple[list[Tensor], Tensor]:
    """The product, and its normaliser, made while it is in the cache.

    Args:
        x: [P, K]
        kernel: [K, C]
        batch_norm: Parameters of the product's BatchNorm.
        widths: Widths of the matrices into which the product's columns are split, each dense; none: one matrix.
    """
    rows, c = x.shape[0], kernel.shape[1]
    widths = widths or (c,)
    if any(width % _PANEL for width in widths):
        z = product(x, kernel)
        return list(z.split(list(widths), dim=1)), batch_norm.of(z)
    out = [empty(rows, width) for width in widths]
    normaliser = empty(4, c)
    _multiply(x, kernel, out, batch_norm, normaliser)
    return out, normaliser


def _multiply(
    x: Tensor, kernel: Tensor, out: Sequence[Tensor], batch_norm: BatchNorm | None, normaliser: Tensor | None
) -> None:
    entries, column = [], 0
    for matrix in out:
        width = matrix.shape[1]
        entries.append((at(matrix), width, column, width))
        column += width
    scale, shift, eps = None, None, 0.0
    if batch_norm is not None:
        scale, shift, eps = at(batch_norm.scale), at(batch_norm.shift), batch_norm.eps
    calls.call(
        "product", at(x), x.stride(0), *x.shape, at(kernel), *kernel.stride(), column, array(ColumnsStructure, entries),
        len(entries), scale, shift, eps, at_or_null(normaliser), threads(x.numel()),
    )  # fmt: skip


def sum_terms(out: Tensor, terms: Sequence[Term]) -> None:
    """Puts the sum of the terms into ``out``."""
    calls.call("sum_terms", at(out), out.stride(0), *out.shape, _terms(terms), len(terms), threads(out.numel()))


def pool_and_sum(
    out: Tensor, x: Tensor, nhw: tuple[int, int, int], weight: float, terms: Sequence[Term], *, backward: bool
) -> Tensor | None:
    """Puts ``weight * max_pool(x)`` plus the terms into ``out``; the pooling is 3x3 of stride 1.

    Returns:
        [P, C] what ``unpool`` needs; None without ``backward``.
    """
    position = torch.empty(x.shape, dtype=torch.uint8) if backward else None
    calls.call(
        "pool_and_sum", at(x), *nhw, x.shape[1], weight, at(out), at_or_null(position),
        _terms(terms, all_add=True), len(terms), threads(x.numel()),
    )  # fmt: skip
    return position


def unpool(
    gradient: Tensor, position: Tensor, hw: Sequence[int], weight: float, x: Tensor | None, more: Tensor | None
) -> tuple[Tensor, float]:
    """The gradients behind ``pool_and_sum``.

    Args:
        gradient: [P, C] of the output, dense.
        position: Result of ``pool_and_sum``.
        hw: H and W.
        weight: Weight that was given to ``pool_and_sum``.
        x: Input of the pooling; None if the gradient of the weight is not needed.
        more: A gradient of x from elsewhere, which is added.

    Returns:
        The gradient of x, and that of the weight (0 without x).
    """
    out = empty(*gradient.shape)
    of_weight = c_double()
    rows, channels = gradient.shape
    h, w = hw
    calls.call(
        "unpool", at(gradient), at(position), rows // (h * w), h, w, channels, weight, at_or_null(x),
        at_or_null(more), at(out), ctypes.byref(of_weight), threads(gradient.numel()),
    )  # fmt: skip
    return out, of_weight.value


def convolve(x: Tensor, hw: Sequence[int], kernel: Tensor, *, backward: bool = False) -> Tensor:
    """[P, C_out] the 3x3 convolution of x [P, C_in] with a kernel [C_out, C_in, 3, 3], or the gradient of its input."""
    h, w = hw
    (rows, inputs), outputs = x.shape, kernel.shape[1 if backward else 0]
    out = empty(rows, outputs)
    if inputs % _PANEL or outputs % _PANEL:
        images = x.view(-1, h, w, inputs).permute(0, 3, 1, 2)
        convolution = F.conv_transpose2d if backward else F.conv2d
        return convolution(images, kernel, padding=1).permute(0, 2, 3, 1).reshape(out.shape)
    order = (1, 0, 2, 3) if backward else (0, 1, 2, 3)
    calls.call(
        "convolve", at(x), rows // (h * w), h, w, inputs, at(kernel), strides(kernel, order), outputs, backward,
        at(out), threads(x.numel()),
    )  # fmt: skip
    return out


def kernel_gradient(x: Tensor, hw: Sequence[int], kernel: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of a 3x3 convolution's kernel from that [P, C_out] of its output."""
    h, w = hw
    outputs, inputs = kernel.shape[:2]
    if inputs % _PANEL or outputs % _PANEL:
        images, of_output = (t.view(-1, h, w, t.shape[1]).permute(0, 3, 1, 2) for t in (x, gradient))
        return conv2d_weight(images, list(kernel.shape), of_output, padding=1)
    out = torch.empty_like(kernel)
    calls.call(
        "kernel_gradient", at(x), at(gradient), x.shape[0] // (h * w), h, w, inputs, outputs, at(out),
        strides(out, (0, 1, 2, 3)), threads(x.numel()),
    )  # fmt: skip
    return out


class Normalised(NamedTuple):
    """Saved inputs of ``weight * relu(batch_norm(z))``, for its backward pass.

    ``gradients`` are those of its output, one for each matrix.

    Attributes:
        z: Matrices [P, C_i], side by side the one [P, C] that was normalised.
        normaliser: Result of ``BatchNorm.of``.
        weights: One for each matrix.
    """

    z: Sequence[Tensor]
    normaliser: Tensor
    weights: Sequence[float]

    def of_parameters(self, gradients: Sequence[Tensor]) -> tuple[Tensor, list[float]]:
        """[2, C] the gradients of scale and shift, and those of the weights."""
        rows, c = len(self.z[0]), self.normaliser.shape[1]
        out, sources = empty(2, c), self._sources(gradients)
        calls.call(
            "parameter_gradients", sources, len(self.z), rows, c, at(self.normaliser), at(out), threads(rows * c)
        )
        return out, [source.of_weight for source in sources]

    def of_z(self, gradients: Sequence[Tensor], of_parameters: Tensor) -> Tensor:
        """[P, C] the gradient of z."""
        rows, c = len(self.z[0]), self.normaliser.shape[1]
        out = empty(rows, c)
        calls.call(
            "input_gradient", self._sources(gradients), len(self.z), rows, c, at(self.normaliser), at(of_parameters),
            at(out), threads(rows * c),
        )  # fmt: skip
        return out

    def of_product(
        self,
        gradients: Sequence[Tensor],
        of_parameters: Tensor,
        x: Tensor | None,
        kernel: Tensor,
        of_x: Tensor | None,
        *,
        adds: bool = False,
    ) -> Tensor | None:
        """The gradients of what z is the product of, ``x @ kernel.t()``.

        Args:
            gradients: One [P, C_i] per matrix of ``z``: the gradient of its output.
            of_parameters: Result of ``of_parameters``.
            x: [P, K] dense; None if the gradient of the kernel is not needed.
            kernel: [C, K]
            of_x: [P, K] dense, where the gradient of x goes; None if it is not needed.
            adds: Whether that is added to what is there.

        Returns:
            The gradient of the kernel, if there is an x.
        """
        columns, depth = kernel.shape
        if columns % _PANEL or depth % _PANEL:
            of_z = self.of_z(gradients, of_parameters)
            if of_x is not None:
                torch.addmm(of_x, of_z, kernel, beta=adds, out=of_x)
            return None if x is None else torch.mm(of_z.t(), x)
        rows = len(self.z[0])
        of_kernel = None if x is None else empty(columns, depth)
        calls.call(
            "product_gradients", self._sources(gradients), len(self.z), rows, columns, at(self.normaliser),
            at(of_parameters), at_or_null(x), depth, at(kernel), *kernel.stride(), at_or_null(of_x), adds,
            at_or_null(of_kernel), threads(rows * columns),
        )  # fmt: skip
        return of_kernel

    def _sources(self, gradients: Sequence[Tensor]) -> Any:
        entries, column = [], 0
        for z, gradient, weight in zip(self.z, gradients, self.weights, strict=True):
            width = z.shape[1]
            entries.append((at(z), at(gradient), z.stride(0), gradient.stride(0), column, width, weight))
            column += width
        return array(SourceStructure, entries)


class Received(NamedTuple):
    """The gradient of a block's output, and what came out on the way.

    Attributes:
        total: [P, C] the sum of the gradients.
        dots: The scalar product of each gradient with the block's output; zeros without that.
        of_parameters: Gradients [2, C] of scale and shift, for each normalised matrix.
        of_weights: Gradient of the weight of each normalised matrix.
    """

    total: Tensor
    dots: list[float]
    of_parameters: list[Tensor]
    of_weights: list[float]


def receive(gradients: Sequence[Term], output: Term | None, normalised: Sequence[Normalised]) -> Received:
    """Sums up what those send back that read a block.

    Args:
        gradients: Each [P, C] with its weight.
        output: The block's output; None if its scalar products are not needed.
        normalised: Those of which the output is a sum, each of one matrix.
    """
    rows, c = gradients[0].x.shape
    out = empty(rows, c)
    dots = (c_double * len(gradients))()
    of_parameters = [empty(2, c) for _ in normalised]
    parts = array(
        NormalisedStructure,
        [(at(*n.z), at(n.normaliser), at(o), *n.weights) for n, o in zip(normalised, of_parameters, strict=True)],
    )
    calls.call(
        "receive", at(out), rows, c, _terms(gradients), len(gradients), None if output is None else _terms([output]),
        dots, parts, len(parts), threads(rows * c),
    )  # fmt: skip
    return Received(out, list(dots), of_parameters, [part.of_weight for part in parts])


def _terms(terms: Sequence[Term], *, all_add: bool = False) -> Any:
    entries, covered = [], 0
    for x, weight, normaliser, column in terms:
        width = x.shape[1]
        slope = offset = None
        if normaliser is not None:
            first, step = at(normaliser), 4 * normaliser.stride(0)
            slope, offset = first + 2 * step, first + 3 * step
        entries.append((at(x), slope, offset, x.stride(0), column, width, weight, all_add or column < covered))
        covered = max(covered, column + width)
    return array(TermStructure, entries)
