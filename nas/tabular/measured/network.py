"""The network that NAS-Bench-101 trains for a cell, at any size, in one or several replicas.

Source: Ying et al. (2019), *NAS-Bench-101*, section 2 and its reference implementation
(google-research/nasbench, ``model_builder``):

* the output's channels are split over the interior vertices that feed it;
* interior edges truncate channels;
* an interior vertex adds its inputs;
* the output concatenates its interior parents and then adds the projected input.

Replicas: R independent networks of the same cell (the repeats of a table) are computed together.  Their
channels lie beside each other and every convolution is grouped, so no value of one replica reaches
another.  On small images this takes far less time than training one after the other.
Shapes below are [N, R * C, H, W], with each replica's channels contiguous.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.tabular.measured.training_spec import NetworkSize
from spaces.cell import CONV1X1, CONV3X3, MAXPOOL3X3, Cell


def vertex_channels(cell: Cell, input_channels: int, output_channels: int) -> tuple[int, ...]:
    """[V] Output channels of every vertex of a pruned cell.

    The channels of the output are split over its interior parents; the earliest parents take one channel
    each of the remainder.  Any other interior vertex has the maximum of its successors.

    Worked example: 3 interior parents and 64 output channels give 22, 21, 21.
    """
    n = cell.n_vertices
    adjacency = cell.adjacency
    channels = [0] * n
    channels[0], channels[-1] = input_channels, output_channels
    feeding = [v for v in range(1, n - 1) if adjacency[v][n - 1]]
    for position, v in enumerate(feeding):
        share, remainder = divmod(output_channels, len(feeding))
        channels[v] = share + (position < remainder)
    for v in range(n - 2, 0, -1):
        if not adjacency[v][n - 1]:
            channels[v] = max(channels[w] for w in range(v + 1, n - 1) if adjacency[v][w])
    return tuple(channels)


class ConvBnRelu(nn.Sequential):
    """Convolution (k x k, without bias), batch normalisation and ReLU, in ``replicas`` groups."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, size: NetworkSize, replicas: int, stride: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(
                replicas * inputs,
                replicas * outputs,
                kernel,
                stride=stride,
                padding=kernel // 2,
                groups=replicas,
                bias=False,
            ),
            nn.BatchNorm2d(replicas * outputs, eps=size.batch_norm_eps, momentum=size.batch_norm_momentum),
            nn.ReLU(inplace=True),
        )


class CellModule(nn.Module):
    """One cell; see the module's docstring."""

    def __init__(self, cell: Cell, inputs: int, outputs: int, size: NetworkSize, replicas: int = 1) -> None:
        super().__init__()
        self.replicas = replicas
        self.channels = vertex_channels(cell, inputs, outputs)
        n = cell.n_vertices
        self.parents = [[x for x in range(y) if cell.adjacency[x][y]] for y in range(n)]
        self.operations = nn.ModuleDict()
        self.projections = nn.ModuleDict()
        for v in range(1, n - 1):
            c = self.channels[v]
            self.operations[str(v)] = _operation(cell.operations[v], c, size, replicas)
            if 0 in self.parents[v]:
                self.projections[str(v)] = ConvBnRelu(inputs, c, 1, size, replicas)
        if 0 in self.parents[n - 1]:
            self.projections[str(n - 1)] = ConvBnRelu(inputs, outputs, 1, size, replicas)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, R * inputs, H, W] to [N, R * outputs, H, W]."""
        values: dict[int, Tensor] = {0: x}
        last = len(self.channels) - 1
        for v in range(1, last):
            terms = [
                self.projections[str(v)](x) if p == 0 else self._truncated(values[p], self.channels[v])
                for p in self.parents[v]
            ]
            values[v] = self.operations[str(v)](_total(terms))
        interior = [values[p] for p in self.parents[last] if p != 0]
        terms = [self._concatenated(interior)] if interior else []
        if 0 in self.parents[last]:
            terms.append(self.projections[str(last)](x))
        return _total(terms)

    def _truncated(self, x: Tensor, channels: int) -> Tensor:
        if x.shape[1] == self.replicas * channels:
            return x
        return x.unflatten(1, (self.replicas, -1))[:, :, :channels].flatten(1, 2)

    def _concatenated(self, parts: list[Tensor]) -> Tensor:
        if len(parts) == 1:
            return parts[0]
        if self.replicas == 1:
            return torch.cat(parts, dim=1)
        return torch.cat([part.unflatten(1, (self.replicas, -1)) for part in parts], dim=2).flatten(1, 2)


def _operation(name: str, channels: int, size: NetworkSize, replicas: int) -> nn.Module:
    if name == CONV3X3:
        return ConvBnRelu(channels, channels, 3, size, replicas)
    if name == CONV1X1:
        return ConvBnRelu(channels, channels, 1, size, replicas)
    assert name == MAXPOOL3X3, name
    return nn.MaxPool2d(3, stride=1, padding=1)


def _total(terms: list[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


class CellNetwork(nn.Module):
    """Stem, stacks of cells, global average pooling, dense layer.

    Args:
        cell: Any valid cell; the network uses it pruned.
        size: Skeleton around the cells; None for that of NAS-Bench-101.
        replicas: R, the number of independent networks that are computed together.
    """

    def __init__(self, cell: Cell, size: NetworkSize | None = None, replicas: int = 1) -> None:
        super().__init__()
        size = size or NetworkSize()
        cell = cell.pruned
        self.replicas = replicas
        channels = size.stem_channels
        layers: list[nn.Module] = [ConvBnRelu(size.image_channels, channels, 3, size, replicas, size.stem_stride)]
        inputs = channels
        for stack in range(size.n_stacks):
            if stack > 0:
                layers.append(nn.MaxPool2d(2))
                channels *= 2
            for _ in range(size.cells_per_stack):
                layers.append(CellModule(cell, inputs, channels, size, replicas))
                inputs = channels
        self.layers = nn.Sequential(*layers)
        self.head_weight = nn.Parameter(torch.empty(replicas, inputs, size.n_classes))
        self.head_bias = nn.Parameter(torch.zeros(replicas, 1, size.n_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Maps [N, R * image_channels, H, W] images to [R, N, n_classes] logits."""
        features = self.layers(images).mean(dim=(2, 3)).unflatten(1, (self.replicas, -1))
        return torch.baddbmm(self.head_bias, features.transpose(0, 1), self.head_weight)

    @property
    def n_parameters(self) -> int:
        """Number of trainable parameters of one replica."""
        return sum(p.numel() for p in self.parameters()) // self.replicas

    @torch.no_grad()
    def initialise(self, generators: list[torch.Generator]) -> None:
        """Draws every replica's weights from its own generator, so a replica does not depend on R.

        Weights are normal, truncated at two standard deviations (variance scaling, the reference
        implementation's initialiser).  The variance is 2 / fan-in for convolutions and 1 / fan-in for the
        dense layer.  BatchNorm starts with scale 1 and shift 0, the dense layer's bias is 0.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                _draw(module.weight.unflatten(0, (self.replicas, -1)), module.weight[0].numel(), 2.0, generators)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        _draw(self.head_weight, self.head_weight.shape[1], 1.0, generators)
        self.head_bias.zero_()


def _draw(weights: Tensor, fan_in: int, gain: float, generators: list[torch.Generator]) -> None:
    std = (gain / fan_in) ** 0.5
    for weight, generator in zip(weights, generators, strict=True):
        nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)
