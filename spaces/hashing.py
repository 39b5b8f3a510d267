"""The NAS-Bench-101 hash of many cells at once, equal to ``spaces.cell.graph_hash`` of each.

Notation:
    N: number of cells, V: their number of vertices (cells of one size are hashed together).
    State: the 16-byte digest of a vertex after the rounds so far.
    Number of a vertex among all N cells: n * V + v for vertex v of cell n.

Source: as ``spaces.cell``.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import md5

import numpy as np
import numpy.typing as npt

from spaces.cell import OPERATIONS, unpack_key
from spaces.md5 import md5_many, padded_length

_BATCH = 1 << 15  # cells hashed at a time, which bounds the memory
_HEX_BYTES = 32
_BAR = ord("|")
#: [256] The two hexadecimal digits of every byte, as one number.
_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), dtype=np.uint16)


def hash_cells(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bytes_]:
    """Hashes pruned cells.

    Args:
        keys: [N] Keys of the cells, see ``spaces.Cell.key``.

    Returns:
        [N] S16, the hashes' bytes.  NumPy drops trailing zero bytes of single items; take slices.
    """
    vertices = unpack_key(keys)[0]
    hashes = np.empty((len(keys), 16), dtype=np.uint8)
    for n_vertices in np.unique(vertices).tolist():
        of_size = np.flatnonzero(vertices == n_vertices)
        adjacency, labels = _unpack(keys[of_size], n_vertices)
        _, first, which = np.unique(_renumbered(adjacency, labels), return_index=True, return_inverse=True)
        distinct = [_hash_batch(adjacency[batch], labels[batch]) for batch in _batches(first)]
        hashes[of_size] = np.concatenate(distinct)[which.reshape(-1)]
    return hashes.view("S16").reshape(-1)


def _batches(positions: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    return [positions[start : start + _BATCH] for start in range(0, len(positions), _BATCH)]


def _unpack(keys: npt.NDArray[np.int64], n_vertices: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Unpacks cells of V vertices into [N, V, V] adjacency and [N, V] labels."""
    _, edges, operations = unpack_key(keys)
    adjacency = np.zeros((len(keys), n_vertices, n_vertices), dtype=bool)
    for y in range(n_vertices):
        for x in range(y):
            adjacency[:, x, y] = edges >> (x + y * (y - 1) // 2) & 1
    labels = np.empty((len(keys), n_vertices), dtype=np.int64)
    labels[:, 0], labels[:, -1] = -1, -2
    for k in range(n_vertices - 2):
        labels[:, k + 1] = operations // len(OPERATIONS) ** k % len(OPERATIONS)
    return adjacency, labels


def _renumbered(adjacency: npt.NDArray[np.bool_], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """[N] Numbers of cells: cells with equal numbers are isomorphic, and most isomorphic cells have equal numbers.

    A number spells out the whole graph with its vertices sorted by a fingerprint of their neighbourhood.
    Therefore most isomorphs are hashed only once.  Two different graphs never get the same number,
    whatever the fingerprints.
    """
    edges = adjacency.astype(np.uint64)
    fingerprint = _scramble((labels + 2).astype(np.uint64))
    for _ in range(4):  # more rounds add nothing to the neighbourhoods of cells this small
        from_below = (edges * fingerprint[:, :, None]).sum(axis=1)
        from_above = (edges * fingerprint[:, None, :]).sum(axis=2)
        fingerprint = _scramble(_scramble(_scramble(fingerprint) + from_below) + from_above)
    order = np.argsort(fingerprint, axis=1)
    adjacency = np.take_along_axis(adjacency, order[:, :, None], axis=1)
    adjacency = np.take_along_axis(adjacency, order[:, None, :], axis=2)
    n_vertices = labels.shape[1]
    number: npt.NDArray[np.int64] = np.zeros(len(labels), dtype=np.int64)
    for x in range(n_vertices):
        for y in range(n_vertices):
            if x != y:
                number = number << 1 | adjacency[:, x, y]
    for label in np.take_along_axis(labels, order, axis=1).T:
        number = number * (len(OPERATIONS) + 2) + label + 2
    return number


def _scramble(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mixes 64 bits one-to-one (Fibonacci hashing, then folding the high bits down)."""
    value = value * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x632BE59BD9B4E019)
    return np.asarray(value ^ (value >> np.uint64(29)))


@dataclass(frozen=True)
class _Neighbourhoods:
    """M vertices of the same degrees.

    Attributes:
        vertices: [M] Numbers of the vertices.
        first_of_cell: [M, 1] Number of the first vertex of each one's cell.
        parents: [M, in degree] Numbers of the parents.
        children: [M, out degree] Numbers of the children.
    """

    vertices: npt.NDArray[np.int64]
    first_of_cell: npt.NDArray[np.int64]
    parents: npt.NDArray[np.int64]
    children: npt.NDArray[np.int64]

    @property
    def n_bytes(self) -> int:
        """Length of the text that a round digests."""
        return _HEX_BYTES * (self.parents.shape[1] + self.children.shape[1] + 1) + 2

    def write_texts(
        self,
        texts: npt.NDArray[np.uint8],
        rank: npt.NDArray[np.uint8],
        by_rank: npt.NDArray[np.int64],
        out: npt.NDArray[np.uint8],
    ) -> None:
        """Writes one text per vertex: parents' states, a bar, children's states, a bar, the vertex's own state.

        The states of parents, and those of children, are in ascending order.

        Args:
            texts: [N * V, 32] State of every vertex in hexadecimal.
            rank: [N * V] Rank of every vertex among the states of its cell.
            by_rank: [N * V] Inverse of ``rank``: the vertex at each rank of each cell.
            out: [M, at least n_bytes] Array to write to.
        """
        column = 0
        for neighbours in (self.parents, self.children):
            ascending = by_rank[self.first_of_cell + np.sort(rank[neighbours], axis=1)]
            for k in range(neighbours.shape[1]):
                out[:, column : column + _HEX_BYTES] = texts[ascending[:, k]]
                column += _HEX_BYTES
            out[:, column] = _BAR
            column += 1
        out[:, column : column + _HEX_BYTES] = texts[self.vertices]


def _hash_batch(adjacency: npt.NDArray[np.bool_], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """[N, 16] Hashes of N cells of V vertices."""
    n_vertices = labels.shape[1]
    by_length: dict[int, list[_Neighbourhoods]] = {}
    for group in _group_by_degrees(adjacency):
        by_length.setdefault(group.n_bytes, []).append(group)
    states = _first_states(adjacency, labels)
    for _ in range(n_vertices):
        states = _next_states(states, by_length)
    return _digest_lists(_as_hex(np.take_along_axis(states, _ascending(states)[..., None], axis=1)))


def _group_by_degrees(adjacency: npt.NDArray[np.bool_]) -> list[_Neighbourhoods]:
    n_vertices = adjacency.shape[1]
    parents, children = _neighbours(adjacency.transpose(0, 2, 1)), _neighbours(adjacency)
    in_degrees, out_degrees = adjacency.sum(axis=1).reshape(-1), adjacency.sum(axis=2).reshape(-1)
    groups = []
    for in_degree in range(n_vertices):
        for out_degree in range(n_vertices):
            vertices = np.flatnonzero((in_degrees == in_degree) & (out_degrees == out_degree))
            if len(vertices):
                first_of_cell = (vertices - vertices % n_vertices)[:, None]
                groups.append(
                    _Neighbourhoods(
                        vertices,
                        first_of_cell,
                        first_of_cell + parents[vertices, :in_degree],
                        first_of_cell + children[vertices, :out_degree],
                    )
                )
    return groups


def _neighbours(adjacency: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """[N * V, V] Vertices of each vertex's cell, sorted so that those with a 1 in its row come first."""
    return np.argsort(~adjacency, axis=2, kind="stable").reshape(-1, adjacency.shape[1])


def _first_states(adjacency: npt.NDArray[np.bool_], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """[N, V, 16] Digests of the text of (out degree, in degree, label)."""
    base = adjacency.shape[1] + 2
    code = (adjacency.sum(axis=2) * base + adjacency.sum(axis=1)) * base + labels + 2
    distinct, which = np.unique(code, return_inverse=True)
    digests = b"".join(
        md5(str((c // base**2, c // base % base, c % base - 2)).encode()).digest() for c in distinct.tolist()
    )
    return np.frombuffer(digests, dtype=np.uint8).reshape(-1, 16)[which.reshape(labels.shape)]


def _next_states(states: npt.NDArray[np.uint8], by_length: dict[int, list[_Neighbourhoods]]) -> npt.NDArray[np.uint8]:
    """[N, V, 16] States after another round."""
    n, n_vertices, _ = states.shape
    texts = _as_hex(states).reshape(-1, _HEX_BYTES)
    ascending = _ascending(states)
    by_rank = (ascending + (np.arange(n) * n_vertices)[:, None]).reshape(-1)
    rank = np.empty(n * n_vertices, dtype=np.uint8)
    rank[by_rank] = np.tile(np.arange(n_vertices, dtype=np.uint8), n)
    result = np.empty((n * n_vertices, 16), dtype=np.uint8)
    for n_bytes, groups in by_length.items():
        vertices = np.concatenate([group.vertices for group in groups])
        messages = np.empty((len(vertices), padded_length(n_bytes)), dtype=np.uint8)
        start = 0
        for group in groups:
            group.write_texts(texts, rank, by_rank, messages[start : start + len(group.vertices)])
            start += len(group.vertices)
        result[vertices] = md5_many(messages, n_bytes)
    return result.reshape(states.shape)


def _digest_lists(texts: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """[N, 16] Digests of the text that Python prints for each list of V strings."""
    n, n_vertices, _ = texts.shape
    items = np.empty((n, n_vertices, _HEX_BYTES + 4), dtype=np.uint8)
    items[..., :_HEX_BYTES] = texts
    items[..., _HEX_BYTES:] = np.frombuffer(b"', '", dtype=np.uint8)
    n_bytes = n_vertices * (_HEX_BYTES + 4)  # two more for the opening, two fewer at the end
    messages = np.empty((n, padded_length(n_bytes)), dtype=np.uint8)
    messages[:, :2] = np.frombuffer(b"['", dtype=np.uint8)
    messages[:, 2:n_bytes] = items.reshape(n, -1)[:, :-2]
    messages[:, n_bytes - 1] = ord("]")
    return md5_many(messages, n_bytes)


def _ascending(states: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """[N, V] Vertices of each cell in ascending order of their states."""
    words = states.view(">u8").astype(np.uint64)
    return np.asarray(np.lexsort((words[..., 1], words[..., 0]), axis=-1))


def _as_hex(states: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Writes [..., 16] bytes as [..., 32] hexadecimal characters."""
    return _HEX[states].view(np.uint8)
