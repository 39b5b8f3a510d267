"""Structure of a cell's passes: which nodes and operations take part, where their channels lie, and their weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

#: What a tensor is: a name, then the node and the operation if it is one's own.
Key = tuple[Any, ...]
#: The weights of a node's parents and of a block's operations, or their gradients.
Weights = dict[tuple[str, int], list[float]]


@dataclass(frozen=True)
class Plan:
    """Structure of one forward pass: which blocks and operations run, and their channel ranges; no tensors.

    Attributes:
        parents: ``Mixture.parents``.
        operations: ``Mixture.operations``.
        pooling: The operation that is the max-pooling; the others are convolutions with BatchNorm and ReLU.
        channels: C.
        channel_groups: K of PC-DARTS.
        eps: Number that BatchNorm adds to the variance.
        backward: Whether there will be a backward pass.
    """

    parents: tuple[tuple[int, ...], ...]
    operations: tuple[tuple[int, ...], ...]
    pooling: int
    channels: int
    channel_groups: int
    eps: float
    backward: bool

    @property
    def n_blocks(self) -> int:
        return len(self.operations)

    def computed(self) -> list[int]:
        """The blocks that are computed, ascending."""
        return [node for node, operations in enumerate(self.operations, start=1) if operations]

    def convolutions(self, node: int) -> tuple[int, ...]:
        """Those among a block's operations."""
        return tuple(op for op in self.operations[node - 1] if op != self.pooling)

    def pools(self, node: int) -> bool:
        """Whether max-pooling is among a block's operations."""
        return self.pooling in self.operations[node - 1]

    def place(self, node: int, operation: int) -> int:
        """Position of ``operation`` in ``operations[node - 1]``; its weight has the same position."""
        return self.operations[node - 1].index(operation)

    def projections(self) -> dict[int, slice]:
        """For each node that reads the cell's input, the columns of its projection among all of them."""
        columns, start = {}, 0
        for node, parents in enumerate(self.parents, start=1):
            if 0 in parents:
                width = self.channels * (self.n_blocks if node > self.n_blocks else 1)
                columns[node] = slice(start, start + width)
                start += width
        return columns

    def output(self) -> dict[int, slice]:
        """For each block whose channels the cell's output has, their columns."""
        parents = self.parents[-1]
        nodes = range(1, self.n_blocks + 1) if 0 in parents else parents
        return {node: slice(i * self.channels, (i + 1) * self.channels) for i, node in enumerate(nodes)}


def blocks_among(nodes: Iterable[int]) -> list[int]:
    """Without the cell's input, node 0."""
    return [node for node in nodes if node]


def weights_of(plan: Plan, inputs: dict[Key, Tensor]) -> Weights:
    """By ``("edges", node)`` and ``("operations", node)``; ones if there are none.

    Raises:
        ValueError: One is negative.
    """
    edges = {("edges", node): parents for node, parents in enumerate(plan.parents, start=1)}
    operations = {("operations", node): of_block for node, of_block in enumerate(plan.operations, start=1)}
    weights = {
        key: inputs[key].tolist() if key in inputs else [1.0] * len(of_these)
        for key, of_these in (edges | operations).items()
    }
    for key, of_these in weights.items():
        if any(weight < 0 for weight in of_these):
            raise ValueError(f"mixture: got the weights {of_these} of {key}, expected none below 0")
    return weights
