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
from functools import cached_property, lru_cache
from hashlib import md5
from itertools import product
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

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

#: The operations of every cell of at most 7 vertices, packed as in ``Cell.key``.  One lookup both
#: validates and packs, which makes building a cell cheap.
_OPERATION_CODES = {
    (INPUT, *(OPERATIONS[label] for label in labels), OUTPUT): sum(
        d * len(OPERATIONS) ** k for k, d in enumerate(labels)
    )
    for n in range(2, MAX_VERTICES + 1)
    for labels in product(range(len(OPERATIONS)), repeat=n - 2)
}


def _row_codes(n_vertices: int) -> list[dict[tuple[int, ...], int]]:
    """[V] One mapping per vertex: admissible row of the adjacency to its edge bits."""
    return [
        {
            (*(0,) * (x + 1), *bits): sum(bit << (x + y * (y - 1) // 2) for y, bit in enumerate(bits, start=x + 1))
            for bits in product((0, 1), repeat=n_vertices - 1 - x)
        }
        for x in range(n_vertices)
    ]


_ROW_CODES = {n: _row_codes(n) for n in range(2, MAX_VERTICES + 1)}


Packed = TypeVar("Packed", int, npt.NDArray[np.int64])


class InvalidCellError(ValueError):
    """The graph is no cell of NAS-Bench-101; the message says why."""


@dataclass(frozen=True)
class Cell:
    """One cell as it was written down; ``pruned`` leaves out the vertices that compute nothing.

    Attributes:
        adjacency: [V, V] Rows of 0 and 1, upper triangular; 1 in row x, column y is an edge x -> y.
        operations: [V] Names: ``input``, then entries of ``OPERATIONS``, then ``output``.

    Raises:
        InvalidCellError: The matrix is not square or not upper triangular, or an operation is unknown.
    """

    adjacency: tuple[tuple[int, ...], ...]
    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        edges = _known_edges(self.adjacency, self.operations)
        if edges is None:
            self._check()
        else:
            self.__dict__["edges"] = edges

    def _check(self) -> None:
        """Raises unless the cell is valid; called for cells outside the lookup tables, which hold small cells only."""
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
        """Builds a cell from nested sequences, NumPy arrays included.

        Raises:
            InvalidCellError: A value is neither 0 nor 1, or the graph is no cell.
        """
        return cls(tuple(tuple(_as_bit(v) for v in row) for row in adjacency), tuple(str(op) for op in operations))

    @classmethod
    def from_edges(cls, edges: int, labels: Sequence[int]) -> Cell:
        """Builds a cell from packed edges, see ``pack_edges``.

        Args:
            edges: Packed edges: edge x -> y (x < y) is bit ``x + y * (y - 1) / 2``.
            labels: [V - 2] Index in ``OPERATIONS`` of every interior vertex.
        """
        n = len(labels) + 2
        adjacency = tuple(
            tuple(edges >> (x + y * (y - 1) // 2) & 1 if x < y else 0 for y in range(n)) for x in range(n)
        )
        return cls(adjacency, (INPUT, *(OPERATIONS[label] for label in labels), OUTPUT))

    @classmethod
    def from_key(cls, key: int) -> Cell:
        """Builds the pruned cell with this ``key``."""
        vertices, edges, operations = unpack_key(key)
        return cls.from_edges(
            edges, [operations // len(OPERATIONS) ** k % len(OPERATIONS) for k in range(vertices - 2)]
        )

    @property
    def n_vertices(self) -> int:
        return len(self.operations)

    @property
    def n_edges(self) -> int:
        return sum(map(sum, self.adjacency))

    @cached_property
    def edges(self) -> int:
        """The adjacency packed into an integer, for ``from_edges``."""
        return pack_edges(self.adjacency)

    @property
    def labels(self) -> tuple[int, ...]:
        """[V - 2] Index in ``OPERATIONS`` of every interior vertex."""
        return tuple(_LABELS[op] for op in self.operations[1:-1])

    @cached_property
    def pruned(self) -> Cell:
        """The cell without the vertices that lie on no path from the input to the output.

        Raises:
            InvalidCellError: No path leads from the input to the output, or more than 7 vertices or
                9 edges remain.
        """
        kept, _ = _prune(self.n_vertices, self.edges)
        if len(kept) == self.n_vertices:
            return self
        return Cell(
            tuple(tuple(self.adjacency[x][y] for y in kept) for x in kept), tuple(self.operations[v] for v in kept)
        )

    @cached_property
    def key(self) -> int:
        """The pruned cell as one integer: equal for equal pruned cells, but not for all isomorphic ones.

        The key packs three numbers, and keys sort by them in this order:

        * the number of vertices;
        * the edges, see ``pack_edges``;
        * the operations as digits in base 3, the first vertex's digit lowest.

        A key is much cheaper than the hash.

        Raises:
            InvalidCellError: The cell cannot be pruned, see ``pruned``.
        """
        kept, edges = _prune(self.n_vertices, self.edges)
        operations = self.operations
        if len(kept) != len(operations):
            operations = tuple([operations[v] for v in kept])
        return pack_key(len(kept), edges, _OPERATION_CODES[operations])

    @cached_property
    def hash(self) -> str:
        """The NAS-Bench-101 hash of the pruned cell, 32 hexadecimal digits.

        Raises:
            InvalidCellError: The cell cannot be pruned, see ``pruned``.
        """
        pruned = self.pruned
        return graph_hash(pruned.adjacency, [_LABELS[op] for op in pruned.operations])


def _as_bit(value: Any) -> Any:
    """Turns 0 or 1 of any type into an int; returns anything else unchanged, and ``Cell`` refuses it."""
    return int(value) if value in (0, 1) else value


def _known_edges(adjacency: tuple[tuple[int, ...], ...], operations: tuple[str, ...]) -> int | None:
    """Packs the edges of a valid cell of at most 7 vertices; None for any other cell, valid or not."""
    try:
        rows = _ROW_CODES[len(operations)]
        if operations not in _OPERATION_CODES or len(adjacency) != len(rows):
            return None
        edges = 0
        for codes, row in zip(rows, adjacency, strict=True):
            edges |= codes[row]
    except (KeyError, TypeError):
        return None
    return edges


@lru_cache(maxsize=1 << 14)  # the paper's three spaces have 5,940 different graphs
def _prune(n_vertices: int, edges: int) -> tuple[tuple[int, ...], int]:
    """Returns the vertices of a packed graph on a path from input to output, and the packed edges between them."""
    vertices = range(n_vertices)
    parents = [edges >> (y * (y - 1) // 2) & (1 << y) - 1 for y in vertices]  # [V] sets of vertices, as bits
    from_input = 1
    for y in vertices:
        if parents[y] & from_input:
            from_input |= 1 << y
    to_output = 1 << (n_vertices - 1)
    for y in reversed(vertices):
        if to_output >> y & 1:
            to_output |= parents[y]
    kept_bits = from_input & to_output
    if not kept_bits & 1:
        raise InvalidCellError("adjacency: no path leads from the input to the output; connect them")
    kept = tuple([v for v in vertices if kept_bits >> v & 1])
    if len(kept) < n_vertices:
        edges = sum(
            (parents[y] >> x & 1) << (i + j * (j - 1) // 2) for j, y in enumerate(kept) for i, x in enumerate(kept[:j])
        )
    if len(kept) > MAX_VERTICES or edges.bit_count() > MAX_EDGES:
        raise InvalidCellError(
            f"cell: got {len(kept)} vertices and {edges.bit_count()} edges after pruning, "
            f"expected at most {MAX_VERTICES} and {MAX_EDGES}"
        )
    return kept, edges


def is_a_cell(n_vertices: int, edges: int) -> bool:
    """Whether a packed graph (see ``pack_edges``) can be pruned to a cell; see ``Cell.pruned``."""
    try:
        _prune(n_vertices, edges)
    except InvalidCellError:
        return False
    return True


def pack_key(vertices: Packed, edges: Packed, operations: Packed) -> Packed:
    """Packs a pruned cell into one integer, see ``Cell.key``; also packs whole arrays of int64."""
    return vertices << 40 | edges << 10 | operations


def unpack_key(key: Packed) -> tuple[Packed, Packed, Packed]:
    """Inverts ``pack_key``; returns vertices, edges, operations."""
    return key >> 40, key >> 10 & (1 << 30) - 1, key & (1 << 10) - 1


def pack_edges(adjacency: Sequence[Sequence[int]]) -> int:
    """Packs an upper triangular matrix: edge x -> y (x < y) is bit ``x + y * (y - 1) / 2``."""
    bits = 0
    for y in range(1, len(adjacency)):
        for x in range(y):
            if adjacency[x][y]:
                bits |= 1 << (x + y * (y - 1) // 2)
    return bits


def graph_hash(adjacency: Sequence[Sequence[int]], labels: Sequence[int]) -> str:
    """Computes the isomorphism-invariant hash of a labelled graph, as NAS-Bench-101 defines it.

    Args:
        adjacency: [V, V] Matrix of 0 and 1.
        labels: [V] Label per vertex: -1 for the input, -2 for the output, else the operation's index.

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
