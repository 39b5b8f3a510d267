"""Exact marginals of trees, and the variances of their ANOVA components.

A tree is a sum over its leaves, f(x) = sum_l v_l [x in box l]. Its marginal over all dimensions outside of a subset U
is f_U(x_U) = sum_l v_l (weight of l outside of U) [x_U in box l], constant on the cells of a grid: the product of the
axes' cells. It is computed by a scatter of the leaves' corners and a cumulative sum along each axis, so the cost is
linear in the leaves plus the cells. The variance of a component is that of the marginal less those of all components
of smaller subsets (Hutter, Hoos and Leyton-Brown 2014, equations 1 to 6 and Algorithm 2).

Shapes: ``n_trees`` T, ``n_leaves`` L over all trees, cells C_1 .. C_k of the k axes of a subset.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from analysis.importance.axes import FloatArray
from analysis.importance.leaves import Leaves

#: Indices of dimensions, ascending.
Subset = tuple[int, ...]
#: Cells, and corners of leaves, that are held at once; few enough for a processor's cache.
_NUMBERS_AT_ONCE = 500_000
#: Cells of one tree's grid beyond which a subset is refused.
_MOST_CELLS = 100_000_000


def means_of(leaves: Leaves) -> FloatArray:
    """Computes the mean of every tree, [T]."""
    return leaves.sum_by_tree(leaves.weight * leaves.value) / leaves.sum_by_tree(leaves.weight)


def centred(leaves: Leaves) -> Leaves:
    """Returns the leaves with the mean of their tree subtracted."""
    return replace(leaves, value=leaves.value - means_of(leaves)[leaves.tree])


def is_varying(leaves: Leaves) -> npt.NDArray[np.bool_]:
    """Tells which trees predict more than one value, [T]."""
    lowest, highest = np.full(leaves.n_trees, np.inf), np.full(leaves.n_trees, -np.inf)
    np.minimum.at(lowest, leaves.tree, leaves.value)
    np.maximum.at(highest, leaves.tree, leaves.value)
    return lowest < highest


def component_variances(leaves: Leaves, order: int) -> tuple[FloatArray, dict[Subset, FloatArray]]:
    """Computes the variances of all ANOVA components up to an order.

    Args:
        leaves: The leaves of a forest.
        order: Number of dimensions of the largest subsets.

    Returns:
        The variance of every tree, [T], and subset to the variances of its component in every tree, [T].

    Raises:
        ValueError: If the order is below 1, or a grid would have too many cells.
    """
    if order < 1:
        raise ValueError(f"order: got {order}, expected at least 1")
    leaves = centred(leaves)
    total = leaves.sum_by_tree(leaves.weight * leaves.value**2)
    variances: dict[Subset, FloatArray] = {}
    n_dimensions = len(leaves.axes)
    for size in range(1, min(order, n_dimensions) + 1):
        for subset in combinations(range(n_dimensions), size):
            marginal = total if size == n_dimensions else _marginal_variances(leaves, subset)
            smaller = [variances[part] for n in range(1, size) for part in combinations(subset, n)]
            # Rounding may leave a component that is absent with a variance of about -1e-20.
            variances[subset] = np.maximum(marginal - sum(smaller), 0)
    return total, variances


def marginal_at(leaves: Leaves, subset: Subset, positions: Sequence[FloatArray]) -> FloatArray:
    """Evaluates a marginal of every tree on a grid.

    Args:
        leaves: The leaves of a forest.
        subset: The dimensions that are not averaged over, in any order.
        positions: For each of these dimensions, positions on its axis, [n_1], .. [n_k].

    Returns:
        The marginals, [T, n_1, .. n_k].

    Raises:
        ValueError: If the grid of cells would be too large.
    """
    cells = [leaves.axes[index].cells_at(at) for index, at in zip(subset, positions, strict=True)]
    means = means_of(leaves)
    parts = []
    for trees, grids in _marginals(centred(leaves), subset):
        rows = np.arange(trees.stop - trees.start).reshape(-1, *[1] * len(subset))
        chosen = [
            cell[trees].reshape(len(rows), *[-1 if at == axis else 1 for at in range(len(subset))])
            for axis, cell in enumerate(cells)
        ]
        parts.append(grids[(rows, *chosen)] + means[trees].reshape(rows.shape))
    return np.concatenate(parts)


def _marginal_variances(leaves: Leaves, subset: Subset) -> FloatArray:
    """The variances of a marginal of trees whose means are 0, [T]."""
    weights = [leaves.axes[index].cell_weights for index in subset]
    variances = np.empty(leaves.n_trees)
    for trees, grids in _marginals(leaves, subset):
        sums = grids**2
        for weight in reversed(weights):
            sums = np.einsum("t...c,tc->t...", sums, weight[trees])
        variances[trees] = sums
    return variances


def _marginals(leaves: Leaves, subset: Subset) -> Iterator[tuple[slice, FloatArray]]:
    """The marginals on the cells of their grids, [trees, C_1, .. C_k], some trees at a time."""
    axes = [leaves.axes[index] for index in subset]
    # One cell more than there are, for the steps down at the upper ends.
    shape = tuple(axis.n_cells + 1 for axis in axes)
    n_cells = math.prod(shape)
    if n_cells > _MOST_CELLS:
        raise ValueError(
            f"the marginal of {len(subset)} hyperparameters has {n_cells:.1g} cells in a tree, expected at most "
            f"{_MOST_CELLS:.0e}; choose a lower order or fewer evaluations per tree"
        )
    height = leaves.value * leaves.weight / np.prod([axis.shares for axis in axes], axis=0)
    n_corners = math.prod(len(axis.steps) for axis in axes) * len(height) // leaves.n_trees
    n_at_once = max(1, _NUMBERS_AT_ONCE // max(n_cells, n_corners))
    for first in range(0, leaves.n_trees, n_at_once):
        trees = slice(first, min(first + n_at_once, leaves.n_trees))
        part = slice(*np.searchsorted(leaves.tree, [trees.start, trees.stop]))
        index, corners = (leaves.tree[part] - first)[None], height[None, part]
        for each in axes:
            index = (index[:, None] * (each.n_cells + 1) + each.steps[:, part]).reshape(-1, index.shape[1])
            corners = (corners[:, None] * each.signs[:, part]).reshape(index.shape)
        size = (trees.stop - first) * n_cells
        grids = np.asarray(np.bincount(index.ravel(), corners.ravel(), minlength=size), dtype=np.float64)
        grids = grids.reshape(-1, *shape)
        _integrate(grids)
        yield trees, grids[(slice(None), *[slice(-1)] * len(axes))]


def _integrate(grids: FloatArray) -> None:
    """Sums up along every axis but the first, in place."""
    for axis in range(1, grids.ndim - 1):
        # Row by row, as a cumulative sum along any but the last axis strides through memory.
        lines = np.moveaxis(grids, axis, 0)
        for lower, upper in pairwise(lines):
            upper += lower
    np.cumsum(grids, axis=-1, out=grids)
