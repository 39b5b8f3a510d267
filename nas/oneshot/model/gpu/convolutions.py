"""What a GPU computes around the convolutions of a block, in Triton; notation as in ``kernels``.

Products round as ``PRECISION`` says: ``tf32``, or ``tf32x3``, three of them for one of float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nas.oneshot.model.gpu.kernels import kernel

# Parameters have no annotations but those that Triton reads, and names as in the formulas.
# mypy: disable-error-code="no-untyped-def"
# a branch loads one of two maps; a conditional expression would load both


@kernel
def convolve(
    x, kernel0, from0, to0, tap0, kernel1, from1, to1, z0, z1, mean, squares, rows, height, width,
    N_Z: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """A 3x3 convolution of x, with N_Z = 2 also a 1x1, and the ``moments`` of what comes out.

    ``from0``, ``to0`` and ``tap0`` are the strides of a kernel's input channels, output channels and pixels.
    """
    tile = tl.program_id(0)
    c = tl.arange(0, C)
    p = tile * ROWS + tl.arange(0, ROWS)
    live = p < rows
    at = p[:, None] * C + c[None, :]
    row, column = (p // width) % height, p % width
    total0, total1 = tl.zeros([ROWS, C], tl.float32), tl.zeros([ROWS, C], tl.float32)
    for k in tl.static_range(9):
        dy, dx = k // 3 - 1, k % 3 - 1
        inside = live & (row + dy >= 0) & (row + dy < height) & (column + dx >= 0) & (column + dx < width)
        shifted = tl.load(x + at + (dy * width + dx) * C, mask=inside[:, None], other=0.0)
        taps = tl.load(kernel0 + c[:, None] * from0 + c[None, :] * to0 + k * tap0)
        total0 += tl.dot(shifted, taps, input_precision=PRECISION)
        if N_Z == 2 and k == 4:
            taps = tl.load(kernel1 + c[:, None] * from1 + c[None, :] * to1)
            total1 += tl.dot(shifted, taps, input_precision=PRECISION)
    n = tl.minimum(rows - tile * ROWS, ROWS).to(tl.float32)
    for which in tl.static_range(N_Z):
        if which == 0:
            total = total0
            tl.store(z0 + at, total, mask=live[:, None])
        else:
            total = total1
            tl.store(z1 + at, total, mask=live[:, None])
        middle = tl.sum(total, 0) / n
        distance = tl.where(live[:, None], total - middle[None, :], 0.0)
        to = (which * tl.num_programs(0) + tile) * C + c
        tl.store(mean + to, middle)
        tl.store(squares + to, tl.sum(distance * distance, 0))


@triton.jit
def map_gradient(gradient, z, own, totals, weight, rows, C: tl.constexpr):
    """The gradient of z from that of ``weight * relu(batch_norm(z))``; see ``input_gradient``."""
    c = tl.arange(0, C)
    mean, inverse, slope = tl.load(own + c), tl.load(own + C + c), tl.load(own + 2 * C + c)
    total0, total1 = tl.load(totals + c), tl.load(totals + C + c)
    behind = tl.where(z * slope[None, :] + tl.load(own + 3 * C + c)[None, :] <= 0.0, 0.0, gradient)
    normal_z = (z - mean[None, :]) * inverse[None, :]
    return weight * slope[None, :] * (behind - (total0[None, :] + normal_z * total1[None, :]) / rows)


@kernel
def block_gradient(
    gradient, x, position, kernel0, from0, to0, tap0, kernel1, from1, to1, z0, z1, normal, totals, weights, out,
    out_pitch, of_z0, of_z1, dots, n_dots, rows, height, width,
    N_Z: tl.constexpr, OF_POOLING: tl.constexpr, OF_KERNELS: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """The gradient of a mixed operation's input x from that of its output.

    With OF_KERNELS, also those of the convolutions' outputs, for ``kernel_gradients``.  With OF_POOLING, also the sum
    over each tile that belongs to the gradient of the pooling's weight.
    """
    tile = tl.program_id(0)
    c = tl.arange(0, C)
    p = tile * ROWS + tl.arange(0, ROWS)
    live = p < rows
    at = p[:, None] * C + c[None, :]
    row, column = (p // width) % height, p % width
    total, pooled = tl.zeros([ROWS, C], tl.float32), tl.zeros([ROWS, C], tl.float32)
    weight0 = tl.load(weights)
    for k in tl.static_range(9):
        dy, dx = k // 3 - 1, k % 3 - 1
        inside = (live & (row - dy >= 0) & (row - dy < height) & (column - dx >= 0) & (column - dx < width))[:, None]
        there = at - (dy * width + dx) * C
        sent = tl.load(gradient + there, mask=inside, other=0.0)
        chosen = tl.load(position + there, mask=inside, other=9).to(tl.int32)
        pooled += tl.where(chosen == k, sent, 0.0)
        z = tl.load(z0 + there, mask=inside, other=0.0)
        of_z = tl.where(inside, map_gradient(sent, z, normal, totals, weight0, rows, C), 0.0)
        taps = tl.load(kernel0 + c[:, None] * to0 + c[None, :] * from0 + k * tap0)
        total += tl.dot(of_z, taps, input_precision=PRECISION)
        if k == 4:
            if OF_KERNELS:
                tl.store(of_z0 + at, of_z, mask=inside)
            if N_Z == 2:
                z = tl.load(z1 + at, mask=inside, other=0.0)
                of_z = map_gradient(sent, z, normal + 4 * C, totals + 2 * C, tl.load(weights + 1), rows, C)
                of_z = tl.where(inside, of_z, 0.0)
                taps = tl.load(kernel1 + c[:, None] * to1 + c[None, :] * from1)
                total += tl.dot(of_z, taps, input_precision=PRECISION)
                if OF_KERNELS:
                    tl.store(of_z1 + at, of_z, mask=inside)
    if OF_POOLING:
        value = tl.load(x + at, mask=live[:, None], other=0.0)
        tl.store(dots + tile * n_dots, tl.sum(tl.sum(pooled * value, 1), 0))
    total += tl.load(weights + N_Z) * pooled
    tl.store(out + p[:, None] * out_pitch + c[None, :], total, mask=live[:, None])


@kernel
def kernel_gradients(
    x, of_z0, of_z1, out, tiles, rows, height, width, PRECISION: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr
):  # fmt: skip
    """Parts of the gradients of kernels, [part, 9 C * C + C * C]: [to, pixel, from] of the 3x3, [to, from] of the 1x1.

    Program (part, k) adds up the tiles part, part + parts, ... for pixel k of the 3x3, or, with k = 9, for the 1x1.
    """
    part, k = tl.program_id(0), tl.program_id(1)
    c = tl.arange(0, C)
    dy, dx = tl.where(k == 9, 0, k // 3 - 1), tl.where(k == 9, 0, k % 3 - 1)
    total = tl.zeros([C, C], tl.float32)
    for tile in range(part, tiles, tl.num_programs(0)):
        p = tile * ROWS + tl.arange(0, ROWS)
        live = p < rows
        at = p[:, None] * C + c[None, :]
        row, column = (p // width) % height, p % width
        inside = live & (row + dy >= 0) & (row + dy < height) & (column + dx >= 0) & (column + dx < width)
        shifted = tl.load(x + at + (dy * width + dx) * C, mask=inside[:, None], other=0.0)
        if k == 9:
            of_z = tl.load(of_z1 + at, mask=live[:, None], other=0.0)
        else:
            of_z = tl.load(of_z0 + at, mask=live[:, None], other=0.0)
        total += tl.dot(tl.trans(of_z), shifted, input_precision=PRECISION)
    to = out + part * tl.num_programs(1) * C * C
    if k == 9:
        tl.store(to + 9 * C * C + c[:, None] * C + c[None, :], total)
    else:
        tl.store(to + c[:, None] * 9 * C + k * C + c[None, :], total)
