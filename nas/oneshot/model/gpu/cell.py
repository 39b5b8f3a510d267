"""A relaxed cell's forward and backward pass by hand; ``nas.oneshot.model.supernet`` says what it computes.

Every edge takes part, and in each block one or two convolutions and the pooling.  Notation as there, and P = N * H * W,
D = 2 * B * C: a feature map is a matrix [P, C].  The projections are one matrix [P, D], the blocks' outputs another,
[P, B * C], and so are the gradients of the blocks' inputs.  A BatchNorm's output is never stored.  Edges are numbered
in order of the reading node 1..B + 1, then of the node 0..j - 1 that is read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from nas.oneshot.model.gpu.launch import BatchNorms, Launcher, Layer


class Shape(NamedTuple):
    """Structure of a cell.

    Attributes:
        n_blocks: B.
        channels: C.
        channel_groups: K of PC-DARTS.
        eps: Number that BatchNorm adds to the variance.
    """

    n_blocks: int
    channels: int
    channel_groups: int
    eps: float

    @property
    def fused(self) -> bool:
        """Whether our kernels convolve; cuDNN does for fewer than 16 channels, the least of Triton's products."""
        return self.channels // self.channel_groups >= 16

    def edge(self, node: int, parent: int = 0) -> int:
        """The number of an edge."""
        return node * (node - 1) // 2 + parent


def run(
    shape: Shape,
    x: Tensor,
    projections: tuple[Tensor, Tensor, Tensor],
    edges: Tensor,
    operations: Tensor,
    convolutions: list[Layer],
) -> Tensor:
    """The cell's output [N, B * C, H, W].

    Args:
        shape: Structure of the cell.
        x: [N, C_in, H, W] float32, channels last.
        projections: Kernel [D, C_in], scale and shift [D] of the blocks' projections and the output's; the scale and
            the shift are times the weight of the edge from the input.
        edges: [(B + 1)(B + 2) / 2] weights of all edges; those from the input are not read.
        operations: [B, convolutions + 1] weights of the convolutions and, last, of the pooling.
        convolutions: Of each block in turn, one or two: kernel, scale and shift.
    """
    flat = [parameter for convolution in convolutions for parameter in convolution]
    return _Cell.apply(shape, x, *projections, edges, operations, *flat)


class _Cell(Function):
    @staticmethod
    def forward(ctx: Any, shape: Shape, x: Tensor, *inputs: Tensor) -> Tensor:
        run = _Forward(shape, x, inputs, backward=any(ctx.needs_input_grad))
        output = run.output()
        if run.backward:
            ctx.shape, ctx.nhw = shape, run.nhw
            ctx.n_kept = [len(kept) for kept in run.kept]
            ctx.save_for_backward(x, *inputs, run.z, run.normaliser, run.states, *(t for k in run.kept for t in k))
        return image(output, run.nhw)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *_Backward(ctx, matrix(gradient)).gradients())


def _convolutions(shape: Shape, inputs: tuple[Tensor, ...], node: int) -> list[Layer]:
    """Kernel, scale and shift of the convolutions of a block."""
    each = len(inputs[5:]) // shape.n_blocks
    flat = inputs[5 + (node - 1) * each : 5 + node * each]
    return [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, each, 3)]


class _Forward:
    """The forward pass; ``kept`` has, by block, what its backward pass needs: input, maps, normaliser, positions."""

    def __init__(self, shape: Shape, x: Tensor, inputs: tuple[Tensor, ...], *, backward: bool) -> None:
        self.shape, self.x, self.inputs, self.backward = shape, x, inputs, backward
        n, _, h, w = x.shape
        self.nhw = (n, h, w)
        self.wide = Launcher(self.nhw, shape.channels, x.device)
        self.narrow = Launcher(self.nhw, shape.channels // shape.channel_groups, x.device)
        self.kept: list[list[Tensor]] = []

    def output(self) -> Tensor:
        shape = self.shape
        kernel, scale, shift, edges, operations = self.inputs[:5]
        self.z = matrix(self.x) @ kernel.t()
        self.normaliser = self.wide.normalise([self.z], [scale], [shift], shape.eps)
        self.states = self.wide.empty(self.wide.rows, shape.n_blocks * shape.channels)
        for node in range(1, shape.n_blocks + 1):
            own = slice((node - 1) * shape.channels, node * shape.channels)
            x = self.wide.block_input(
                self.z[:, own], self.normaliser[..., own], self.states, edges[shape.edge(node, 1) :], node - 1
            )
            self._block(node, x, operations[node - 1], self.states[:, own])
        first = shape.n_blocks * shape.channels
        of_output = edges[shape.edge(shape.n_blocks + 1, 1) :]
        return self.wide.join(self.z[:, first:], self.normaliser[..., first:], self.states, of_output)

    def _block(self, node: int, x: Tensor, weights: Tensor, out: Tensor) -> None:
        """Puts x_j into ``out``."""
        groups = self.shape.channel_groups
        if groups == 1:
            self._mix(node, x, weights, out)
            return
        first, *others = x.chunk(groups, dim=1)
        mixed = torch.empty_like(first, memory_format=torch.contiguous_format)
        self._mix(node, first.contiguous(), weights, mixed)
        torch.stack([mixed, *others], dim=2, out=out.view(len(out), -1, groups))

    def _mix(self, node: int, x: Tensor, weights: Tensor, out: Tensor) -> None:
        layers = _convolutions(self.shape, self.inputs, node)
        if self.shape.fused:
            norms = self.narrow.convolve(x, layers, self.shape.eps)
        else:
            kernels, scales, shifts = zip(*layers, strict=True)
            z = [convolve(x, self.nhw, kernel) for kernel in kernels]
            norms = BatchNorms(z, scales, shifts, self.narrow.normalise(z, scales, shifts, self.shape.eps))
        position = self.narrow.mix(x, norms, weights, out, backward=self.backward)
        if position is not None:
            self.kept.append([x, norms.normaliser, position, *norms.z])


class _Backward:
    """The backward pass, from the output to the input."""

    def __init__(self, ctx: Any, gradient: Tensor) -> None:
        self.shape, self.gradient = ctx.shape, gradient
        self.needed = ctx.needs_input_grad[1:]
        n_inputs = len(self.needed) - 1
        self.x, *rest = ctx.saved_tensors
        self.inputs = tuple(rest[:n_inputs])
        self.z, self.normaliser, self.states, *kept = rest[n_inputs:]
        self.kept = _split(kept, ctx.n_kept)
        self.nhw = ctx.nhw
        channels = self.shape.channels
        self.wide = Launcher(self.nhw, channels, gradient.device)
        self.narrow = Launcher(self.nhw, channels // self.shape.channel_groups, gradient.device)
        self.of_inputs = torch.empty_like(self.states)
        self.of_edges = gradient.new_zeros(self.wide.n_tiles, len(self.inputs[3])) if self.needed[4] else None
        self.of_operations = torch.empty_like(self.inputs[4]) if self.needed[5] else None
        self.of_pooling = self.wide.empty(self.narrow.n_tiles, self.shape.n_blocks) if self.needed[5] else None

    def gradients(self) -> list[Tensor | None]:
        """Gradients of x and of the inputs, in order; None for those that are not needed."""
        shape, edges = self.shape, self.inputs[3]
        of_convolutions: list[list[Tensor | None]] = []
        for node in range(shape.n_blocks, 0, -1):
            own = slice((node - 1) * shape.channels, node * shape.channels)
            norms = self._norms(node)
            sums = self.narrow.sums(len(norms.z), self.narrow.channels)
            at_once = shape.channel_groups == 1
            received = self.wide.receive(
                self.gradient, self.of_inputs, self.states, edges, node, self.of_edges,
                norms if at_once else None, sums if at_once else None,
            )  # fmt: skip
            of_convolutions.insert(0, self._block(node, received, norms, sums, self.of_inputs[:, own]))
        of_x, of_projections = self._projections()
        of_operations = self.of_operations
        if of_operations is not None and self.of_pooling is not None:
            of_operations[:, -1] = self.of_pooling.sum(0)
        of_edges = None if self.of_edges is None else self.of_edges.sum(0)
        flat = [gradient for of_block in of_convolutions for gradient in of_block]
        return [of_x, *of_projections, of_edges, of_operations, *flat]

    def _norms(self, node: int) -> BatchNorms:
        _, normaliser, _, *z = self.kept[node - 1]
        _, scales, shifts = zip(*_convolutions(self.shape, self.inputs, node), strict=True)
        return BatchNorms(z, scales, shifts, normaliser)

    def _block(self, node: int, gradient: Tensor, norms: BatchNorms, sums: Tensor, out: Tensor) -> list[Tensor | None]:
        """Puts the gradient of I_j into ``out``; returns those of the block's parameters."""
        groups = self.shape.channel_groups
        if groups == 1:
            return self._mix(node, gradient, norms, sums, out)
        by_group = gradient.view(len(gradient), -1, groups)
        width = out.shape[1] // groups
        first = by_group[:, :, 0].contiguous()
        self.narrow.parameter_sums(first, norms, sums, 0)
        parameters = self._mix(node, first, norms, sums, out[:, :width])
        for group in range(1, groups):
            out[:, group * width : (group + 1) * width] = by_group[:, :, group]
        return parameters

    def _mix(self, node: int, gradient: Tensor, norms: BatchNorms, sums: Tensor, out: Tensor) -> list[Tensor | None]:
        x, _, position, *_ = self.kept[node - 1]
        weights, layers = self.inputs[4][node - 1], _convolutions(self.shape, self.inputs, node)
        run, n = self.narrow, len(layers)
        of_weights = None if self.of_operations is None else self.of_operations[node - 1]
        totals, of_parameters = run.parameter_gradients(sums, norms, weights, of_weights)
        dots = None if self.of_pooling is None else self.of_pooling[:, node - 1]
        of_kernels = self.needed[6 + (node - 1) * 3 * n]
        kernels: list[Tensor | None] = [None] * n
        if self.shape.fused:
            of_z = run.block_gradient(
                gradient, x, position, layers, norms, totals, weights, out, dots, of_kernels=of_kernels
            )
            if of_kernels:
                kernels = list(run.kernel_gradients(x, of_z))
        else:
            of_z = [run.empty(run.rows, run.channels) for _ in layers]
            run.input_gradient(gradient, norms, totals, weights, of_z)
            found = [
                convolution_gradients(x, self.nhw, kernel, of_map, of_kernels)
                for (kernel, _, _), of_map in zip(layers, of_z, strict=True)
            ]
            kernels = [of_kernel for _, of_kernel in found]
            run.unpool(gradient, position, weights[n:], [of_x for of_x, _ in found], x, out, dots)
        return [g for i, kernel in enumerate(kernels) for g in (kernel, of_parameters[i, 1], of_parameters[i, 0])]

    def _projections(self) -> tuple[Tensor | None, list[Tensor | None]]:
        """Gradients of the cell's input, and of the projections' kernel, scale and shift."""
        kernel, scale, shift = self.inputs[:3]
        run, columns = self.wide, self.states.shape[1]
        halves = [(self.of_inputs, slice(columns)), (self.gradient, slice(columns, None))]
        sums = run.sums(1, 2 * columns)
        parts = [BatchNorms([self.z[:, own]], [scale], [shift], self.normaliser[..., own]) for _, own in halves]
        for (gradient, own), part in zip(halves, parts, strict=True):
            run.parameter_sums(gradient, part, sums, own.start or 0)
        totals, of_parameters = run.parameter_gradients(sums, parts[0], None, None)
        of_z = torch.empty_like(self.z)
        for (gradient, own), part in zip(halves, parts, strict=True):
            run.input_gradient(gradient, part, totals[..., own], None, [of_z[:, own]])
        of_x = image(of_z @ kernel, self.nhw) if self.needed[0] else None
        of_kernel = of_z.t() @ matrix(self.x) if self.needed[1] else None
        return of_x, [of_kernel, of_parameters[0, 1], of_parameters[0, 0]]


def _split(values: list[Tensor], sizes: list[int]) -> list[list[Tensor]]:
    """Consecutive pieces of these sizes."""
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [values[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def convolve(x: Tensor, nhw: tuple[int, int, int], kernel: Tensor) -> Tensor:
    """[P, C_out] the convolution of x [P, C_in] with a kernel [C_out, C_in, 1 or 3, 1 or 3]."""
    if kernel.shape[-1] == 1:
        return x @ kernel.flatten(1).t()
    return matrix(F.conv2d(image(x, nhw), kernel, padding=1))


def convolution_gradients(
    x: Tensor, nhw: tuple[int, int, int], kernel: Tensor, gradient: Tensor, of_kernel: bool
) -> tuple[Tensor, Tensor | None]:
    """Gradients of x, and of the kernel if it is needed, from that of the convolution."""
    if kernel.shape[-1] == 1:
        return gradient @ kernel.flatten(1), (gradient.t() @ x).view_as(kernel) if of_kernel else None
    of_x, of_its_kernel, _ = torch.ops.aten.convolution_backward(
        image(gradient, nhw), image(x, nhw), kernel, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1,
        [True, of_kernel, False],
    )  # fmt: skip
    return matrix(of_x), of_its_kernel if of_kernel else None


def matrix(x: Tensor) -> Tensor:
    """[P, C], dense, of [N, C, H, W]; no copy where channels are last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).contiguous()


def image(x: Tensor, nhw: tuple[int, int, int]) -> Tensor:
    """[N, C, H, W], channels last, of a dense matrix."""
    return x.view(-1, *nhw[1:], x.shape[1]).permute(0, 3, 1, 2)
