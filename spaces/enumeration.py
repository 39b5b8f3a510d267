"""Exhaustive enumeration of a search space: pruned cells, distinct cells, and the counts of Table 1."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from spaces.cell import Cell, pack_key
from spaces.hashing import hash_cells
from spaces.search_space import N_OPERATIONS, SearchSpace


@dataclass(frozen=True)
class Enumeration:
    """Every architecture of a space, mapped to its distinct cells.

    Attributes:
        keys: [K] int64, ascending: keys of the distinct pruned cells, see ``spaces.Cell.key``; isomorphs
            have different keys.
        hash_bytes: [H] S16, ascending: the cells' distinct NAS-Bench-101 hashes as bytes.
        key_of_index: [size] int32: position in ``keys`` of each encoded architecture's pruned cell.
        hash_of_key: [K] int32: position in ``hash_bytes`` of each pruned cell's hash.
    """

    keys: npt.NDArray[np.int64]
    hash_bytes: npt.NDArray[np.bytes_]
    key_of_index: npt.NDArray[np.int32]
    hash_of_key: npt.NDArray[np.int32]

    @property
    def hash_of_index(self) -> npt.NDArray[np.int32]:
        """[size] Position in ``hashes`` of each encoded architecture's hash."""
        return self.hash_of_key[self.key_of_index]

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """[H] Distinct hashes as text, ascending."""
        return tuple(self.hash_bytes[i : i + 1].tobytes().hex() for i in range(len(self.hash_bytes)))

    def distinct_cells(self) -> list[Cell]:
        """[H] One pruned cell per hash, in the order of ``hashes``."""
        _, first = np.unique(self.hash_of_key, return_index=True)
        return [Cell.from_key(key) for key in self.keys[first].tolist()]


@dataclass(frozen=True)
class Counts:
    """The sizes of a space under each definition that the paper's Table 1 mixes.

    Attributes:
        all_choices: Product of all choices of parents and operations.
        with_loose_ends: Sum over all connectivity patterns of 3^(blocks with an outgoing edge).  This
            definition reproduces the paper's numbers for spaces 1 and 3.
        without_loose_ends: Number of distinct pruned cells whose vertices keep their numbers.  This
            definition reproduces the paper's number for space 1.
        without_isomorphs: Number of distinct NAS-Bench-101 hashes.  This definition reproduces the paper's
            numbers for all three spaces.
    """

    all_choices: int
    with_loose_ends: int
    without_loose_ends: int
    without_isomorphs: int


def on_a_path(edges: npt.NDArray[np.int64], n_vertices: int) -> npt.NDArray[np.bool_]:
    """[V, N] Marks the vertices of N packed graphs that lie on a path from the input to the output."""
    edge = _edge_masks(edges, n_vertices)
    from_input = np.zeros((n_vertices, len(edges)), dtype=bool)
    from_input[0] = True
    for y in range(1, n_vertices):
        for x in range(y):
            from_input[y] |= from_input[x] & edge[x, y]
    to_output = np.zeros_like(from_input)
    to_output[n_vertices - 1] = True
    for x in range(n_vertices - 2, -1, -1):
        for y in range(x + 1, n_vertices):
            to_output[x] |= to_output[y] & edge[x, y]
    return from_input & to_output


def _edge_masks(edges: npt.NDArray[np.int64], n_vertices: int) -> dict[tuple[int, int], npt.NDArray[np.bool_]]:
    return {(x, y): (edges >> (x + y * (y - 1) // 2) & 1).astype(bool) for y in range(n_vertices) for x in range(y)}


@lru_cache(maxsize=8)
def enumerate_space(space: SearchSpace) -> Enumeration:
    """Enumerates, prunes and hashes a whole space (about two seconds for the paper's largest)."""
    keys, key_of_index = np.unique(_pruned_keys(space), return_inverse=True)
    hash_bytes, hash_of_key = np.unique(hash_cells(keys), return_inverse=True)
    return Enumeration(
        keys=keys,
        hash_bytes=hash_bytes,
        key_of_index=key_of_index.reshape(-1).astype(np.int32),
        hash_of_key=hash_of_key.reshape(-1).astype(np.int32),
    )


def _pruned_keys(space: SearchSpace, *, renumber: bool = True) -> npt.NDArray[np.int64]:
    """[size] Key of every architecture's pruned cell.

    Pruning depends on the parents alone, so it is done once for each choice of parents.

    Args:
        space: The space to enumerate.
        renumber: Renumbering of the vertices that pruning leaves.  With it, a key is that of
            ``spaces.Cell``.  Without it, vertices keep their numbers, and operations are digits in base 4,
            0 for a pruned vertex.
    """
    edges, labels = space.all_edges(), space.all_operations()
    n_vertices = space.n_blocks + 2
    kept = on_a_path(edges, n_vertices)
    position = np.cumsum(kept, axis=0) - 1 if renumber else np.broadcast_to(np.arange(n_vertices)[:, None], kept.shape)
    pruned_edges = np.zeros(len(edges), dtype=np.int64)
    for (x, y), present in _edge_masks(edges, n_vertices).items():
        bit = position[x] + position[y] * (position[y] - 1) // 2
        pruned_edges |= np.where(present & kept[x] & kept[y], np.int64(1) << bit, 0)
    base, first_digit = (N_OPERATIONS, 0) if renumber else (N_OPERATIONS + 1, 1)
    places = np.where(kept, base ** np.maximum(position - 1, 0), 0)[1:-1]
    operations = places.T @ (labels + first_digit).T
    return pack_key(kept.sum(axis=0)[:, None], pruned_edges[:, None], operations).reshape(-1)


def distinct_architectures(space: SearchSpace) -> npt.NDArray[np.int64]:
    """[n] Ascending indices of one architecture for each cell that differs after pruning without renumbering.

    Architectures with the same such cell share all weights of a one-shot model; isomorphs do not.
    """
    _, first = np.unique(_pruned_keys(space, renumber=False), return_index=True)
    return np.sort(first)


def count(space: SearchSpace) -> Counts:
    """Counts a space by exhaustive enumeration, under each definition."""
    edges = space.all_edges()
    blocks = range(1, space.n_blocks + 1)
    masks = _edge_masks(edges, space.n_blocks + 2)
    used = [np.any([present for (x, _), present in masks.items() if x == block], axis=0) for block in blocks]
    return Counts(
        all_choices=space.size,
        with_loose_ends=int((N_OPERATIONS ** np.sum(used, axis=0)).sum()),
        without_loose_ends=len(distinct_architectures(space)),
        without_isomorphs=len(enumerate_space(space).hash_bytes),
    )
