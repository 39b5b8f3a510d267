"""What a GPU computes in a cell, in Triton.

A feature map is a matrix [P, C] of float32, one row per pixel, the rows in order of image, height and width.  Its
``pitch`` is the distance of its rows, larger than C where it is some columns of a wider one.  Programs work on tiles of
``ROWS`` rows and C columns, and C is a power of two.  Sums over all rows are made of those of the tiles, in the same
order in every run: nothing is added up atomically.  A ReLU is written so that NaN stays NaN.

    normaliser  [4, C] mean, 1 / sqrt(variance + eps), slope and offset of a BatchNorm: slope * z + offset
"""

from __future__ import annotations

import triton
import triton.language as tl

# Parameters have no annotations but those that Triton reads, and names as in the formulas.
# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: SIM108  # a branch loads one of two maps; a conditional expression would load both

#: Triton would compile another program for each alignment of small arguments, and for counts of 1 and 16.
kernel = triton.jit(
    do_not_specialize=["n_states", "node", "n_blocks", "n_dots", "n_edges", "tiles"],
    do_not_specialize_on_alignment=[
        "dots", "edges", "normal", "of_parameters", "of_weights", "scale0", "scale1", "shift0", "shift1", "totals",
        "weight", "weights",
    ],
)  # fmt: skip


@kernel
def moments(z0, z1, pitch, rows, columns, mean, squares, ROWS: tl.constexpr, C: tl.constexpr):
    """Mean and sum of squared distances from it of each tile and column, [which, tile, columns], of one or two maps."""
    tile, which = tl.program_id(0), tl.program_id(2)
    c = tl.program_id(1) * C + tl.arange(0, C)
    p = tile * ROWS + tl.arange(0, ROWS)
    live = (p < rows)[:, None]
    at = p[:, None] * pitch + c[None, :]
    if which == 0:
        z = tl.load(z0 + at, mask=live, other=0.0)
    else:
        z = tl.load(z1 + at, mask=live, other=0.0)
    n = tl.minimum(rows - tile * ROWS, ROWS).to(tl.float32)
    middle = tl.sum(z, 0) / n
    distance = tl.where(live, z - middle[None, :], 0.0)
    to = (which * tl.num_programs(0) + tile) * columns + c
    tl.store(mean + to, middle)
    tl.store(squares + to, tl.sum(distance * distance, 0))


@kernel
def normaliser(
    mean, squares, tiles, rows, columns, scale0, shift0, scale1, shift1, eps, out,
    ROWS: tl.constexpr, TILES: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """The normalisers [which, 4, columns] of what ``moments`` has measured."""
    which = tl.program_id(1)
    c = tl.program_id(0) * C + tl.arange(0, C)
    total = tl.zeros([C], tl.float32)
    for start in range(0, tiles, TILES):
        t = start + tl.arange(0, TILES)
        n = tl.minimum(rows - t * ROWS, ROWS).to(tl.float32)
        at = (which * tiles + t)[:, None] * columns + c[None, :]
        total += tl.sum(tl.load(mean + at, mask=(t < tiles)[:, None], other=0.0) * n[:, None], 0)
    middle = total / rows
    total = tl.zeros([C], tl.float32)
    for start in range(0, tiles, TILES):
        t = start + tl.arange(0, TILES)
        live = (t < tiles)[:, None]
        n = tl.minimum(rows - t * ROWS, ROWS).to(tl.float32)
        at = (which * tiles + t)[:, None] * columns + c[None, :]
        away = tl.load(mean + at, mask=live, other=0.0) - middle[None, :]
        total += tl.sum(tl.where(live, tl.load(squares + at, mask=live, other=0.0) + n[:, None] * away * away, 0.0), 0)
    inverse = 1.0 / tl.sqrt(total / rows + eps)
    if which == 0:
        scale, shift = tl.load(scale0 + c), tl.load(shift0 + c)
    else:
        scale, shift = tl.load(scale1 + c), tl.load(shift1 + c)
    to = out + which * 4 * columns + c
    tl.store(to, middle)
    tl.store(to + columns, inverse)
    tl.store(to + 2 * columns, scale * inverse)
    tl.store(to + 3 * columns, shift - middle * scale * inverse)


@kernel
def block_input(
    z, z_pitch, normal, z_columns, states, s_pitch, edges, out, rows, n_states, ROWS: tl.constexpr, C: tl.constexpr
):  # fmt: skip
    """``relu(slope * z + offset) + sum_i edges[i] * states[:, i C : (i + 1) C]``, dense."""
    c = tl.arange(0, C)
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = (p < rows)[:, None]
    slope, offset = tl.load(normal + 2 * z_columns + c), tl.load(normal + 3 * z_columns + c)
    y = tl.load(z + p[:, None] * z_pitch + c[None, :], mask=live, other=0.0) * slope[None, :] + offset[None, :]
    total = tl.where(y <= 0.0, 0.0, y)
    for i in range(n_states):
        state = tl.load(states + p[:, None] * s_pitch + i * C + c[None, :], mask=live, other=0.0)
        total += tl.load(edges + i) * state
    tl.store(out + p[:, None] * C + c[None, :], total, mask=live)


@kernel
def mix(
    x, z0, z1, normal, weights, out, out_pitch, position, rows, height, width,
    N_Z: tl.constexpr, BACKWARD: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """``sum_o weights[o] * relu(slope_o * z_o + offset_o) + weights[N_Z] * max_pool(x)``, the pooling 3x3 of stride 1.

    ``position`` [P, C] is, from 0 to 8, which of the nine pixels is the largest; the first one of several.
    """
    c = tl.arange(0, C)
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = p < rows
    at = p[:, None] * C + c[None, :]
    y = tl.load(z0 + at, mask=live[:, None], other=0.0) * tl.load(normal + 2 * C + c) + tl.load(normal + 3 * C + c)
    total = tl.load(weights) * tl.where(y <= 0.0, 0.0, y)
    if N_Z == 2:
        y = tl.load(z1 + at, mask=live[:, None], other=0.0) * tl.load(normal + 6 * C + c) + tl.load(normal + 7 * C + c)
        total += tl.load(weights + 1) * tl.where(y <= 0.0, 0.0, y)
    row, column = (p // width) % height, p % width
    largest = tl.full([ROWS, C], float("-inf"), tl.float32)
    place = tl.zeros([ROWS, C], tl.int32)
    for k in tl.static_range(9):
        dy, dx = k // 3 - 1, k % 3 - 1
        inside = live & (row + dy >= 0) & (row + dy < height) & (column + dx >= 0) & (column + dx < width)
        value = tl.load(x + at + (dy * width + dx) * C, mask=inside[:, None], other=float("-inf"))
        place = tl.where(value > largest, k, place)
        largest = tl.where(value > largest, value, largest)
    total += tl.load(weights + N_Z) * largest
    tl.store(out + p[:, None] * out_pitch + c[None, :], total, mask=live[:, None])
    if BACKWARD:
        tl.store(position + at, place.to(tl.uint8), mask=live[:, None])


@kernel
def join(
    z, z_pitch, normal, z_columns, states, columns, edges, out, rows, ROWS: tl.constexpr, C: tl.constexpr
):  # fmt: skip
    """``relu(slope * z + offset) + edges[j] * states``, j the block of the column; all [P, columns]."""
    block = tl.program_id(1)
    c = block * C + tl.arange(0, C)
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = (p < rows)[:, None]
    slope, offset = tl.load(normal + 2 * z_columns + c), tl.load(normal + 3 * z_columns + c)
    y = tl.load(z + p[:, None] * z_pitch + c[None, :], mask=live, other=0.0) * slope[None, :] + offset[None, :]
    at = p[:, None] * columns + c[None, :]
    total = tl.where(y <= 0.0, 0.0, y) + tl.load(edges + block) * tl.load(states + at, mask=live, other=0.0)
    tl.store(out + at, total, mask=live)


@kernel
def receive(
    of_output, of_inputs, states, pitch, edges, z0, z1, normal, out, dots, n_edges, sums, rows, node, n_blocks,
    OF_EDGES: tl.constexpr, N_Z: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """The gradient of the output of block ``node``, dense: what its readers send back, times their edges' weights.

    With OF_EDGES, also the sums over each tile of what a reader sends times the block's output, [tile, edges].  With
    N_Z maps of which the output is a sum, also their ``parameter_sums``.
    Edges are in order of the reading node, then of the node that is read; the output is node n_blocks + 1.
    """
    tile = tl.program_id(0)
    c = tl.arange(0, C)
    p = tile * ROWS + tl.arange(0, ROWS)
    live = (p < rows)[:, None]
    at = p[:, None] * pitch + c[None, :]
    own = (node - 1) * C
    total = tl.zeros([ROWS, C], tl.float32)
    state = tl.zeros([ROWS, C], tl.float32)
    if OF_EDGES:
        state = tl.load(states + at + own, mask=live, other=0.0)
    for reader in range(node + 1, n_blocks + 2):
        edge = reader * (reader - 1) // 2 + node
        if reader == n_blocks + 1:
            sent = tl.load(of_output + at + own, mask=live, other=0.0)
        else:
            sent = tl.load(of_inputs + at + (reader - 1) * C, mask=live, other=0.0)
        total += tl.load(edges + edge) * sent
        if OF_EDGES:
            tl.store(dots + tile * n_edges + edge, tl.sum(tl.sum(sent * state, 1), 0))
    dense = p[:, None] * C + c[None, :]
    tl.store(out + dense, total, mask=live)
    for which in tl.static_range(N_Z):
        if which == 0:
            z = tl.load(z0 + dense, mask=live, other=0.0)
        else:
            z = tl.load(z1 + dense, mask=live, other=0.0)
        own_normal = normal + which * 4 * C + c
        mean, inverse = tl.load(own_normal), tl.load(own_normal + C)
        y = z * tl.load(own_normal + 2 * C)[None, :] + tl.load(own_normal + 3 * C)[None, :]
        behind = tl.where(y <= 0.0, 0.0, total)
        to = sums + (which * tl.num_programs(0) + tile) * 2 * C + c
        tl.store(to, tl.sum(behind, 0))
        tl.store(to + C, tl.sum(behind * (z - mean[None, :]) * inverse[None, :], 0))


@kernel
def parameter_sums(
    gradient, g_pitch, z0, z1, z_pitch, normal, z_columns, sums, columns, rows, ROWS: tl.constexpr, C: tl.constexpr
):  # fmt: skip
    """Sums over each tile behind the ReLU, [which, tile, 2, columns]: of the gradient, of it times (z - mean) / std."""
    tile, which = tl.program_id(0), tl.program_id(2)
    c = tl.program_id(1) * C + tl.arange(0, C)
    p = tile * ROWS + tl.arange(0, ROWS)
    live = (p < rows)[:, None]
    g = tl.load(gradient + p[:, None] * g_pitch + c[None, :], mask=live, other=0.0)
    at = p[:, None] * z_pitch + c[None, :]
    if which == 0:
        z = tl.load(z0 + at, mask=live, other=0.0)
    else:
        z = tl.load(z1 + at, mask=live, other=0.0)
    own = normal + which * 4 * z_columns + c
    mean, inverse = tl.load(own), tl.load(own + z_columns)
    y = z * tl.load(own + 2 * z_columns)[None, :] + tl.load(own + 3 * z_columns)[None, :]
    behind = tl.where(y <= 0.0, 0.0, g)
    to = sums + (which * tl.num_programs(0) + tile) * 2 * columns + c
    tl.store(to, tl.sum(behind, 0))
    tl.store(to + columns, tl.sum(behind * (z - mean[None, :]) * inverse[None, :], 0))


@kernel
def parameter_gradients(
    sums, tiles, columns, scale0, shift0, scale1, shift1, weights, totals, of_parameters, of_weights,
    WEIGHTED: tl.constexpr, OF_WEIGHTS: tl.constexpr, TILES: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """From the sums of the tiles: their totals [which, 2, columns], gradients of (shift, scale) and of the weights."""
    which = tl.program_id(1)
    c = tl.program_id(0) * C + tl.arange(0, C)
    total0, total1 = tl.zeros([C], tl.float32), tl.zeros([C], tl.float32)
    for start in range(0, tiles, TILES):
        t = start + tl.arange(0, TILES)
        at = (which * tiles + t)[:, None] * 2 * columns + c[None, :]
        total0 += tl.sum(tl.load(sums + at, mask=(t < tiles)[:, None], other=0.0), 0)
        total1 += tl.sum(tl.load(sums + at + columns, mask=(t < tiles)[:, None], other=0.0), 0)
    to = which * 2 * columns + c
    tl.store(totals + to, total0)
    tl.store(totals + to + columns, total1)
    if WEIGHTED:
        if OF_WEIGHTS:
            if which == 0:
                scale, shift = tl.load(scale0 + c), tl.load(shift0 + c)
            else:
                scale, shift = tl.load(scale1 + c), tl.load(shift1 + c)
            tl.store(of_weights + which, tl.sum(shift * total0 + scale * total1, 0))
        weight = tl.load(weights + which)
        total0, total1 = total0 * weight, total1 * weight
    tl.store(of_parameters + to, total0)
    tl.store(of_parameters + to + columns, total1)


@kernel
def input_gradient(
    gradient, g_pitch, z0, z1, z_pitch, normal, z_columns, totals, weights, out0, out1, out_pitch, rows,
    WEIGHTED: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """The gradients of z_o from that of ``weights[o] * relu(batch_norm(z_o))``."""
    which = tl.program_id(2)
    c = tl.program_id(1) * C + tl.arange(0, C)
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = (p < rows)[:, None]
    g = tl.load(gradient + p[:, None] * g_pitch + c[None, :], mask=live, other=0.0)
    at = p[:, None] * z_pitch + c[None, :]
    if which == 0:
        z = tl.load(z0 + at, mask=live, other=0.0)
    else:
        z = tl.load(z1 + at, mask=live, other=0.0)
    own = normal + which * 4 * z_columns + c
    mean, inverse, slope = tl.load(own), tl.load(own + z_columns), tl.load(own + 2 * z_columns)
    of_totals = totals + which * 2 * z_columns + c
    total0, total1 = tl.load(of_totals), tl.load(of_totals + z_columns)
    y = z * slope[None, :] + tl.load(own + 3 * z_columns)[None, :]
    behind = tl.where(y <= 0.0, 0.0, g)
    normal_z = (z - mean[None, :]) * inverse[None, :]
    out = slope[None, :] * (behind - (total0[None, :] + normal_z * total1[None, :]) / rows)
    if WEIGHTED:
        out = out * tl.load(weights + which)
    to = p[:, None] * out_pitch + c[None, :]
    if which == 0:
        tl.store(out0 + to, out, mask=live)
    else:
        tl.store(out1 + to, out, mask=live)


@kernel
def unpool(
    gradient, position, weight, more0, more1, x, out, out_pitch, dots, n_dots, rows, height, width,
    N_MORE: tl.constexpr, OF_WEIGHT: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """The gradient of ``x`` from that of ``weight * max_pool(x)``, plus one or two gradients from elsewhere.

    With OF_WEIGHT, also the sum over each tile that belongs to the gradient of the weight.
    """
    tile = tl.program_id(0)
    c = tl.arange(0, C)
    p = tile * ROWS + tl.arange(0, ROWS)
    live = p < rows
    at = p[:, None] * C + c[None, :]
    row, column = (p // width) % height, p % width
    pooled = tl.zeros([ROWS, C], tl.float32)
    for k in tl.static_range(9):
        dy, dx = k // 3 - 1, k % 3 - 1
        inside = live & (row - dy >= 0) & (row - dy < height) & (column - dx >= 0) & (column - dx < width)
        there = at - (dy * width + dx) * C
        chosen = tl.load(position + there, mask=inside[:, None], other=9).to(tl.int32)
        pooled += tl.where(chosen == k, tl.load(gradient + there, mask=inside[:, None], other=0.0), 0.0)
    if OF_WEIGHT:
        value = tl.load(x + at, mask=live[:, None], other=0.0)
        tl.store(dots + tile * n_dots, tl.sum(tl.sum(pooled * value, 1), 0))
    total = tl.load(weight) * pooled + tl.load(more0 + at, mask=live[:, None], other=0.0)
    if N_MORE == 2:
        total += tl.load(more1 + at, mask=live[:, None], other=0.0)
    tl.store(out + p[:, None] * out_pitch + c[None, :], total, mask=live[:, None])
