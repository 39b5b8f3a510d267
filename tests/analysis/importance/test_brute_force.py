"""All marginals and variances against integration over the grid of all split points, which knows no boxes."""

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from analysis.importance import Categories, Dimension, FanovaSettings, Float, Integer, Ordered
from analysis.importance.leaves import Leaves, Tree, leaves_of
from analysis.importance.marginals import component_variances, is_varying, marginal_at, means_of

EXACT = 1e-10
N_TREES = 3

SPACES: dict[str, tuple[Dimension, ...]] = {
    "floats": (Float("x", 0.0, 1.0), Float("y", -2.0, 3.0), Float("z", 1e-5, 1e-1, log=True)),
    "integers": (Integer("few", 3, 7), Integer("log", 2, 32, log=True), Float("x", 0.0, 1.0)),
    "choices": (Categories("four", ("a", "b", "c", "d")), Categories("two", (True, False)), Ordered("rank", (1, 3, 9))),
    "all kinds": (Float("x", 0.0, 1.0), Categories("three", ("a", "b", "c")), Integer("few", 1, 4)),
    "one": (Float("x", 0.0, 1.0),),
}


@dataclass
class Points:
    """Where the trees are evaluated: per dimension the columns, [m, c], and the weights, [m], of its points."""

    columns: list[np.ndarray]
    weights: list[np.ndarray]


def random_values(dimension, n, rng):
    """Values of which some never occur, so that thresholds lie on values that were not evaluated."""
    if isinstance(dimension, Float):
        u = rng.random(n)
        if dimension.log:
            return list(np.exp(np.log(dimension.lower) + u * np.log(dimension.upper / dimension.lower)))
        return list(dimension.lower + u * (dimension.upper - dimension.lower))
    if isinstance(dimension, Integer):
        return [int(v) for v in rng.choice([dimension.lower, dimension.lower + 2, dimension.upper], n)]
    return [dimension.choices[i] for i in rng.integers(len(dimension.choices), size=n)]


def points_of(dimension, thresholds):
    """The points of a dimension and what they weigh, from its definition alone."""
    if isinstance(dimension, Float):
        edges = np.unique(np.concatenate([[0.0, 1.0], thresholds]))
        return (edges[:-1, None] + edges[1:, None]) / 2, np.diff(edges)
    if isinstance(dimension, Integer):
        values = np.arange(dimension.lower, dimension.upper + 1)
        weights = np.log((values + 0.5) / (values - 0.5)) if dimension.log else np.ones(len(values))
        return (values - dimension.lower)[:, None].astype(float), weights / weights.sum()
    k = len(dimension.choices)
    if isinstance(dimension, Ordered):
        return np.arange(k)[:, None].astype(float), np.full(k, 1 / k)
    if dimension.is_hypercube:
        return np.array(list(product([0.0, 1.0], repeat=k))), np.full(2**k, 2.0**-k)
    return np.eye(k), np.full(k, 1 / k)


def forest_and_leaves(dimensions, seed, n=14):
    rng = np.random.default_rng(seed)
    columns = [d.columns(random_values(d, n, rng)) for d in dimensions]
    losses = rng.random(n)
    forest = RandomForestRegressor(N_TREES, max_features=0.7, random_state=seed)
    forest.fit(np.concatenate(columns, axis=1), losses)
    trees = [
        Tree(
            feature=t.feature, threshold=t.threshold, left=t.children_left, right=t.children_right,
            value=t.value[:, 0, 0],
        )
        for t in (estimator.tree_ for estimator in forest.estimators_)
    ]  # fmt: skip
    return forest, leaves_of(trees, dimensions, [c.shape[1] for c in columns])


def predictions_on_the_grid(forest, dimensions, clip):
    """Predictions of all trees on the product of the dimensions' points, [T, m_1, .. m_d], and the points."""
    points, first = Points([], []), 0
    for dimension in dimensions:
        n_columns = dimension.columns(random_values(dimension, 1, np.random.default_rng(0))).shape[1]
        of_dimension = range(first, first + n_columns)
        thresholds = [
            threshold
            for estimator in forest.estimators_
            for feature, threshold in zip(estimator.tree_.feature, estimator.tree_.threshold, strict=True)
            if feature in of_dimension
        ]
        columns, weights = points_of(dimension, thresholds)
        points.columns.append(columns)
        points.weights.append(weights)
        first += n_columns
    rows = np.array([np.concatenate(row) for row in product(*points.columns)])
    shape = [len(weights) for weights in points.weights]
    return np.stack([e.predict(rows).reshape(shape) for e in forest.estimators_]).clip(*clip), points


def averaged(values, weights, keep):
    """The mean over all dimensions but those kept, of values [m_1, .. m_d]."""
    for axis in reversed(range(len(weights))):
        if axis not in keep:
            values = np.tensordot(values, weights[axis], axes=(axis, 0))
    return values


def reference_variances(values, weights):
    """The variance of every component by its definition: f_U less all components of smaller subsets."""
    n = len(weights)
    components = {(): averaged(values, weights, ())}
    found = {}
    for size in range(1, n + 1):
        for subset in combinations(range(n), size):
            component = averaged(values, weights, subset)
            for smaller in range(size):
                for part in combinations(subset, smaller):
                    shape = [len(weights[d]) if d in part else 1 for d in subset]
                    component = component - components[part].reshape(shape)
            components[subset] = component
            found[subset] = float(averaged(component**2, [weights[d] for d in subset], ()))
    return found


@pytest.mark.parametrize("clip", [(-np.inf, np.inf), (-np.inf, 0.5), (0.4, 0.6)])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("space", SPACES)
def test_every_component_equals_its_integral(space: str, seed: int, clip: tuple[float, float]) -> None:
    dimensions = SPACES[space]
    forest, leaves = forest_and_leaves(dimensions, seed)
    values, points = predictions_on_the_grid(forest, dimensions, clip)
    total, variances = component_variances(leaves.clipped(*clip), order=len(dimensions))
    for tree in range(N_TREES):
        expected = reference_variances(values[tree], points.weights)
        assert {subset: v[tree] for subset, v in variances.items()} == pytest.approx(expected, abs=EXACT)
        assert total[tree] == pytest.approx(sum(expected.values()), abs=EXACT)
        assert means_of(leaves.clipped(*clip))[tree] == pytest.approx(averaged(values[tree], points.weights, ()))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("space", ["floats", "choices", "all kinds"])
def test_every_marginal_equals_its_integral(space: str, seed: int) -> None:
    dimensions = SPACES[space]
    forest, leaves = forest_and_leaves(dimensions, seed)
    values, points = predictions_on_the_grid(forest, dimensions, (-np.inf, np.inf))
    centres = [np.cumsum(weights) - weights / 2 for weights in points.weights]
    for size in (1, 2, 3):
        for subset in combinations(range(3), size):
            found = marginal_at(leaves, subset, [centres[d] for d in subset])
            expected = [averaged(values[tree], points.weights, subset) for tree in range(N_TREES)]
            np.testing.assert_allclose(found, expected, atol=EXACT)


@pytest.mark.parametrize("seed", range(3))
def test_independent_columns_give_impossible_combinations_their_weight(seed: int) -> None:
    dimensions = [dimension.as_hypercube() for dimension in SPACES["all kinds"]]
    forest, leaves = forest_and_leaves(dimensions, seed)
    values, points = predictions_on_the_grid(forest, dimensions, (-np.inf, np.inf))
    _, variances = component_variances(leaves, order=3)
    for tree in range(N_TREES):
        expected = reference_variances(values[tree], points.weights)
        assert {subset: v[tree] for subset, v in variances.items()} == pytest.approx(expected, abs=EXACT)


def five_nodes() -> Leaves:
    """If x <= 1/2: 1; else y <= 1/4: 2; else 6. The mean is 1/2 + 2/8 + 6 * 3/8 = 3."""
    tree = Tree(
        feature=np.array([0, -2, 1, -2, -2]),
        threshold=np.array([0.5, -2, 0.25, -2, -2]),
        left=np.array([1, -1, 3, -1, -1]),
        right=np.array([2, -1, 4, -1, -1]),
        value=np.array([3.0, 1.0, 5.0, 2.0, 6.0]),
    )
    return leaves_of([tree], [Float("x", 0, 1), Float("y", 0, 1), Float("idle", 0, 1)], [1, 1, 1])


def test_five_nodes_by_hand() -> None:
    leaves = five_nodes()
    assert leaves.weight.tolist() == [0.5, 0.125, 0.375]
    total, variances = component_variances(leaves, order=3)
    # Of the three leaves: (1 - 3)^2 / 2 + (2 - 3)^2 / 8 + (6 - 3)^2 * 3/8.
    assert total == pytest.approx([5.5])
    # x: 1 or 2/4 + 6 * 3/4 = 5. y: (1 + 2) / 2 = 1.5 or (1 + 6) / 2 = 3.5, with weights 1/4 and 3/4.
    assert {subset: v.item() for subset, v in variances.items()} == pytest.approx(
        {(0,): 4.0, (1,): 0.75, (2,): 0.0, (0, 1): 0.75, (0, 2): 0.0, (1, 2): 0.0, (0, 1, 2): 0.0}, abs=1e-15
    )
    assert marginal_at(leaves, (0,), [np.array([0.0, 0.5, 0.500001, 1.0])]).tolist() == [[1, 1, 5, 5]]
    assert marginal_at(leaves, (1, 0), [np.array([0.2, 0.3]), np.array([0.1, 0.9])]).tolist() == [[[1, 2], [1, 6]]]


def test_a_cutoff_leaves_the_boxes_as_they_are() -> None:
    # Clipped at 2, both children of the second split predict 2: y matters no more, and x jumps at 1/2 as before.
    leaves = five_nodes().clipped(-np.inf, 2.0)
    total, variances = component_variances(leaves, order=2)
    assert total == pytest.approx([0.25])
    assert [variances[subset].item() for subset in ((0,), (1,), (0, 1))] == pytest.approx([0.25, 0, 0], abs=1e-15)
    # Clipped from both sides, children on opposite sides still differ: 2 or 5, of weights 1/8 and 3/8.
    total, variances = component_variances(five_nodes().clipped(2.0, 5.0), order=2)
    assert total == pytest.approx([9 * 0.375 * 0.625])
    assert variances[(1,)] == pytest.approx([2.25 * 0.25 * 0.75])


def test_a_tree_of_one_leaf_varies_no_more_than_a_clipped_one() -> None:
    leaf = Tree(
        feature=np.array([-2]), threshold=np.array([-2.0]), left=np.array([-1]), right=np.array([-1]),
        value=np.array([0.3]),
    )  # fmt: skip
    leaves = leaves_of([leaf, leaf], [Float("x", 0, 1)], [1])
    assert not is_varying(leaves).any()
    assert not is_varying(five_nodes().clipped(-np.inf, 0.5)).any()
    assert means_of(leaves) == pytest.approx([0.3, 0.3])


def test_order_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="order: got 0"):
        component_variances(five_nodes(), order=0)
    with pytest.raises(ValueError, match="order: got 0"):
        FanovaSettings(order=0)


def test_a_grid_beyond_memory_is_refused() -> None:
    dimensions = [Float(f"x{i}", 0, 1) for i in range(7)]
    _, leaves = forest_and_leaves(dimensions, seed=0, n=300)
    with pytest.raises(ValueError, match=r"marginal of 7 hyperparameters .* choose a lower order"):
        marginal_at(leaves, tuple(range(7)), [np.array([0.5])] * 7)
