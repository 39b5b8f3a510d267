"""The compiled kernels on tensors.

A feature map is a matrix [P, C] of float32 on the CPU, a row a pixel, whose rows are dense; it may be some columns of a
wider one.  N, H, W: images, height and width, with P = N * H * W.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_float, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from nas.oneshot.native.library import load

#: Columns of a product and channels of a convolution are multiples of it, or PyTorch takes over.
_PANEL = 16
#: Numbers in a feature map from which on more threads than one pay.
_WORTH_THREADS = 2**15


class _Term(ctypes.Structure):
    _fields_ = (
        ("x", c_void_p),
        ("slope", c_void_p),
        ("offset", c_void_p),
        ("ld", c_int64),
        ("column", c_int64),
        ("width", c_int64),
        ("weight", c_float),
        ("adds", c_int32),
    )


class _Source(ctypes.Structure):
    _fields_ = (("gradient", c_void_p), ("ld", c_int64), ("column", c_int64), ("width", c_int64))


@dataclass(frozen=True)
class Term:
    """``weight * x``, or ``relu(slope * x + offset)`` with the last two rows of a [4, C] ``normaliser``.

    It is added to the columns of a sum from ``column`` on; the first term of a column covers all that later ones do.
    """

    x: Tensor
    weight: float = 1.0
    normaliser: Tensor | None = None
    column: int = 0


class Moments:
    """What the BatchNorm of a matrix [P, C] needs to know of it."""

    def __init__(self, rows: int, channels: int) -> None:
        self.rows = rows
        self.totals = torch.zeros(2, channels, dtype=torch.float64)
        self.origin = torch.empty(channels)

    @classmethod
    def of(cls, z: Tensor) -> Moments:
        """Those of z."""
        moments = cls(*z.shape)
        moments.origin = z[0]
        call("moments", _at(z), _ld(z), *_shape(z), _at(moments.origin), _at(moments.totals), _threads(z))
        return moments

    def normaliser(self, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
        """[4, C] mean, 1 / sqrt(variance + eps), slope and offset."""
        out = torch.empty(4, len(scale))
        call(
            "normaliser", _at(self.totals), c_int64(self.rows), c_int64(len(scale)), _at(self.origin), _at(scale),
            _at(shift), c_double(eps), _at(out),
        )  # fmt: skip
        return out


def product(x: Tensor, kernel: Tensor, out: Tensor | None = None, moments: Moments | None = None) -> Tensor:
    """``x @ kernel`` of x [P, K] and kernel [K, C], into the dense ``out`` [P, C] if given."""
    depth, columns = kernel.shape
    if out is None:
        out = torch.empty(len(x), columns)
    if columns % _PANEL:
        return torch.mm(x, kernel, out=out)
    call(
        "product", _at(x), _ld(x), c_int64(len(x)), c_int64(depth), _at(kernel), c_int64(kernel.stride(0)),
        c_int64(kernel.stride(1)), c_int64(columns), _at(out), _at(moments.origin if moments else None),
        _at(moments.totals if moments else None), _threads(out),
    )  # fmt: skip
    return out


def product_and_moments(x: Tensor, kernel: Tensor) -> tuple[Tensor, Moments]:
    """The product and its moments, taken while it is in the cache."""
    if kernel.shape[1] % _PANEL:
        out = product(x, kernel)
        return out, Moments.of(out)
    moments = Moments(len(x), kernel.shape[1])
    return product(x, kernel, moments=moments), moments


def sum_terms(out: Tensor, terms: Sequence[Term], reference: Tensor | None = None) -> list[float]:
    """Puts the sum of the terms into ``out``.

    Returns:
        The scalar products of each x with ``reference``; nothing of meaning without it.
    """
    dots = (c_double * len(terms))()
    call(
        "sum_terms", _at(out), _ld(out), *_shape(out), _terms(terms), c_int64(len(terms)), _at(reference), dots,
        _threads(out),
    )  # fmt: skip
    return list(dots)


def pool_and_sum(
    out: Tensor, x: Tensor, nhw: tuple[int, int, int], weight: float, terms: Sequence[Term], *, backward: bool
) -> Tensor | None:
    """Puts ``weight * max_pool(x)`` plus the terms into ``out``; the pooling is 3x3 of stride 1.

    Returns:
        [P, C] what ``unpool`` needs; None without ``backward``.
    """
    position = torch.empty(x.shape, dtype=torch.uint8) if backward else None
    call(
        "pool_and_sum", _at(x), *map(c_int64, nhw), c_int64(x.shape[1]), c_float(weight), _at(out), _at(position),
        _terms(terms, all_add=True), c_int64(len(terms)), _threads(x),
    )  # fmt: skip
    return position


def unpool(
    gradient: Tensor, position: Tensor, hw: Sequence[int], weight: float, x: Tensor | None, more: Tensor | None
) -> tuple[Tensor, float]:
    """The gradients behind ``pool_and_sum``.

    Args:
        gradient: [P, C] of the output, dense.
        position: As ``pool_and_sum`` returned it.
        hw: H and W.
        weight: As in ``pool_and_sum``.
        x: What was pooled; None if the gradient of the weight is not needed.
        more: A gradient of x from elsewhere, which is added.

    Returns:
        The gradient of x, and that of the weight (0 without x).
    """
    out = torch.empty(gradient.shape)
    of_weight = c_double()
    h, w = hw
    call(
        "unpool", _at(gradient), _at(position), c_int64(len(gradient) // (h * w)), c_int64(h), c_int64(w),
        c_int64(gradient.shape[1]), c_float(weight), _at(x), _at(more), _at(out), ctypes.byref(of_weight),
        _threads(gradient),
    )  # fmt: skip
    return out, of_weight.value


def convolve(x: Tensor, hw: Sequence[int], kernel: Tensor, *, backward: bool = False) -> Tensor:
    """[P, C_out] the 3x3 convolution of x [P, C_in] with a kernel [C_out, C_in, 3, 3], or the gradient of its input."""
    h, w = hw
    inputs, outputs = x.shape[1], kernel.shape[1 if backward else 0]
    out = torch.empty(len(x), outputs)
    if inputs % _PANEL or outputs % _PANEL:
        images = x.view(-1, h, w, inputs).permute(0, 3, 1, 2)
        convolution = F.conv_transpose2d if backward else F.conv2d
        return convolution(images, kernel, padding=1).permute(0, 2, 3, 1).reshape(out.shape)
    order = (1, 0, 2, 3) if backward else (0, 1, 2, 3)
    call(
        "convolve", _at(x), c_int64(len(x) // (h * w)), c_int64(h), c_int64(w), c_int64(inputs), _at(kernel),
        _strides(kernel, order), c_int64(outputs), c_int32(backward), _at(out), _threads(x),
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
    call(
        "kernel_gradient", _at(x), _at(gradient), c_int64(len(x) // (h * w)), c_int64(h), c_int64(w), c_int64(inputs),
        c_int64(outputs), _at(out), _strides(out, (0, 1, 2, 3)), _threads(x),
    )  # fmt: skip
    return out


@dataclass(frozen=True)
class Normalised:
    """A matrix z [P, C] behind which ``relu(batch_norm(z))`` was taken, and the gradients of that: from the outputs.

    Attributes:
        z: The matrix, dense.
        normaliser: As ``Moments.normaliser`` made it.
        gradients: By the first column, the gradients of the output; together they cover all columns.
    """

    z: Tensor
    normaliser: Tensor
    gradients: dict[int, Tensor]

    def of_parameters(self) -> Tensor:
        """[2, C] the gradients of scale and shift."""
        out = torch.empty(2, self.z.shape[1])
        call(
            "parameter_gradients", *self._sources(), _at(self.z), *_shape(self.z), _at(self.normaliser), _at(out),
            _threads(self.z),
        )  # fmt: skip
        return out

    def of_z(self, of_parameters: Tensor, part: slice, out: Tensor) -> None:
        """Puts the gradient of some rows of z into ``out``."""
        rows, c = self.z.shape
        call(
            "input_gradient", *self._sources(), _at(self.z), c_int64(part.start), c_int64(part.stop - part.start),
            c_int64(rows), c_int64(c), _at(self.normaliser), _at(of_parameters), _at(out), _threads(out),
        )  # fmt: skip

    def _sources(self) -> tuple[Any, c_int64]:
        array = (_Source * len(self.gradients))()
        for entry, (column, gradient) in zip(array, self.gradients.items(), strict=True):
            entry.gradient, entry.ld = gradient.data_ptr(), gradient.stride(0)
            entry.column, entry.width = column, gradient.shape[1]
        return array, c_int64(len(array))


def _terms(terms: Sequence[Term], *, all_add: bool = False) -> Any:
    array = (_Term * max(len(terms), 1))()
    covered = 0
    for entry, term in zip(array, terms, strict=False):
        entry.ld = term.x.stride(0)
        entry.x = term.x.data_ptr()
        entry.column, entry.width = term.column, term.x.shape[1]
        entry.adds = all_add or term.column < covered
        covered = max(covered, term.column + term.x.shape[1])
        entry.weight = term.weight
        if term.normaliser is not None:
            at, step = term.normaliser.data_ptr(), 4 * term.normaliser.stride(0)
            entry.slope, entry.offset = at + 2 * step, at + 3 * step
    return array


def _strides(kernel: Tensor, order: Sequence[int]) -> Any:
    return (c_int64 * 4)(*(kernel.stride(dimension) for dimension in order))


def _at(x: Tensor | None) -> c_void_p:
    return c_void_p(None if x is None else x.data_ptr())


def _ld(x: Tensor) -> c_int64:
    return c_int64(x.stride(0))


def _shape(x: Tensor) -> tuple[c_int64, c_int64]:
    return c_int64(x.shape[0]), c_int64(x.shape[1])


def _threads(x: Tensor) -> c_int32:
    return c_int32(torch.get_num_threads() if x.numel() >= _WORTH_THREADS else 1)


def call(name: str, *arguments: Any) -> None:
    """Calls a kernel.

    Raises:
        MemoryError: It could not allocate what it needs beside its arguments.
        NativeKernelsError: The kernels cannot be compiled here.
    """
    if getattr(load(), name)(*arguments):
        raise MemoryError(f"{name}: no memory left for partial sums")
