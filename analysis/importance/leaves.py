"""A forest as boxes: every leaf of every tree with its value, and what it covers of each dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.importance.axes import Axis, FloatArray, IntArray
from analysis.importance.dimensions import Dimension


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A regression tree, node 0 its root, as scikit-learn stores one.

    Attributes:
        feature: Column that a node splits, any negative number for a leaf, [n_nodes].
        threshold: Largest value of the column that goes left, [n_nodes].
        left: Left child, [n_nodes].
        right: Right child, [n_nodes].
        value: Prediction of a node, [n_nodes].
    """

    feature: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    value: FloatArray


@dataclass(frozen=True, kw_only=True)
class Leaves:
    """All leaves of a forest, in the order of the trees.

    Attributes:
        n_trees: The number of trees, T.
        tree: Tree of each leaf, ascending, [L].
        value: Prediction of each leaf, [L].
        axes: The dimensions as the leaves cut them.
        weight: Share of the unit cube that each leaf covers, [L]; those of a tree sum to 1.
    """

    n_trees: int
    tree: IntArray
    value: FloatArray
    axes: tuple[Axis, ...]
    weight: FloatArray

    def clipped(self, lower: float, upper: float) -> Leaves:
        """Returns the leaves with predictions clipped to a range; what they cover stays as it is."""
        return replace(self, value=np.clip(self.value, lower, upper))

    def sum_by_tree(self, terms: FloatArray) -> FloatArray:
        """Sums terms of the leaves, [L], over each tree, [T]."""
        return np.asarray(np.bincount(self.tree, terms, minlength=self.n_trees), dtype=np.float64)


def leaves_of(trees: Sequence[Tree], dimensions: Sequence[Dimension], n_columns: Sequence[int]) -> Leaves:
    """Finds the leaves of a forest.

    Args:
        trees: The trees.
        dimensions: The dimensions whose columns the trees split, side by side.
        n_columns: Number of columns of each dimension.
    """
    tree, value, lower, upper = _boxes(trees, sum(n_columns))
    stops = np.cumsum(n_columns)
    parts = [slice(stop - n, stop) for stop, n in zip(stops, n_columns, strict=True)]
    axes = tuple(
        dimension.axis(tree, lower[:, part], upper[:, part]) for dimension, part in zip(dimensions, parts, strict=True)
    )
    weight = np.prod([axis.shares for axis in axes], axis=0)
    return Leaves(n_trees=len(trees), tree=tree, value=value, axes=axes, weight=weight)


def _boxes(trees: Sequence[Tree], n_columns: int) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
    """Follows all trees at once, level by level, from the roots to the leaves.

    Returns:
        Tree and value of each leaf, [L], and the thresholds below and above it, [L, n_columns].
    """
    sizes = [len(tree.feature) for tree in trees]
    offsets = np.cumsum([0, *sizes[:-1]])
    feature = np.concatenate([tree.feature for tree in trees])
    threshold = np.concatenate([tree.threshold for tree in trees])
    left = np.concatenate([tree.left + offset for tree, offset in zip(trees, offsets, strict=True)])
    right = np.concatenate([tree.right + offset for tree, offset in zip(trees, offsets, strict=True)])
    nodes = offsets
    lower, upper = np.full((len(nodes), n_columns), -np.inf), np.full((len(nodes), n_columns), np.inf)
    found: list[tuple[IntArray, FloatArray, FloatArray]] = []
    while len(nodes):
        is_leaf = feature[nodes] < 0
        found.append((nodes[is_leaf], lower[is_leaf], upper[is_leaf]))
        nodes, lower, upper = nodes[~is_leaf], lower[~is_leaf], upper[~is_leaf]
        rows, split = np.arange(len(nodes)), feature[nodes]
        upper_left, lower_right = upper.copy(), lower.copy()
        upper_left[rows, split] = lower_right[rows, split] = threshold[nodes]
        nodes = np.concatenate([left[nodes], right[nodes]])
        lower, upper = np.concatenate([lower, lower_right]), np.concatenate([upper_left, upper])
    leaves = np.concatenate([part[0] for part in found])
    order = np.argsort(leaves)
    tree_of_node = np.repeat(np.arange(len(trees)), sizes)
    values = np.concatenate([tree.value for tree in trees])
    leaves = leaves[order]
    return (
        tree_of_node[leaves],
        values[leaves],
        np.concatenate([part[1] for part in found])[order],
        np.concatenate([part[2] for part in found])[order],
    )
