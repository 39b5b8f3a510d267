"""Evaluations of one configuration at several budgets stand or fall together."""

from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace
from sklearn.ensemble import RandomForestRegressor

from analysis.importance import (
    Dimension,
    FanovaSettings,
    dimensions_of,
    importances,
    resampled,
    shuffled,
    surrogate_of,
    with_budget,
)


def unit_cube(n_dimensions: int) -> tuple[Dimension, ...]:
    return dimensions_of(ConfigurationSpace(space={f"x{i}": (0.0, 1.0) for i in range(n_dimensions)}))


def configurations(points: np.ndarray) -> list[dict[str, Any]]:
    return [{f"x{i}": float(value) for i, value in enumerate(row)} for row in points]


def test_trees_are_those_of_scikit_learns_forest_where_each_evaluation_has_its_own_configuration() -> None:
    points = np.random.default_rng(0).random((50, 3))
    losses = points[:, 0] + points[:, 1] * points[:, 2]
    for limit, n_drawn in ((10_000, None), (20, 20)):
        ours = surrogate_of(
            unit_cube(3), configurations(points), losses, FanovaSettings(evaluations_per_tree=limit), seed=7
        )
        theirs = RandomForestRegressor(64, max_features=2, max_samples=n_drawn, max_depth=64, random_state=7)
        theirs.fit(points, losses)
        assert np.array_equal(ours.predictions, [tree.predict(points) for tree in theirs.estimators_])
        for unseen, drawn in zip(ours.is_out_of_bag, theirs.estimators_samples_, strict=True):
            assert set(np.flatnonzero(~unseen)) == set(drawn)


def at_three_budgets(function: Any) -> tuple[tuple[Dimension, ...], list[dict[str, Any]], np.ndarray, list[int]]:
    """40 configurations at three budgets, which change their losses little; last the configurations' numbers."""
    rng = np.random.default_rng(3)
    points = rng.random((40, 2))
    dimensions, extended = with_budget(
        unit_cube(2), configurations(np.tile(points, (3, 1))), np.repeat([1.0, 3.0, 9.0], 40).tolist()
    )
    losses = np.tile(function(points, rng), 3) + 0.01 * rng.random(120)
    return dimensions, extended, losses, list(range(40)) * 3


def test_a_configuration_at_another_budget_is_not_unseen() -> None:
    dimensions, configs, losses, groups = at_three_budgets(lambda points, rng: rng.random(len(points)))
    alone = surrogate_of(dimensions, configs, losses)
    together = surrogate_of(dimensions, configs, losses, groups=groups)
    found = importances(together)
    assert (importances(alone).out_of_bag_r2 or 0) > 0.8  # each tree has seen the configurations at other budgets
    assert found.out_of_bag_r2 is not None
    assert found.out_of_bag_r2 < 0
    assert found.warning is not None
    is_unseen = together.is_out_of_bag.reshape(-1, 3, 40)
    assert (is_unseen == is_unseen[:, :1]).all()
    # Of losses that mean nothing the floor tells it, unless they are shuffled apart from those at other budgets.
    floor, floor_alone = shuffled(together).quantile(0.95), shuffled(alone).quantile(0.95)
    assert max(found.of("x0") - floor[("x0",)], found.of("x1") - floor[("x1",)]) <= 0
    assert min(floor[(name,)] - floor_alone[(name,)] for name in ("x0", "x1")) > 0.05


def test_a_signal_over_budgets_rises_above_the_floor_of_its_configurations() -> None:
    dimensions, configs, losses, groups = at_three_budgets(lambda points, rng: points[:, 0])
    forest = surrogate_of(dimensions, configs, losses, groups=groups)
    found, floor = importances(forest), shuffled(forest, at_most=60).quantile(0.95)
    assert found.warning is None
    assert found.of("x0") > floor[("x0",)]
    assert found.of("x1") < floor[("x1",)]


def test_a_shuffled_budget_has_no_effect_within_a_configuration() -> None:
    dimensions, configs, losses, groups = at_three_budgets(lambda points, rng: rng.random(len(points)))
    budgets = np.array([config["budget"] for config in configs])
    forest = surrogate_of(dimensions, configs, losses + budgets, groups=groups)
    assert importances(forest).of("budget") > 2 * shuffled(forest).quantile(0.95)[("budget",)]


def test_samples_hold_configurations_with_all_of_their_evaluations() -> None:
    # Two configurations: a sample that drew one of them alone has nothing that varies but the budget.
    dimensions, configs = with_budget(unit_cube(1), configurations(np.array([[0.1], [0.9]] * 3)), [1, 1, 3, 3, 9, 9])
    forest = surrogate_of(dimensions, configs, [0.0, 1.0, 0.0, 1.0, 0.0, 1.0], groups=[0, 1] * 3)
    shares = resampled(forest, n=40).fractions[("x0",)]
    assert set(shares.round(9)) == {0.0, 1.0}
    assert 8 <= (shares == 0).sum() <= 32  # half of the samples, on average
