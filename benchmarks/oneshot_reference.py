"""The one-shot model as the paper's formulas read, to measure against.

One module an operation, one projection a block, every operation computed and multiplied by its weight, contiguous
layout, gradients of everything in every step: what one writes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.search_space import N_OPERATIONS, SearchSpace

#: Optimizers that both baselines implement.
OPTIMIZERS = ("darts", "darts_2nd", "gdas", "pc_darts", "enas", "random_ws")
#: (alpha by block or None, beta, gamma): one weight for each edge and operation.
Weights = tuple[Sequence[Tensor | None], Tensor, Tensor]


class ConvBnRelu(nn.Sequential):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class MixedOperation(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        mixed = channels // groups
        self.groups, self.mixed = groups, mixed
        self.operations = nn.ModuleList(
            [ConvBnRelu(mixed, mixed, 3), ConvBnRelu(mixed, mixed, 1), nn.MaxPool2d(3, stride=1, padding=1)]
        )

    def forward(self, x: Tensor, beta: Tensor) -> Tensor:
        first = x[:, : self.mixed]
        y = sum((w * op(first) for w, op in zip(beta, self.operations, strict=True)), start=torch.zeros(()))
        if self.groups == 1:
            return y
        n, c, h, w = x.shape
        y = torch.cat([y, x[:, self.mixed :]], 1)
        return y.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class Cell(nn.Module):
    def __init__(self, n_blocks: int, in_channels: int, channels: int, groups: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(ConvBnRelu(in_channels, channels, 1) for _ in range(n_blocks))
        self.output_projection = ConvBnRelu(in_channels, channels * n_blocks, 1)
        self.blocks = nn.ModuleList(MixedOperation(channels, groups) for _ in range(n_blocks))

    def forward(self, x: Tensor, alpha: Sequence[Tensor | None], beta: Tensor, gamma: Tensor) -> Tensor:
        states: list[Tensor] = []
        for j, (projection, block) in enumerate(zip(self.projections, self.blocks, strict=True)):
            inputs = [projection(x), *states]
            edge_weights = alpha[j]
            if edge_weights is not None:
                inputs = [w * t for w, t in zip(edge_weights, inputs, strict=True)]
            states.append(block(sum(inputs[1:], start=inputs[0]), beta[j]))
        weighted = [w * t for w, t in zip(gamma[1:], states, strict=True)]
        return gamma[0] * self.output_projection(x) + torch.cat(weighted, 1)


class PlainSupernet(nn.Module):
    def __init__(self, space: SearchSpace, groups: int = 1, channels: int = 16, cells_per_stack: int = 3) -> None:
        super().__init__()
        self.cells_per_stack = cells_per_stack
        self.stem = ConvBnRelu(3, channels, 3)
        self.cells = nn.ModuleList()
        in_channels = channels
        for stack in range(3):
            width = channels * 2**stack
            for _ in range(cells_per_stack):
                self.cells.append(Cell(space.n_blocks, in_channels, width, groups))
                in_channels = width * space.n_blocks
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv2d(in_channels, width, 1, bias=False), nn.BatchNorm2d(width, affine=False)
        )
        self.classifier = nn.Linear(width, 10)

    def forward(self, images: Tensor, weights: Sequence[Weights]) -> Tensor:
        x = self.stem(images)
        for i, (cell, mixing) in enumerate(zip(self.cells, weights, strict=True)):
            if i and i % self.cells_per_stack == 0:
                x = F.max_pool2d(x, 2)
            x = cell(x, *mixing)
        return self.classifier(self.head(x).mean((2, 3)))


def softmax_weights(space: SearchSpace, logits: Sequence[Tensor], n_cells: int, temperature: float) -> list[Weights]:
    """DARTS and PC-DARTS: the same softmax in each cell."""
    alpha = iter(logits[:-2])
    by_block = [next(alpha).softmax(0) if space.has_parent_choice(j) else None for j in range(1, space.n_blocks + 1)]
    return [(by_block, logits[-2].softmax(1), logits[-1].softmax(0))] * n_cells


def gumbel_weights(space: SearchSpace, logits: Sequence[Tensor], n_cells: int, temperature: float) -> list[Weights]:
    """GDAS: relaxed samples of the edges, hard ones of the operations, drawn anew in each cell."""
    cells: list[Weights] = []
    for _ in range(n_cells):
        alpha = iter(logits[:-2])
        by_block = [
            F.gumbel_softmax(next(alpha), temperature, dim=0) if space.has_parent_choice(j) else None
            for j in range(1, space.n_blocks + 1)
        ]
        beta = F.gumbel_softmax(logits[-2], temperature, hard=True, dim=1)
        cells.append((by_block, beta, F.gumbel_softmax(logits[-1], temperature, dim=0)))
    return cells


def discrete_weights(space: SearchSpace, logits: Sequence[Tensor], n_cells: int, temperature: float) -> list[Weights]:
    """Random-WS and ENAS: weights of 0 and 1 of a random architecture."""
    architecture = space.decode(int(torch.randint(space.size, ())))
    alpha = [
        torch.tensor([float(i in parents) for i in range(node)])
        for node, parents in enumerate(architecture.parents, start=1)
    ]
    beta = torch.eye(N_OPERATIONS)[list(architecture.operations)]
    return [(alpha[:-1], beta, alpha[-1])] * n_cells


def second_order_gradient(sgd: torch.optim.SGD, logits: Sequence[Tensor], loss: Callable[[int], Tensor]) -> None:
    """Puts the architecture's gradient one weight step ahead into the logits (DARTS, equations 7 and 8)."""
    group = sgd.param_groups[0]
    weights, rate = group["params"], group["lr"]
    before = [p.detach().clone() for p in weights]

    def put(values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for p, value in zip(weights, values, strict=True):
                p.copy_(value)

    ahead = []
    for p, gradient in zip(weights, torch.autograd.grad(loss(0), weights), strict=True):
        velocity = sgd.state[p].get("momentum_buffer", torch.zeros_like(p))
        ahead.append(p - rate * (group["momentum"] * velocity + gradient + group["weight_decay"] * p))
    put(ahead)
    gradients = torch.autograd.grad(loss(1), [*logits, *weights])
    first, direction = gradients[: len(logits)], gradients[len(logits) :]
    epsilon = 0.01 / torch.sqrt(sum(((d * d).sum() for d in direction), start=torch.zeros(())))
    sides = []
    for sign in (1, -1):
        put([p + sign * epsilon * d for p, d in zip(before, direction, strict=True)])
        sides.append(torch.autograd.grad(loss(0), list(logits)))
    put(before)
    for logit, gradient, plus, minus in zip(logits, first, *sides, strict=True):
        logit.grad = gradient - rate * (plus - minus) / (2 * epsilon)


def plain_step(optimizer: str, space: SearchSpace, batch_size: int, channels: int) -> Callable[[], None]:
    """One architecture step (where the optimizer has one) and one weight step on random images."""
    weights_of = {"gdas": gumbel_weights, "enas": discrete_weights, "random_ws": discrete_weights}.get(
        optimizer, softmax_weights
    )
    net = PlainSupernet(space, groups=4 if optimizer == "pc_darts" else 1, channels=channels)
    sizes = [(j,) for j in range(1, space.n_blocks + 1) if space.has_parent_choice(j)]
    logits = [
        (1e-3 * torch.randn(size)).requires_grad_()
        for size in [*sizes, (space.n_blocks, N_OPERATIONS), (space.n_blocks + 1,)]
    ]
    sgd = torch.optim.SGD(net.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(logits, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    images, labels = torch.randn(2, batch_size, 3, 32, 32), torch.randint(10, (2, batch_size))

    def loss(half: int) -> Tensor:
        mixing = weights_of(space, logits, len(net.cells), 10.0)
        return F.cross_entropy(net(images[half], mixing), labels[half])

    def step() -> None:
        if weights_of is not discrete_weights:
            adam.zero_grad()
            if optimizer == "darts_2nd":
                second_order_gradient(sgd, logits, loss)
            else:
                loss(1).backward()
            adam.step()
        sgd.zero_grad()
        loss(0).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        sgd.step()

    return step
