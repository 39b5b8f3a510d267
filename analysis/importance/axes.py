"""One dimension as the trees of a forest cut it: cells, their weights, and the cells that a leaf covers.

A leaf covers a set of cells of an axis. The set is stored as the steps of its indicator function, so that a sum over
all leaves is a scatter of the steps and a cumulative sum over the cells, linear in the number of leaves.

Shapes: ``n_trees`` T, ``n_leaves`` L over all trees, ``n_steps`` S of a leaf's indicator, ``n_cells`` C.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The cells of one dimension in every tree.

    Attributes:
        edges: Ends of the cells, [T, C + 1], from 0 to 1 in the measure of the dimension. A tree with fewer cells
            than the others ends in cells of weight 0.
        steps: Cells at which a leaf's indicator function steps, [S, L].
        signs: Heights of these steps, 1, -1, or 0 for padding, [S, L].
        shares: Weight of the cells that a leaf covers, [L].
    """

    edges: FloatArray
    steps: IntArray
    signs: FloatArray
    shares: FloatArray

    @property
    def n_cells(self) -> int:
        """The number of cells in the tree that has most."""
        return self.edges.shape[1] - 1

    @property
    def cell_weights(self) -> FloatArray:
        """The weights of the cells, [T, C]."""
        return np.diff(self.edges, axis=1)

    def cells_at(self, positions: FloatArray) -> IntArray:
        """Finds the cells that hold positions; one on an edge belongs to the lower cell, as in a tree.

        Args:
            positions: Positions in [0, 1], [n].

        Returns:
            Indices of cells, [T, n].
        """
        return np.stack([np.searchsorted(edges[1:-1], positions, side="left") for edges in self.edges])


def interval_axis(tree: IntArray, start: FloatArray, stop: FloatArray) -> Axis:
    """Makes the axis of a dimension on which every leaf is an interval.

    Args:
        tree: Tree of each leaf, ascending, [L].
        start: Lower ends of the leaves in [0, 1], [L].
        stop: Upper ends of the leaves in [0, 1], [L].
    """
    n_leaves, n_trees = len(tree), int(tree[-1]) + 1
    trees, ends = np.concatenate([tree, tree]), np.concatenate([start, stop])
    order = np.lexsort((ends, trees))
    sorted_trees, sorted_ends = trees[order], ends[order]
    is_first = np.append(True, sorted_trees[1:] != sorted_trees[:-1])
    is_new = is_first | np.append(True, sorted_ends[1:] != sorted_ends[:-1])
    rank = np.cumsum(is_new) - 1
    rank -= rank[is_first][sorted_trees]
    edges = np.ones((n_trees, int(rank.max()) + 1))
    edges[sorted_trees[is_new], rank[is_new]] = sorted_ends[is_new]
    index = np.empty_like(rank)
    index[order] = rank
    return Axis(
        edges=edges,
        steps=index.reshape(2, n_leaves),
        signs=np.broadcast_to(np.array([[1.0], [-1.0]]), (2, n_leaves)),
        shares=stop - start,
    )


def subset_axis(tree: IntArray, members: npt.NDArray[np.bool_]) -> Axis:
    """Makes the axis of a dimension on which every leaf is a subset of cells of equal weight.

    Args:
        tree: Tree of each leaf, ascending, [L].
        members: Whether a leaf covers a cell, [L, C].
    """
    n_leaves, n_cells = members.shape
    padded = np.zeros((n_cells + 2, n_leaves))
    padded[1:-1] = members.T
    return Axis(
        edges=np.tile(np.arange(n_cells + 1) / n_cells, (int(tree[-1]) + 1, 1)),
        steps=np.broadcast_to(np.arange(n_cells + 1)[:, None], (n_cells + 1, n_leaves)),
        signs=np.diff(padded, axis=0),
        shares=members.sum(axis=1) / n_cells,
    )
