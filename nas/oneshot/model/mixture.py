"""What a cell computes in one forward pass: which nodes and operations take part, with which weights.

Notation (as in ``spaces.search_space``):
    B: number of choice blocks; node 0 is the cell's input, nodes 1..B are the blocks, B + 1 the output.
    O: number of operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from spaces.search_space import N_OPERATIONS, Architecture, SearchSpace

T = TypeVar("T")


@dataclass(frozen=True)
class Mixture:
    """The mixing of one cell; weights are not negative, and None stands for weights of exactly 1.

    They are folded into BatchNorm, in front of a ReLU.  The native kernels refuse negative ones; PyTorch's path does
    not look, which would make it wait for a GPU.

    Attributes:
        parents: [B + 1] for blocks 1..B and the output, the nodes that feed it, ascending.
        operations: [B] for each block the operations that are computed; empty for a block that nothing
            reads, which is then not computed at all.
        alpha: [B] for each block the weights [len(parents)] of its parents, or None: their plain sum.
        beta: [B] for each block the weights [len(operations)] of its operations, or None.
        gamma: [len(parents[B])] weights of the output's parents, or None.
        one_hot: Whether each block's weights are zero but for one operation, so that one convolution can serve both.
    """

    parents: tuple[tuple[int, ...], ...]
    operations: tuple[tuple[int, ...], ...]
    alpha: tuple[Tensor | None, ...]
    beta: tuple[Tensor | None, ...]
    gamma: Tensor | None
    one_hot: bool = False

    def readers_of_input(self) -> list[int]:
        """The nodes that read the cell's input."""
        return [node for node, parents in enumerate(self.parents, start=1) if 0 in parents]

    def is_whole(self) -> bool:
        """Whether every edge takes part, with a weight for those of the output, and every operation."""
        edges = all(len(parents) == node for node, parents in enumerate(self.parents, start=1))
        operations = all(len(of_block) == N_OPERATIONS for of_block in self.operations)
        return edges and operations and self.gamma is not None

    def edge_weights(self, node: int) -> Tensor | None:
        """The weights of the parents of block 1..B or of the output, B + 1."""
        return self.gamma if node == len(self.parents) else self.alpha[node - 1]

    @classmethod
    def relaxed(
        cls,
        space: SearchSpace,
        alpha: Sequence[Tensor | None],
        beta: Sequence[Tensor],
        gamma: Tensor,
        operations: Sequence[Sequence[int]] | None = None,
        *,
        one_hot: bool = False,
    ) -> Mixture:
        """A cell in which every edge takes part, and every operation or those given.

        Args:
            space: The search space.
            alpha: [B] weights [j] of the candidate parents 0..j-1 of block j, or None.
            beta: [B] weights of the operations that take part.
            gamma: [B + 1] weights of the output's candidates.
            operations: [B] the operations that take part; all of them if None.
            one_hot: Whether each row of ``beta`` is zero but for one operation.
        """
        every = tuple(range(N_OPERATIONS))
        return cls(
            parents=tuple(tuple(range(node)) for node in range(1, space.n_blocks + 2)),
            operations=tuple(tuple(ops) for ops in operations) if operations else (every,) * space.n_blocks,
            alpha=tuple(alpha),
            beta=tuple(beta),
            gamma=gamma,
            one_hot=one_hot,
        )

    def averaging(self, space: SearchSpace, device: torch.device) -> Mixture:
        """A single architecture whose blocks average the parents that they chose, as softmax weights add up to 1.

        The parents of a block without a choice are summed, as in training.  The output's weights, all equal, would
        change nothing: the BatchNorm that follows divides by them.
        """
        alpha = [
            torch.full((len(parents),), 1 / len(parents), device=device)
            if parents and space.has_parent_choice(node)
            else None
            for node, parents in enumerate(self.parents[:-1], start=1)
        ]
        return replace(self, alpha=tuple(alpha))

    @classmethod
    def discrete(cls, architecture: Architecture) -> Mixture:
        """A single architecture: plain sums, one operation a block, loose ends left out."""
        n_blocks = len(architecture.operations)
        live = {n_blocks + 1}
        for node in range(n_blocks + 1, 0, -1):
            if node in live:
                live.update(architecture.parents[node - 1])
        return cls(
            parents=tuple(p if node in live else () for node, p in enumerate(architecture.parents, start=1)),
            operations=tuple((op,) if node in live else () for node, op in enumerate(architecture.operations, start=1)),
            alpha=(None,) * n_blocks,
            beta=(None,) * n_blocks,
            gamma=None,
        )


def by_block(space: SearchSpace, choices: Iterable[T]) -> list[T | None]:
    """[B] the values of the blocks with a choice of parents, in their order; None for the others."""
    values = iter(choices)
    return [next(values) if space.has_parent_choice(node) else None for node in range(1, space.n_blocks + 1)]
