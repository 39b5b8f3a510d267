"""From evaluations to importances: known decompositions, views, budgets, noise, and what cannot be judged."""

import math
from typing import Any

import numpy as np
import pytest
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    Float,
    Integer,
    OrdinalHyperparameter,
)
from ConfigSpace import Float as SpaceFloat

from analysis.importance import (
    Cutoff,
    Dimension,
    FanovaSettings,
    Importances,
    Surrogate,
    by_budget,
    dimensions_of,
    importances,
    marginal,
    resampled,
    shuffled,
    surrogate_of,
    views,
    with_budget,
)
from spaces.config_spaces import CS3

FEW = FanovaSettings(n_trees=16)


def unit_cube(n_dimensions: int) -> tuple[Dimension, ...]:
    return dimensions_of(ConfigurationSpace(space={f"x{i}": (0.0, 1.0) for i in range(n_dimensions)}))


def configurations(points: np.ndarray) -> list[dict[str, Any]]:
    return [{f"x{i}": float(value) for i, value in enumerate(row)} for row in points]


def surrogate_on(function: Any, n: int, n_dimensions: int, settings: FanovaSettings = FEW, seed: int = 0) -> Surrogate:
    points = np.random.default_rng(seed).random((n, n_dimensions))
    return surrogate_of(unit_cube(n_dimensions), configurations(points), function(*points.T), settings, seed)


def interacting(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Its variances are 1/12 for x and for y, 16/144 for both together: shares of 0.3, 0.3 and 0.4."""
    return (x - 0.5) + (y - 0.5) + 4 * (x - 0.5) * (y - 0.5)


def test_a_known_decomposition_is_approached() -> None:
    truth = {("x0",): 0.3, ("x1",): 0.3, ("x2",): 0.0, ("x0", "x1"): 0.4, ("x0", "x2"): 0.0, ("x1", "x2"): 0.0}
    errors = []
    for n in (40, 400, 4000):
        found = importances(surrogate_on(interacting, n, 3))
        errors.append(max(abs(share - truth[names]) for names, share in found.fractions.items()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.03
    assert found.variance == pytest.approx(5 / 18, rel=0.05)
    assert found.out_of_bag_r2 is not None
    assert found.out_of_bag_r2 > 0.95
    assert found.warning is None


def test_shares_sum_to_one_with_the_higher_orders() -> None:
    forest = surrogate_on(lambda x, y, z: x * y * z, 100, 3)
    by_order = [importances(forest, order=order) for order in (1, 2, 3)]
    for found in by_order:
        assert sum(found.fractions.values()) + found.higher_orders == pytest.approx(1)
    assert [len(found.fractions) for found in by_order] == [3, 6, 7]
    assert by_order[1].higher_orders == pytest.approx(by_order[2].of("x2", "x0", "x1"))
    assert by_order[2].higher_orders == pytest.approx(0, abs=1e-12)
    assert importances(forest, order=5).fractions == by_order[2].fractions


def test_the_same_seed_gives_the_same_and_another_one_something_else() -> None:
    first, again, other = (importances(surrogate_on(interacting, 50, 3, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_names_of_a_pair_come_in_any_order_and_axes_as_they_are_asked_for() -> None:
    forest = surrogate_on(lambda x, y: x + 3 * x * y**2, 2000, 2)
    found = importances(forest)
    assert found.of("x0", "x1") == found.of("x1", "x0")
    straight, swapped = (marginal(forest, names, n_points=5) for names in (("x0", "x1"), ("x1", "x0")))
    assert straight.names == ("x0", "x1")
    np.testing.assert_allclose(straight.mean, swapped.mean.T, atol=1e-12)
    np.testing.assert_allclose(straight.spread, swapped.spread.T, atol=1e-12)
    # From x = 1/4 to 3/4 it rises by 1/2 where y is 0, and by 2 where y is 1; at x = 0 it does not depend on y.
    assert straight.mean[3] - straight.mean[1] == pytest.approx(0.5 + 1.5 * np.linspace(0, 1, 5) ** 2, abs=0.25)
    assert straight.mean[0, :4] == pytest.approx([0] * 4, abs=0.15)


def test_a_curve_is_the_mean_over_the_other_hyperparameters() -> None:
    curve = marginal(surrogate_on(lambda x, y: x + y, 2000, 2), ["x1"], n_points=11)
    assert curve.values[0] == pytest.approx(np.linspace(0, 1, 11).tolist())
    np.testing.assert_allclose(curve.mean[1:-1], 0.5 + np.linspace(0, 1, 11)[1:-1], atol=0.03)
    assert (curve.spread > 0).all()


def test_logarithmic_scales_weigh_decades_equally() -> None:
    dimensions = dimensions_of(ConfigurationSpace({"rate": Float("rate", (1e-4, 1.0), log=True)}))
    values = 10 ** np.random.default_rng(0).uniform(-4, 0, 300)
    losses = (values > 1e-2).astype(float)
    ours = surrogate_of(dimensions, [{"rate": float(v)} for v in values], losses, FEW)
    raw = surrogate_of(dimensions, [{"rate": float(v)} for v in values], losses, FanovaSettings(raw_scale=True))
    assert importances(ours).variance == pytest.approx(0.25, abs=0.001)
    # On the raw scale the lower half has a hundredth of the weight.
    assert importances(raw).variance == pytest.approx(0.0099, abs=0.001)
    curve = marginal(ours, ["rate"], n_points=5)
    assert curve.values[0] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])


def test_categories_weigh_equally_in_whichever_order_they_are_written() -> None:
    rng = np.random.default_rng(0)
    chosen = [str(name) for name in rng.choice(["adam", "lion", "sgd"], 90)]
    losses = [{"adam": 0.1, "lion": 0.2, "sgd": 0.6}[name] for name in chosen]
    for order in (["adam", "lion", "sgd"], ["sgd", "adam", "lion"]):
        space = ConfigurationSpace({"optimizer": Categorical("optimizer", order), "x": (0.0, 1.0)})
        configs = [{"optimizer": name, "x": float(x)} for name, x in zip(chosen, rng.random(90), strict=True)]
        forest = surrogate_of(dimensions_of(space), configs, losses, FanovaSettings(split_share=1))
        found = importances(forest)
        assert found.of("optimizer") == pytest.approx(1)
        assert found.variance == pytest.approx(np.var([0.1, 0.2, 0.6]))
        curve = marginal(forest, ["optimizer"])
        assert dict(zip(curve.values[0], curve.mean.tolist(), strict=True)) == pytest.approx(
            {"adam": 0.1, "lion": 0.2, "sgd": 0.6}
        )


def test_every_kind_of_hyperparameter_of_a_space_is_described() -> None:
    space = ConfigurationSpace(
        {
            "c": Categorical("c", ["a", "b"]),
            "f": SpaceFloat("f", (1e-3, 1.0), log=True),
            "i": Integer("i", (1, 300), log=True),
            "k": Constant("k", 3),
            "o": OrdinalHyperparameter("o", [1, 4, 2]),
        }
    )
    grids = {d.name: d.grid(4)[0] for d in dimensions_of(space)}
    assert grids["c"] == ("a", "b")
    assert grids["f"] == pytest.approx((1e-3, 1e-2, 1e-1, 1))
    assert grids["i"] == (1, 4, 36, 300)
    assert grids["k"] == (3,)
    assert grids["o"] == (1, 4, 2)
    assert all(type(value) in (int, float, str) for grid in grids.values() for value in grid)


def test_constants_and_what_was_never_varied_are_named_and_left_out() -> None:
    space = ConfigurationSpace({"x": (0.0, 1.0), "never": (0.0, 1.0), "k": Constant("k", 3)})
    configs = [{"x": x, "never": 0.5, "k": 3} for x in (0.1, 0.4, 0.7, 0.9)]
    forest = surrogate_of(dimensions_of(space), configs, [1.0, 2.0, 3.0, 4.0], FEW)
    found = importances(forest)
    assert found.fractions == {("x",): pytest.approx(1)}
    assert found.left_out == {"k": "constant", "never": "one value in all evaluations"}
    with pytest.raises(ValueError, match="k cannot be judged: constant"):
        marginal(forest, ["k"])
    with pytest.raises(ValueError, match="component: got x, k"):
        found.of("x", "k")


def test_a_hyperparameter_that_is_not_active_everywhere_is_named_and_left_out() -> None:
    space = ConfigurationSpace({"kind": Categorical("kind", ["sgd", "adam"]), "momentum": (0.0, 1.0), "x": (0.0, 1.0)})
    space.add(EqualsCondition(space["momentum"], space["kind"], "sgd"))
    space.seed(0)
    configs = [dict(c) for c in space.sample_configuration(40)]
    n_adam = sum(c["kind"] == "adam" for c in configs)
    found = importances(surrogate_of(dimensions_of(space), configs, [c["x"] for c in configs], FEW))
    assert found.left_out == {"momentum": f"no value in {n_adam} of 40 evaluations"}
    as_nan = [{"momentum": math.nan, **c} for c in configs]
    assert importances(surrogate_of(dimensions_of(space), as_nan, [c["x"] for c in configs], FEW)) == found


@pytest.mark.parametrize(
    ("points", "losses", "message"),
    [
        ([], [], "no evaluation succeeded"),
        ([0.1, 0.2, 0.3], [math.nan, 1.0, 2.0], "losses: got 1 that are not finite"),
        ([0.1, 0.2, 0.3], [math.inf, math.nan, 2.0], "losses: got 2 that are not finite"),
        ([0.1, 0.2, 0.3], [2.0, 2.0, 2.0], r"all losses are 2\.0 \(evaluations: 3\)"),
        ([0.1], [2.0], r"all losses are 2\.0 \(evaluations: 1\)"),
        ([0.1, 0.2], [2.0], r"losses: got the shape \(1,\), expected one loss for 2 evaluations"),
        ([0.1, 0.1, 0.1], [1.0, 2.0, 3.0], r"no hyperparameter varies \(x0: one value in all evaluations\)"),
        ([0.1, 0.2, 1.3], [1.0, 2.0, 3.0], "x0: got 1.3, expected a number from 0.0 to 1.0"),
        ([0.1, 0.2, "0.3"], [1.0, 2.0, 3.0], "x0: got '0.3', expected a number"),
    ],
)
def test_what_cannot_be_decomposed_is_a_sentence(points: list[Any], losses: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        surrogate_of(unit_cube(1), [{"x0": x} for x in points], losses)


def test_values_that_are_none_of_the_space_are_refused() -> None:
    space = ConfigurationSpace({"c": Categorical("c", ["a", "b"]), "i": (1, 9)})
    with pytest.raises(ValueError, match="c: got 'z', expected one of a, b"):
        surrogate_of(dimensions_of(space), [{"c": "a", "i": 1}, {"c": "z", "i": 2}], [1, 2])
    with pytest.raises(ValueError, match=r"i: got 2.5, expected a whole number"):
        surrogate_of(dimensions_of(space), [{"c": "a", "i": 1}, {"c": "b", "i": 2.5}], [1, 2])


def test_three_evaluations_are_decomposed_with_a_warning() -> None:
    points = np.array([[0.1, 0.5], [0.5, 0.1], [0.9, 0.9]])
    found = importances(surrogate_of(unit_cube(2), configurations(points), [1.0, 2.0, 4.0]))
    assert sum(found.fractions.values()) == pytest.approx(1)
    assert found.warning is not None
    assert found.n_evaluations == 3


def test_one_hyperparameter_explains_everything() -> None:
    found = importances(surrogate_on(lambda x: x**2, 30, 1))
    assert found.fractions == {("x0",): pytest.approx(1)}
    assert found.higher_orders == pytest.approx(0, abs=1e-12)


def test_noise_has_a_warning_and_stays_near_its_floor() -> None:
    losses = np.random.default_rng(1).random(60)
    noise = surrogate_on(lambda *_: losses, 60, 3)
    found = importances(noise)
    assert found.warning is not None
    assert found.warning.startswith("The forest explains")
    floor = shuffled(noise, n=20)
    assert set(floor.fractions) == set(found.fractions)
    largest, mean = floor.quantile(1.0), floor.quantile(0.5)
    assert sum(share <= largest[names] for names, share in found.fractions.items()) >= 5
    assert all(mean[(name,)] > 0.02 for name in ("x0", "x1", "x2"))
    assert np.median(floor.out_of_bag_r2) < 0.1


def test_a_signal_rises_above_the_noise_floor() -> None:
    forest = surrogate_on(interacting, 150, 3)
    found, floor = importances(forest), shuffled(forest, n=10).quantile(1.0)
    important = {names for names, share in found.fractions.items() if share > floor[names]}
    assert {("x0",), ("x1",), ("x0", "x1")} <= important
    assert not any("x2" in names for names in important)
    assert shuffled(forest, n=3, seed=1).quantile(1.0) == shuffled(forest, n=3, seed=1).quantile(1.0)


def test_the_spread_over_evaluations_narrows_with_their_number() -> None:
    few, many = (resampled(surrogate_on(interacting, n, 3), n=8).deviation() for n in (30, 600))
    assert 0 < many[("x0",)] < few[("x0",)]
    assert 0 < many[("x0", "x1")] < few[("x0", "x1")]


def bad_beyond(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What y does is small beside the loss of x > 1/2."""
    return np.where(x > 0.5, 10.0, y)


def test_views_show_what_matters_among_good_configurations() -> None:
    forest = surrogate_on(bad_beyond, 500, 2)
    found = views(forest, default_loss=0.9)
    assert list(found) == ["all", "better than the default", "best 20 %"]
    of_y = [view.of("x1") for view in found.values() if isinstance(view, Importances)]
    assert len(of_y) == 3
    assert of_y[0] < 0.02
    assert all(share > 0.1 for share in of_y[1:])
    assert list(views(forest)) == ["all", "best 20 %"]


def test_a_cutoff_clips_the_curves_and_the_losses_that_r2_is_of() -> None:
    forest = surrogate_on(bad_beyond, 500, 2)
    curve = marginal(forest, ["x1"], n_points=5, cutoff=Cutoff(upper=1.0))
    # Half of the mean is y, the other half the cut-off.
    assert curve.mean[1:4] == pytest.approx([0.625, 0.75, 0.875], abs=0.05)
    assert (marginal(forest, ["x1"], n_points=5).mean > 4).all()
    r2 = forest.out_of_bag_r2(Cutoff(upper=1.0))
    assert r2 is not None
    assert 0.8 < r2 < 0.999
    assert forest.out_of_bag_r2(Cutoff(upper=-1.0)) is None


def test_a_cutoff_below_all_losses_is_a_sentence() -> None:
    forest = surrogate_on(bad_beyond, 100, 2)
    with pytest.raises(ValueError, match="no tree predicts different losses between -inf and -1"):
        importances(forest, cutoff=Cutoff(upper=-1.0))
    assert "no tree predicts different losses" in str(views(forest, default_loss=-1.0)["better than the default"])
    with pytest.raises(ValueError, match=r"cut-off: got 2\.0 \.\. 1\.0"):
        Cutoff(lower=2.0, upper=1.0)
    assert Cutoff.at_quantile([1.0, 2.0, 3.0], 0.5) == Cutoff(upper=2.0)


def study(n: int) -> tuple[list[dict[str, Any]], list[float], list[int]]:
    """Evaluations of CS3 of which the budget, and the learning rate at the largest budget, decide."""
    space = CS3.build(seed=0)
    configs = [dict(c) for c in space.sample_configuration(n)]
    budgets = [(25, 50, 100)[i % 3] for i in range(n)]
    rates = [math.log10(c["learning_rate"]) / 3 + 1 for c in configs]
    return configs, [100 / b + (r if b == 100 else 0) for r, b in zip(rates, budgets, strict=True)], budgets


def test_importances_per_budget_and_over_budgets() -> None:
    configs, losses, budgets = study(240)
    dimensions = dimensions_of(CS3.build(seed=0))
    losses[0], budgets[0] = 0.5, 12
    per_budget = by_budget(dimensions, configs, losses, budgets, FEW)
    assert list(per_budget) == [12, 25, 50, 100]
    assert per_budget[12] == "all losses are 0.5 (evaluations: 1); importances need two different ones"
    largest = per_budget[100]
    assert isinstance(largest, Surrogate)
    assert importances(largest).of("learning_rate") > 0.8
    extended, with_key = with_budget(dimensions, configs[1:], budgets[1:])
    over_budgets = surrogate_of(extended, with_key, losses[1:], FEW)
    assert importances(over_budgets).of("budget") > 0.8
    assert marginal(over_budgets, ["budget"]).values == ((25, 50, 100),)
    assert "budget" not in configs[0]
    with pytest.raises(ValueError, match="name: got 'momentum'"):
        with_budget(dimensions, configs, budgets, name="momentum")


def test_unknown_and_repeated_names_are_refused() -> None:
    forest = surrogate_on(interacting, 20, 3)
    with pytest.raises(ValueError, match="hyperparameter: got 'x9', expected one of x0, x1, x2"):
        marginal(forest, ["x9"])
    with pytest.raises(ValueError, match="got x0, x0, expected different hyperparameters"):
        marginal(forest, ["x0", "x0"])


def test_settings_that_contradict_one_another_are_refused() -> None:
    with pytest.raises(ValueError, match="order: got 2, expected 1"):
        FanovaSettings(normalised=True)
    with pytest.raises(ValueError, match="split_share: got 0"):
        FanovaSettings(split_share=0)


def test_a_tree_draws_no_more_evaluations_than_it_may() -> None:
    forest = surrogate_on(interacting, 400, 3, FanovaSettings(n_trees=16, evaluations_per_tree=20))
    assert len(forest.leaves.tree) <= 16 * 20
    assert importances(forest).out_of_bag_r2 is not None
