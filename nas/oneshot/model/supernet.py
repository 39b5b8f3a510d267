"""The one-shot model: every architecture of a search space, sharing weights (paper, section 3).

Shapes: N images, C channels of a block, S_h x S_w pixels, B choice blocks, O operations.

    stem      3x3 conv-BN-ReLU to C channels
    cell      one 1x1 conv-BN-ReLU projection of the cell's input for each block (C channels) and one for
              the output (B * C); then, with p_j the projections and x_j the blocks' outputs,
                  I_j = alpha_j[0] * p_j + sum_{0<i<j} alpha_j[i] * x_i
                  x_j = sum_o beta_j[o] * o(I_j)                                        (equation 1)
                  O   = gamma[0] * p_out + concat_j(gamma[j] * x_j)
    between   2x2 max-pooling and twice the channels before each further stack
    head      ReLU, 1x1 conv, BN, global average pooling, linear

Which weights a cell mixes with is the optimizer's business: it hands ``forward`` one ``Mixture`` per cell.  On the CPU
in single precision, ``nas.oneshot.model.native`` computes the same cells from the same parameters; on a GPU, in float32
and TF32, ``nas.oneshot.model.gpu`` does.

Positive weights are folded into BatchNorm: ``w * relu(a * z + b) = relu(w * a * z + w * b)`` for w >= 0,
so that scaling a projection or a convolution costs nothing.  Tensors are channels-last.

Differs from the public code (automl/nasbench-1shot1):
    * BatchNorm normalises with the statistics of the batch at hand in training and evaluation alike.
      Running statistics of a model whose paths change with every batch belong to no architecture, and with
      the public code's ``momentum=0.997`` they were those of the last batch seen.
    * Down-sampling halves the pixels exactly (32 -> 16 -> 8); the public code padded (32 -> 17 -> 9).
    * The architecture weights are parameters, so they are in ``state_dict`` and in every checkpoint.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.oneshot.model import gpu, native
from nas.oneshot.model.functions import BATCH_NORM_EPS, batch_norm_relu, weighted_concatenation, weighted_sum
from nas.oneshot.model.mixture import Mixture, by_block
from nas.oneshot.model.rounding import allow_tf32
from spaces.cell import CONV1X1, CONV3X3, MAXPOOL3X3, OPERATIONS
from spaces.search_space import N_OPERATIONS, SearchSpace

#: Standard deviation of the initial architecture weights.
ARCHITECTURE_INIT_STD = 1e-3


def batch_norm(x: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    """Normalises [N, C, H, W] per channel with its own mean and variance, then scales and shifts."""
    return F.batch_norm(x, None, None, scale, shift, training=True, eps=BATCH_NORM_EPS)


def conv_weight(in_channels: int, out_channels: int, kernel_size: int, generator: torch.Generator) -> nn.Parameter:
    """A kernel [out_channels, in_channels, kernel_size, kernel_size] with the initial values of ``nn.Conv2d``."""
    values = torch.empty(out_channels, in_channels, kernel_size, kernel_size)
    nn.init.kaiming_uniform_(values, a=5**0.5, generator=generator)
    return nn.Parameter(values.contiguous(memory_format=torch.channels_last))


class ConvBN(nn.Module):
    """The parameters of a convolution without bias and of the BatchNorm behind it."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = conv_weight(in_channels, out_channels, kernel_size, generator)
        self.scale = nn.Parameter(torch.ones(out_channels))
        self.shift = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """``weight * relu(bn(conv(x)))``; ``weight`` is a scalar >= 0, None for 1."""
        z = F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)
        return batch_norm_relu(z, *self.folded(weight))

    def folded(self, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scale and shift times a weight >= 0, None for 1."""
        return (self.scale, self.shift) if weight is None else (self.scale * weight, self.shift * weight)


class MaxPool3x3(nn.Module):
    """Max-pooling of stride 1 that keeps the number of pixels; a weight cannot be folded into it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, kernel_size=3, stride=1, padding=1)


def build_operation(name: str, channels: int, generator: torch.Generator) -> nn.Module:
    """The module of an entry of ``spaces.OPERATIONS``."""
    if name == MAXPOOL3X3:
        return MaxPool3x3()
    return ConvBN(channels, channels, {CONV3X3: 3, CONV1X1: 1}[name], generator)


class ChoiceBlock(nn.Module):
    """The mixed operation of a block.

    With ``channel_groups`` K > 1 (PC-DARTS) the first C / K channels go through it, the others around it,
    and the channels are shuffled afterwards.
    """

    def __init__(self, channels: int, channel_groups: int, generator: torch.Generator) -> None:
        super().__init__()
        self.channel_groups = channel_groups
        mixed = channels // channel_groups
        self.operations = nn.ModuleList(build_operation(name, mixed, generator) for name in OPERATIONS)

    def forward(self, x: Tensor, operations: Sequence[int], beta: Tensor | None, one_hot: bool = False) -> Tensor:
        """Maps I_j [N, C, H, W] to x_j of the same shape."""
        if one_hot:
            assert beta is not None, "a one-hot mixture has weights"
            return self.select(x, beta)
        if self.channel_groups == 1:
            return self.mix(x, operations, beta)
        first, *others = x.chunk(self.channel_groups, dim=1)
        # Channel c of group g moves to position c * K + g, so that every later block mixes some channels of each.
        groups = [self.mix(first.contiguous(memory_format=torch.channels_last), operations, beta), *others]
        return torch.stack(groups, dim=2).flatten(1, 2).contiguous(memory_format=torch.channels_last)

    def mix(self, x: Tensor, operations: Sequence[int], beta: Tensor | None) -> Tensor:
        """``sum_o beta[o] * o(x)`` over the operations that take part."""
        weights = [None] * len(operations) if beta is None else beta.unbind()
        folded, others, of_others = [], [], []
        for op, weight in zip(operations, weights, strict=True):
            module = self.operations[op]
            if isinstance(module, ConvBN):
                folded.append(module(x, weight))
            else:
                others.append(module(x))
                of_others.append(weight)
        return weighted_sum(folded, others, None if beta is None or not others else torch.stack(of_others))  # type: ignore[arg-type]  # all are tensors

    def select(self, x: Tensor, beta: Tensor) -> Tensor:
        """``mix`` for weights [O] that are zero but for one operation, without asking which it is."""
        ((kernel, scale, shift),) = self.layers(beta)
        y = batch_norm_relu(F.conv2d(x, kernel, padding=1), scale, shift)
        return weighted_sum([y], [self.operations[-1](x)], beta[-1:])

    def layers(self, one_hot: Tensor | None) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Kernel, scale and shift of the convolutions.

        With weights [O] that are zero but for one operation, one convolution serves all: its kernel is the sum of
        theirs, those of 1x1 in the middle of 3x3, times zeros and a one.  Where the pooling is selected, kernel, scale
        and shift are zero, and so is what they add.
        """
        convolutions = [module for module in self.operations if isinstance(module, ConvBN)]
        if one_hot is None:
            return [(module.weight, module.scale, module.shift) for module in convolutions]
        kernels, scales, shifts = [], [], []
        for module, weight in zip(convolutions, one_hot[:-1].unbind(), strict=True):
            border = (3 - module.weight.shape[-1]) // 2
            kernels.append(F.pad(module.weight, (border,) * 4) * weight.detach())  # BatchNorm divides it out
            scale, shift = module.folded(weight)
            scales.append(scale)
            shifts.append(shift)
        return [(sum_of(kernels), sum_of(scales), sum_of(shifts))]


def sum_of(terms: Sequence[Tensor]) -> Tensor:
    """The sum of at least one tensor."""
    return functools.reduce(torch.add, terms)


class Cell(nn.Module):
    """A cell; see the module's docstring."""

    def __init__(
        self, n_blocks: int, in_channels: int, channels: int, channel_groups: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.n_blocks = n_blocks
        self.channels = channels
        self.projections = nn.ModuleList(
            ConvBN(in_channels, width, 1, generator) for width in [channels] * n_blocks + [channels * n_blocks]
        )
        self.blocks = nn.ModuleList(ChoiceBlock(channels, channel_groups, generator) for _ in range(n_blocks))

    def forward(self, x: Tensor, mixture: Mixture, held: Sequence[int] = ()) -> Tensor:
        """Maps the cell's input [N, C_in, H, W] to its output [N, B * C, H, W].

        Without an edge from input to output, the channels of blocks that the output does not read are zero and left
        out: the output is [N, C * len(parents of the output), H, W].  ``held`` says that of the input.
        """
        projected = self.project(x, mixture, held)
        states: dict[int, Tensor] = {}
        for node in range(1, self.n_blocks + 1):
            parents, operations = mixture.parents[node - 1], mixture.operations[node - 1]
            if operations:
                inputs = self.block_input(projected.get(node), states, parents, mixture.alpha[node - 1])
                states[node] = self.blocks[node - 1](inputs, operations, mixture.beta[node - 1], mixture.one_hot)
        return self.join(projected.get(self.n_blocks + 1), states, mixture)

    def project(self, x: Tensor, mixture: Mixture, held: Sequence[int]) -> dict[int, Tensor]:
        """The projections that take part, by node, already times their edge weights: one convolution for all."""
        nodes = mixture.readers_of_input()
        if not nodes:
            return {}
        edges = [mixture.edge_weights(node) for node in nodes]
        weights = [None if weights is None else weights[0] for weights in edges]
        kernel, scale, shift = self.projection(nodes, held, weights)
        # A product: where channels are last, it is the 1x1 convolution, and has the faster gradient of its kernel.
        z = F.linear(x.permute(0, 2, 3, 1), kernel).permute(0, 3, 1, 2)
        y = batch_norm_relu(z, scale, shift)
        return dict(zip(nodes, y.split([self.width(node) for node in nodes], dim=1), strict=True))

    def projection(
        self, nodes: Sequence[int], held: Sequence[int], weights: Sequence[Tensor | None]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Kernel [columns, C_in], scale and shift of the nodes' projections, in one, times a weight for each."""
        layers = [cast(ConvBN, self.projections[node - 1]) for node in nodes]
        kernel = columns_of(torch.cat([layer.weight for layer in layers]), held, self.n_blocks).flatten(1)
        scale, shift = torch.cat([layer.scale for layer in layers]), torch.cat([layer.shift for layer in layers])
        if all(weight is None for weight in weights):
            return kernel, scale, shift
        ones = kernel.new_ones(())
        by_channel = torch.cat(
            [
                (ones if weight is None else weight.to(kernel.dtype)).expand(self.width(node))
                for node, weight in zip(nodes, weights, strict=True)
            ]
        )
        return kernel, scale * by_channel, shift * by_channel

    def width(self, node: int) -> int:
        """The channels of what a node sums up: C of a block, B * C of the output."""
        return self.channels * (self.n_blocks if node > self.n_blocks else 1)

    @staticmethod
    def block_input(
        projected: Tensor | None, states: dict[int, Tensor], parents: Sequence[int], alpha: Tensor | None
    ) -> Tensor:
        """I_j; the projection, there if node 0 is a parent, carries its weight already."""
        if projected is None:
            return weighted_sum([], [states[node] for node in parents], alpha)
        return weighted_sum([projected], [states[node] for node in parents[1:]], None if alpha is None else alpha[1:])

    def join(self, projected: Tensor | None, states: dict[int, Tensor], mixture: Mixture) -> Tensor:
        """The cell's output: the projected input plus the concatenation of the weighted blocks."""
        blocks = [node for node in mixture.parents[-1] if node > 0]
        parts = [states[node] for node in blocks]
        if mixture.gamma is not None:
            assert projected is not None, "only single architectures leave the input's edge out"
            return weighted_concatenation(projected, parts, mixture.gamma[1:])
        if projected is None:
            return torch.cat(parts, dim=1)
        pieces = list(projected.split(self.channels, dim=1))
        for node, part in zip(blocks, parts, strict=True):
            pieces[node - 1] = pieces[node - 1] + part
        return torch.cat(pieces, dim=1)


def columns_of(kernel: Tensor, held: Sequence[int], n_blocks: int) -> Tensor:
    """The input channels of a kernel that belong to the blocks in ``held``; all of them if it is empty."""
    if not held:
        return kernel
    by_block = kernel.chunk(n_blocks, dim=1)
    return torch.cat([by_block[node - 1] for node in held], dim=1)


class Supernet(nn.Module):
    """The one-shot model with its architecture weights.

    Args:
        space: The search space.
        n_classes: Classes of the data set.
        image_channels: Channels of an image.
        n_stacks: Stacks of cells.
        cells_per_stack: Cells per stack.
        init_channels: C of the first stack; doubled in each further one.
        channel_groups: K of PC-DARTS; 1 sends every channel through the mixed operations.
        generator: Draws the initial weights.

    Attributes:
        alpha: [n blocks with a choice of parents] logits [j] of block j's candidates, in order of the blocks.
        beta: [B, O] logits of the operations.
        gamma: [B + 1] logits of the output's candidates.
        precision: ``float32``, ``tf32``, or ``bf16`` for convolutions and products in bfloat16.
        native: Whether compiled kernels compute the cells where they apply; they need single precision.
        masked: Whether an optimizer that samples computes the same operations in every step and multiplies those that
            take no part by zero.  A GPU then waits for no choice; on the CPU, leaving them out is faster.

    Raises:
        ValueError: K does not divide the channels.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        n_classes: int,
        image_channels: int,
        n_stacks: int = 3,
        cells_per_stack: int = 3,
        init_channels: int = 16,
        channel_groups: int = 1,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if init_channels % channel_groups:
            raise ValueError(
                f"init_channels: got {init_channels}, expected a multiple of {channel_groups}, of which one part in "
                f"{channel_groups} goes through the mixed operations"
            )
        self.space = space
        self.cells_per_stack = cells_per_stack
        self.precision = "float32"
        self.native = False
        self.masked = False
        self.stem = ConvBN(image_channels, init_channels, 3, generator)
        cells = []
        in_channels = init_channels
        for stack in range(n_stacks):
            channels = init_channels * 2**stack
            for _ in range(cells_per_stack):
                cells.append(Cell(space.n_blocks, in_channels, channels, channel_groups, generator))
                in_channels = channels * space.n_blocks
        self.cells = nn.ModuleList(cells)
        self.head = conv_weight(in_channels, channels, 1, generator)
        self.classifier = nn.Linear(channels, n_classes)
        with torch.no_grad():
            bound = channels**-0.5
            self.classifier.weight.uniform_(-bound, bound, generator=generator)
            self.classifier.bias.uniform_(-bound, bound, generator=generator)

        def logits(*shape: int) -> nn.Parameter:
            return nn.Parameter(ARCHITECTURE_INIT_STD * torch.randn(*shape, generator=generator))

        blocks = range(1, space.n_blocks + 1)
        self.alpha = nn.ParameterList(logits(node) for node in blocks if space.has_parent_choice(node))
        self.beta = logits(space.n_blocks, N_OPERATIONS)
        self.gamma = logits(space.n_blocks + 1)

    def forward(self, images: Tensor, mixtures: Sequence[Mixture]) -> Tensor:
        """Maps [N, image_channels, H, W] to logits [N, n_classes], cell i mixing by ``mixtures[i]``."""
        if self.precision != "bf16":
            return self._forward(images, mixtures)
        with torch.autocast(images.device.type, torch.bfloat16):
            return self._forward(images, mixtures).float()

    def _forward(self, images: Tensor, mixtures: Sequence[Mixture]) -> Tensor:
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        held: tuple[int, ...] = ()
        weights: dict[int, gpu.Weights] = {}  # of each mixture, as most optimizers have one for all cells
        for i, (cell, mixture) in enumerate(zip(self.cells, mixtures, strict=True)):
            if i and i % self.cells_per_stack == 0:
                x = F.max_pool2d(x, kernel_size=2, stride=2)
            if self.native and x.is_cuda and mixture.is_whole():
                if id(mixture) not in weights:
                    weights[id(mixture)] = gpu.weights_of(mixture)
                x = gpu.run_cell(cast(Cell, cell), x, mixture, weights[id(mixture)])
            elif self.native and not x.is_cuda:
                x = native.run_cell(cast(Cell, cell), x, mixture, held)
            else:
                x = cell(x, mixture, held)
            held = () if 0 in mixture.parents[-1] else mixture.parents[-1]
        x = batch_norm(F.conv2d(F.relu(x), columns_of(self.head, held, self.space.n_blocks)), None, None)
        return self.classifier(x.mean((2, 3)))

    def compile_cells(self) -> None:
        """Compiles the cells (``torch.compile``): one program for all cells of the same shape."""
        torch._dynamo.config.recompile_limit = 64  # shapes of cells, trained by weights or architecture, or evaluated
        for cell in self.cells:
            cell.compile(dynamic=False)

    def alpha_by_block(self) -> list[Tensor | None]:
        """[B] the logits of each block's candidates; None for a block without a choice of parents."""
        return by_block(self.space, self.alpha)

    def architecture_parameters(self) -> list[nn.Parameter]:
        """alpha, beta and gamma."""
        return [*self.alpha, self.beta, self.gamma]

    def weights(self) -> list[nn.Parameter]:
        """Every parameter that is no architecture weight."""
        return [p for name, p in self.named_parameters() if name.split(".")[0] not in ("alpha", "beta", "gamma")]

    @contextmanager
    def computing_in(self, precision: str) -> Iterator[None]:
        """Within it, ``precision`` is another one, of backward passes too."""
        own, self.precision = self.precision, precision
        allow_tf32(precision == "tf32")
        try:
            yield
        finally:
            self.precision = own
            allow_tf32(own == "tf32")

    def gradients_of_architecture(self) -> AbstractContextManager[None]:
        """Within it, the weights ask for no gradient, and a backward pass computes none of theirs."""
        return _without_gradients(self.weights())

    def gradients_of_weights(self) -> AbstractContextManager[None]:
        """Within it, the architecture weights ask for no gradient."""
        return _without_gradients(self.architecture_parameters())


@contextmanager
def _without_gradients(parameters: list[nn.Parameter]) -> Iterator[None]:
    asking = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)
