"""The search spaces of NAS-Bench-1Shot1: a fixed number of parents for each choice block.

Notation:
    B: number of choice blocks; node 0 is the cell's input, nodes 1..B are the choice blocks, node
        B + 1 is the output.
    O: number of operations, ``len(OPERATIONS)``.
    P(v): the set of nodes 0..v-1 from which node v draws its parents.

An *architecture* names the parents of nodes 1..B+1 and the operation of every block.  It becomes a
``Cell`` of B + 2 vertices.  Pruning the cell removes loose ends: blocks without a path to the output.
All architectures of a space are numbered 0..size-1 in a mixed radix (see ``SearchSpace.encode``).
Several numbers may stand for the same cell.

Source: Zela, Siems and Hutter (2020), *NAS-Bench-1Shot1*, section 3 and Table 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations, product
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from spaces.cell import INPUT, OPERATIONS, OUTPUT, Cell

N_OPERATIONS = len(OPERATIONS)


@dataclass(frozen=True)
class Architecture:
    """A discrete choice for each node.

    Attributes:
        parents: [B + 1] Parents, ascending, of blocks 1..B and of the output.
        operations: [B] Index in ``OPERATIONS`` of each block's operation.
    """

    parents: tuple[tuple[int, ...], ...]
    operations: tuple[int, ...]


@dataclass(frozen=True)
class SearchSpace:
    """A search space, defined by its numbers of parents alone.

    Attributes:
        name: Name on the command line and in result files.
        n_parents: [B + 1] Number of parents of blocks 1..B and of the output; they sum to 9.
        paper_counts: Numbers of the paper's Table 1: with loose ends, without loose ends, and without
            isomorphs; empty for a space of one's own.
    """

    name: str
    n_parents: tuple[int, ...]
    paper_counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for node, k in enumerate(self.n_parents, start=1):
            if not 1 <= k <= node:
                raise ValueError(f"n_parents: got {k} for node {node}, expected 1 to {node}, its earlier nodes")

    @property
    def n_blocks(self) -> int:
        """B, the number of choice blocks."""
        return len(self.n_parents) - 1

    @cached_property
    def parent_sets(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """[B + 1] Admissible parent sets of blocks 1..B and of the output, in lexicographic order."""
        return tuple(tuple(combinations(range(node), k)) for node, k in enumerate(self.n_parents, start=1))

    @cached_property
    def radices(self) -> tuple[int, ...]:
        """[2B + 1] Number of values of each choice: parent sets of nodes 1..B+1, then operations.

        An architecture is a list of categorical choices: choice i takes a value in 0..radices[i]-1.
        """
        return (*(len(sets) for sets in self.parent_sets), *(N_OPERATIONS,) * self.n_blocks)

    @cached_property
    def size(self) -> int:
        """The number of architectures, isomorphs and loose ends included."""
        return prod(self.radices)

    @cached_property
    def _places(self) -> npt.NDArray[np.int64]:
        """[2B + 1] Place value of each choice; the last choice varies fastest."""
        return np.array([prod(self.radices[i + 1 :]) for i in range(len(self.radices))], dtype=np.int64)

    def decode_choices(self, index: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Decodes indices into categorical choices.

        Args:
            index: [...] Integers in 0..size-1.

        Returns:
            [..., 2B + 1] Choices, see ``radices``.

        Raises:
            ValueError: An index lies outside the space.
        """
        index = np.asarray(index, dtype=np.int64)
        if index.size and (index.min() < 0 or index.max() >= self.size):
            raise self._outside(index.min(), index.max())
        return np.asarray(index[..., None] // self._places % np.array(self.radices))

    def encode_choices(self, choices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Inverts ``decode_choices``: encodes [..., 2B + 1] choices as [...] indices."""
        choices = np.asarray(choices, dtype=np.int64)
        if choices.size and ((choices < 0) | (choices >= np.array(self.radices))).any():
            raise ValueError(f"choices: got {choices.tolist()}, expected each below {self.radices}")
        return np.asarray(choices @ self._places)

    @cached_property
    def _choices_of_parents(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """[size / O^B] Parents of nodes 1..B+1, in the order of the indices."""
        return tuple(product(*self.parent_sets))

    @cached_property
    def _choices_of_operations(self) -> tuple[tuple[int, ...], ...]:
        """[O^B] Operations of the blocks, in the order of the indices."""
        return tuple(product(range(N_OPERATIONS), repeat=self.n_blocks))

    def decode(self, index: int) -> Architecture:
        """Decodes an index into its architecture; raises ``ValueError`` outside 0..size-1."""
        if not 0 <= index < self.size:
            raise self._outside(index, index)
        of_parents, of_operations = divmod(index, len(self._choices_of_operations))
        return Architecture(self._choices_of_parents[of_parents], self._choices_of_operations[of_operations])

    def _outside(self, lowest: int, highest: int) -> ValueError:
        return ValueError(
            f"architecture index: got {lowest} to {highest}, expected 0 to {self.size - 1} in space {self.name}"
        )

    def encode(self, architecture: Architecture) -> int:
        """Encodes an architecture as its index.

        Raises:
            ValueError: The architecture does not lie in this space.
        """
        if len(architecture.parents) != self.n_blocks + 1 or len(architecture.operations) != self.n_blocks:
            raise ValueError(
                f"architecture: got {len(architecture.parents)} parent sets and {len(architecture.operations)} "
                f"operations, expected {self.n_blocks + 1} and {self.n_blocks} in space {self.name}"
            )
        choices = []
        for node, (sets, parents) in enumerate(zip(self.parent_sets, architecture.parents, strict=True), start=1):
            if parents not in sets:
                raise ValueError(
                    f"architecture: node {node} has parents {parents}, expected {self.n_parents[node - 1]} ascending "
                    f"nodes below {node} in space {self.name}"
                )
            choices.append(sets.index(parents))
        if not all(0 <= op < N_OPERATIONS for op in architecture.operations):
            raise ValueError(f"architecture: got operations {architecture.operations}, expected 0..{N_OPERATIONS - 1}")
        return int(self.encode_choices([*choices, *architecture.operations]))

    def sample_indices(self, rng: np.random.Generator, n: int) -> npt.NDArray[np.int64]:
        """Draws [n] indices uniformly, with replacement, from all ``size``."""
        return rng.integers(self.size, size=n)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draws an architecture uniformly from all ``size``."""
        return self.decode(int(rng.integers(self.size)))

    def cell(self, architecture: Architecture) -> Cell:
        """Builds the architecture's cell of B + 2 vertices, loose ends included."""
        names = (INPUT, *[OPERATIONS[op] for op in architecture.operations], OUTPUT)
        return Cell(_adjacency(architecture.parents), names)

    def cell_of(self, index: int) -> Cell:
        """Builds the cell of the architecture with this index, loose ends included."""
        return self.cell(self.decode(index))

    def has_parent_choice(self, node: int) -> bool:
        """Whether a node in 1..B+1 has more candidates than parents, and therefore architecture weights."""
        return self.n_parents[node - 1] < node

    def discretise(
        self, alpha: Sequence[npt.ArrayLike | None], beta: npt.ArrayLike, gamma: npt.ArrayLike
    ) -> Architecture:
        """Selects the architecture with the highest weights (paper, section 3.2).

        Each block takes its arg-max operation; each node takes its top-k parents, k from Table 1.
        Ties go to the earlier parent and to the earlier operation.

        Args:
            alpha: [B] Weights per block: [j] weights of the candidates 0..j-1 of block j.  A block
                without a choice of parents may have anything, for example None.
            beta: [B, O] Weights of the operations.
            gamma: [B + 1] Weights of the output's candidates.

        Raises:
            ValueError: A shape is wrong or a weight is not finite.
        """
        beta = _weights("beta", beta, (self.n_blocks, N_OPERATIONS))
        if len(alpha) != self.n_blocks:
            raise ValueError(f"alpha: got {len(alpha)} entries, expected {self.n_blocks}, one per block")
        parents = []
        for node, (k, weights) in enumerate(zip(self.n_parents, [*alpha, gamma], strict=True), start=1):
            if self.has_parent_choice(node):
                name = "gamma" if node > self.n_blocks else f"alpha[{node - 1}]"
                order = np.argsort(-_weights(name, weights, (node,)), kind="stable")
                parents.append(tuple(sorted(int(p) for p in order[:k])))
            else:
                parents.append(tuple(range(node)))
        return Architecture(tuple(parents), tuple(int(op) for op in beta.argmax(axis=1)))

    def all_edges(self) -> npt.NDArray[np.int64]:
        """[size / O^B] Packed edges (``spaces.cell.pack_edges``) of every choice of parents, before pruning.

        Architecture i has the parents i // O^B and the operations i % O^B.
        """
        choices = self.decode_choices(np.arange(0, self.size, N_OPERATIONS**self.n_blocks))
        edges = np.zeros(len(choices), dtype=np.int64)
        for node, sets in enumerate(self.parent_sets, start=1):
            offset = node * (node - 1) // 2
            bits = np.array([sum(1 << (p + offset) for p in parents) for parents in sets], dtype=np.int64)
            edges |= bits[choices[:, node - 1]]
        return edges

    def all_operations(self) -> npt.NDArray[np.int64]:
        """[O^B, B] Every choice of operations, numbered as in ``all_edges``."""
        return self.decode_choices(np.arange(N_OPERATIONS**self.n_blocks))[:, self.n_blocks + 1 :]


@lru_cache(maxsize=1 << 14)
def _adjacency(parents: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    """[B + 2, B + 2] Rows of 0 and 1 from the parents of nodes 1..B+1."""
    n = len(parents) + 1
    rows = [[0] * n for _ in range(n)]
    for node, its_parents in enumerate(parents, start=1):
        for parent in its_parents:
            rows[parent][node] = 1
    return tuple(map(tuple, rows))


def _weights(name: str, value: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    array = np.asarray(value, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{name}: got shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: got {array.tolist()}, expected finite weights; the search has diverged")
    return array
