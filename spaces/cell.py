"""Cells of NAS-Bench-101: a small directed acyclic graph with an operation on each vertex.

A cell has at most 7 vertices (vertex 0 is the input, the last one the output) and at most 9
edges after pruning.  Two cells are the same architecture if and only if their hashes are equal.

Sources: Ying et al. (2019), *NAS-Bench-101: Towards Reproducible Neural Architecture Search*,
section 2; the hash is the iterative graph hash of its reference implementation
(google-research/nasbench, ``graph_util.hash_module``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import md5

CONV3X3 = "conv3x3-bn-relu"
CONV1X1 = "conv1x1-bn-relu"
MAXPOOL3X3 = "maxpool3x3"
INPUT = "input"
OUTPUT = "output"

#: The operations of a choice block.  The order is that of NAS-Bench-101's hash labels; every
#: array with an operation axis in this project (beta, one-hot samples, encodings) follows it.
OPERATIONS = (CONV3X3, CONV1X1, MAXPOOL3X3)

MAX_VERTICES = 7
MAX_EDGES = 9

_LABELS = {INPUT: -1, OUTPUT: -2, **{op: label for label, op in enumerate(OPERATIONS)}}


class InvalidCellError(ValueError):
    """The graph is no cell of NAS-Bench-101, and says why."""


@dataclass(frozen=True)
class Cell:
    """One cell as it was written down; ``pruned`` is what it computes.

    Attributes:
        adjacency: [V, V] rows of 0 and 1, upper triangular; 1 in row x, column y is an edge x -> y.
        operations: [V] names: ``input``, then entries of ``OPERATIONS``, then ``output``.

    Raises:
        InvalidCellError: The matrix is not square or not upper triangular, or an operation is unknown.
    """

    adjacency: tuple[tuple[int, ...], ...]
    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.operations)
        if n < 2 or self.operations[0] != INPUT or self.operations[-1] != OUTPUT:
            raise InvalidCellError(
                f"operations: got {list(self.operations)}, expected 'input', then operations, then 'output'"
            )
        unknown = [op for op in self.operations[1:-1] if op not in OPERATIONS]
        if unknown:
            raise InvalidCellError(f"operations: got {unknown}, expected each of {list(OPERATIONS)}")
        if len(self.adjacency) != n or any(len(row) != n for row in self.adjacency):
            raise InvalidCellError(
                f"adjacency: got rows of lengths {[len(row) for row in self.adjacency]}, "
                f"expected {n} rows of {n}, one for each of the {n} operations"
            )
        for x, row in enumerate(self.adjacency):
            for y, value in enumerate(row):
                if value not in (0, 1) or (value and y <= x):
                    raise InvalidCellError(
                        f"adjacency: got {value!r} in row {x}, column {y}, expected 0 or 1, and 1 only right of "
                        "the diagonal (order the vertices so that every edge leads to a later one)"
                    )

    @classmethod
    def from_matrix(cls, adjacency: Sequence[Sequence[int]], operations: Sequence[str]) -> Cell:
        """The cell of any nested sequences, NumPy arrays included."""
        return cls(tuple(tuple(int(v) for v in row) for row in adjacency), tuple(str(op) for op in operations))

    @classmethod
    def from_edges(cls, edges: int, labels: Sequence[int]) -> Cell:
        """The cell of packed edges, see ``pack_edges``.

        Args:
            edges: Edge x -> y (x < y) is bit ``x + y * (y - 1) / 2``.
            labels: [V - 2] index into ``OPERATIONS`` of every interior vertex.
        """
        n = len(labels) + 2
        adjacency = tuple(
            tuple(edges >> (x + y * (y - 1) // 2) & 1 if x < y else 0 for y in range(n)) for x in range(n)
        )
        return cls(adjacency, (INPUT, *(OPERATIONS[label] for label in labels), OUTPUT))

    @property
    def n_vertices(self) -> int:
        return len(self.operations)

    @property
    def n_edges(self) -> int:
        return sum(map(sum, self.adjacency))

    @property
    def edges(self) -> int:
        """The adjacency packed into an integer, as ``from_edges`` reads it."""
        return pack_edges(self.adjacency)

    @property
    def labels(self) -> tuple[int, ...]:
        """[V - 2] the index in ``OPERATIONS`` of every interior vertex."""
        return tuple(_LABELS[op] for op in self.operations[1:-1])

    @cached_property
    def pruned(self) -> Cell:
        """The cell without the vertices that lie on no path from the input to the output.

        Raises:
            InvalidCellError: No path leads from the input to the output, or more than 7 vertices or
                9 edges remain.
        """
        n = self.n_vertices
        adjacency = self.adjacency
        from_input = {0}
        for y in range(1, n):
            if any(adjacency[x][y] for x in from_input):
                from_input.add(y)
        to_output = {n - 1}
        for x in range(n - 2, -1, -1):
            if any(adjacency[x][y] for y in to_output):
                to_output.add(x)
        kept = sorted(from_input & to_output)
        if 0 not in kept or n - 1 not in kept:
            raise InvalidCellError("adjacency: no path leads from the input to the output; connect them")
        cell = self if len(kept) == n else self._restricted_to(kept)
        if cell.n_vertices > MAX_VERTICES or cell.n_edges > MAX_EDGES:
            raise InvalidCellError(
                f"cell: got {cell.n_vertices} vertices and {cell.n_edges} edges after pruning, "
                f"expected at most {MAX_VERTICES} and {MAX_EDGES}"
            )
        return cell

    def _restricted_to(self, kept: Sequence[int]) -> Cell:
        return Cell(
            tuple(tuple(self.adjacency[x][y] for y in kept) for x in kept), tuple(self.operations[v] for v in kept)
        )

    @cached_property
    def hash(self) -> str:
        """The NAS-Bench-101 hash of the pruned cell, 32 hexadecimal digits.

        Raises:
            InvalidCellError: As ``pruned``.
        """
        pruned = self.pruned
        return graph_hash(pruned.adjacency, [_LABELS[op] for op in pruned.operations])


def pack_edges(adjacency: Sequence[Sequence[int]]) -> int:
    """Packs an upper triangular matrix: edge x -> y (x < y) is bit ``x + y * (y - 1) / 2``."""
    bits = 0
    for y in range(1, len(adjacency)):
        for x in range(y):
            if adjacency[x][y]:
                bits |= 1 << (x + y * (y - 1) // 2)
    return bits


def graph_hash(adjacency: Sequence[Sequence[int]], labels: Sequence[int]) -> str:
    """The isomorphism-invariant hash of a labelled graph, as NAS-Bench-101 defines it.

    Args:
        adjacency: [V, V] of 0 and 1.
        labels: [V] -1 for the input, -2 for the output, else the operation's index.

    Returns:
        32 hexadecimal digits.
    """
    vertices = range(len(labels))
    parents = [[x for x in vertices if adjacency[x][y]] for y in vertices]
    children = [[y for y in vertices if adjacency[x][y]] for x in vertices]
    hashes = [md5(str((len(children[v]), len(parents[v]), int(labels[v]))).encode()).hexdigest() for v in vertices]
    for _ in vertices:
        hashes = [
            md5(
                (
                    "".join(sorted([hashes[w] for w in parents[v]]))
                    + "|"
                    + "".join(sorted([hashes[w] for w in children[v]]))
                    + "|"
                    + hashes[v]
                ).encode()
            ).hexdigest()
            for v in vertices
        ]
    return md5(str(sorted(hashes)).encode()).hexdigest()
