"""The sampler against hpbandster's own generator on the same data, and its rules one by one."""

from __future__ import annotations

import numpy as np
import pytest
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    EqualsCondition,
    Float,
    ForbiddenEqualsClause,
    Integer,
    OrdinalHyperparameter,
)
from hpbandster.core.dispatcher import Job
from hpbandster.optimizers.config_generators.bohb import BOHB as HpbandsterGenerator

from master.samplers.kde import KdeSampler, KdeSettings, Model, impute
from results.records import Proposal
from spaces import CONFIG_SPACES


def mixed_space() -> ConfigurationSpace:
    space = ConfigurationSpace(seed=5)
    space.add(Float("rate", (1e-3, 1.0), log=True), Integer("length", (2, 32), log=True))
    space.add(Categorical("kind", ["a", "b", "c"]))
    return space


def conditional_space() -> ConfigurationSpace:
    space = ConfigurationSpace(seed=5)
    space.add(Categorical("zz_kind", ["plain", "fancy"]), Float("a_width", (0.0, 1.0)), Float("depth", (0.0, 1.0)))
    space.add(EqualsCondition(space["a_width"], space["zz_kind"], "fancy"))
    return space


def model_of(sampler: KdeSampler) -> Model | None:
    return sampler.model(np.random.default_rng(0))


def proposals_of(sampler: KdeSampler, n: int, seed: int = 0) -> list[Proposal]:
    return [sampler.propose(100, np.random.default_rng([seed, number])) for number in range(n)]


def fill(sampler: KdeSampler, space: ConfigurationSpace, n: int, budget: int = 100) -> None:
    for i in range(n):
        configuration = space.sample_configuration()
        sampler.observe(dict(configuration), budget, i / n)


def theirs_and_ours(space: ConfigurationSpace, n: int) -> tuple[HpbandsterGenerator, KdeSampler]:
    """Both generators after the same n observations, whose losses are a permutation of 0..n-1."""
    theirs, ours = HpbandsterGenerator(space), KdeSampler(space)
    losses = np.random.default_rng(n).permutation(n)
    for configuration, loss in zip(space.sample_configuration(n), losses, strict=True):
        config = {k: v.item() if isinstance(v, np.generic) else v for k, v in configuration.items()}
        job = Job((0, 0, 0), config=config, budget=50)
        job.result = {"loss": float(loss)}
        theirs.new_result(job)
        ours.observe(config, 50, float(loss))
    return theirs, ours


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # hpbandster's
@pytest.mark.parametrize("name", [*CONFIG_SPACES, "mixed"])
@pytest.mark.parametrize("n", [30, 77, 250])
def test_densities_are_those_of_hpbandster(name: str, n: int) -> None:
    space = mixed_space() if name == "mixed" else CONFIG_SPACES[name].build(seed=7)
    theirs, ours = theirs_and_ours(space, n)
    model = model_of(ours)
    assert model is not None
    points = np.array([c.get_array() for c in space.sample_configuration(100)])
    for density, reference in ((model.good, theirs.kde_models[50]["good"]), (model.bad, theirs.kde_models[50]["bad"])):
        np.testing.assert_array_equal(density.data, reference.data)
        np.testing.assert_allclose(density.pdf(points), reference.pdf(points), rtol=1e-9)


def test_a_model_needs_enough_good_and_bad_observations() -> None:
    space = CONFIG_SPACES["cs2"].build(seed=0)  # d = 3: 4 good and 4 bad ones
    sampler = KdeSampler(space)
    fill(sampler, space, 7)
    assert model_of(sampler) is None
    fill(sampler, space, 1)
    model = model_of(sampler)
    assert model is not None
    assert (len(model.good.data), len(model.bad.data)) == (4, 4)


def test_the_best_fifteen_percent_are_good() -> None:
    space = CONFIG_SPACES["cs1"].build(seed=0)
    sampler = KdeSampler(space)
    configurations = space.sample_configuration(100)
    for i, configuration in enumerate(configurations):
        sampler.observe(dict(configuration), 25, float((i * 37) % 100))  # ranks in another order than time
    best = sorted(range(100), key=lambda i: (i * 37) % 100)
    model = model_of(sampler)
    assert model is not None
    np.testing.assert_allclose(model.good.data, [configurations[i].get_array() for i in best[:15]], atol=1e-9)
    np.testing.assert_allclose(model.bad.data, [configurations[i].get_array() for i in best[15:]], atol=1e-9)


def test_the_largest_budget_with_a_model_is_used() -> None:
    space = CONFIG_SPACES["cs1"].build(seed=0)
    sampler = KdeSampler(space)
    fill(sampler, space, 6, budget=25)
    fill(sampler, space, 5, budget=100)  # not enough for d = 2
    model = model_of(sampler)
    assert model is not None
    assert model.budget == 25
    fill(sampler, space, 1, budget=100)
    model = model_of(sampler)
    assert model is not None
    assert model.budget == 100


def test_a_third_of_the_proposals_is_random() -> None:
    space = CONFIG_SPACES["cs1"].build(seed=0)
    sampler = KdeSampler(space)
    fill(sampler, space, 30)
    picks = [proposal.model_based for proposal in proposals_of(sampler, 1200)]
    assert abs(np.mean(picks) - 2 / 3) < 4 * np.sqrt(2 / 9 / 1200)


def test_proposals_gather_where_the_good_ones_are() -> None:
    space = ConfigurationSpace(seed=0)
    space.add(Float("x", (0.0, 1.0)), Categorical("c", ["a", "b", "c", "d"]))
    sampler = KdeSampler(space, KdeSettings(random_fraction=0.0))
    for configuration in space.sample_configuration(60):
        config = dict(configuration)
        sampler.observe(config, 1, abs(float(config["x"]) - 0.2) + (config["c"] != "b"))
    proposals = [proposal.config for proposal in proposals_of(sampler, 60)]
    assert np.mean([p["c"] == "b" for p in proposals]) > 0.9
    assert np.mean([abs(p["x"] - 0.2) < 0.2 for p in proposals]) > 0.9


@pytest.mark.parametrize("space", ["cs3", "conditional"])
def test_observations_and_generators_decide_everything(space: str) -> None:
    """Neither the global generator does, nor the space's seed, nor how often it was asked before."""

    def sampler_of(space_seed: int) -> KdeSampler:
        build = conditional_space if space == "conditional" else lambda: CONFIG_SPACES["cs3"].build(seed=space_seed)
        sampler = KdeSampler(build())
        observed = build()
        observed.seed(1)
        fill(sampler, observed, 40)
        return sampler

    sampler = sampler_of(9)
    first = proposals_of(sampler, 12, seed=4)
    np.random.seed(123)  # noqa: NPY002  # the legacy generator, to show that nothing depends on it
    assert proposals_of(sampler, 12, seed=4) == first
    other = sampler_of(10)
    assert [other.propose(100, np.random.default_rng([4, n])) for n in reversed(range(12))] == first[::-1]
    assert proposals_of(other, 12, seed=5) != first


def test_values_are_built_in_types() -> None:
    space = mixed_space()
    sampler = KdeSampler(space)
    fill(sampler, space, 30)
    for proposal in proposals_of(sampler, 30):
        assert [type(proposal.config[name]) for name in ("rate", "length", "kind")] == [float, int, str]


def test_inactive_hyperparameters_are_neither_proposed_nor_missing_in_the_model() -> None:
    space = conditional_space()
    sampler = KdeSampler(space, KdeSettings(random_fraction=0.5))
    fill(sampler, space, 40)
    model = model_of(sampler)
    assert model is not None
    assert np.isfinite(model.good.data).all()
    assert np.isfinite(model.bad.data).all()
    proposals = [proposal.config for proposal in proposals_of(sampler, 40)]
    assert {("a_width" in p) == (p["zz_kind"] == "fancy") for p in proposals} == {True}
    assert {p["zz_kind"] for p in proposals} == {"plain", "fancy"}


def test_forbidden_samples_are_passed_over() -> None:
    space = ConfigurationSpace(seed=0)
    space.add(Float("x", (0.0, 1.0)), Categorical("c", ["a", "b"], default="b"))
    sampler = KdeSampler(space, KdeSettings(random_fraction=0.0))
    fill(sampler, space, 40)
    space.add(ForbiddenEqualsClause(space["c"], "a"))
    assert {proposal.config["c"] for proposal in proposals_of(sampler, 20)} == {"b"}


def test_imputation_when_only_the_first_value_is_missing() -> None:
    # hpbandster asks whether any *index* is true, which 0 is not, and leaves the NaN.
    vectors = np.array([[np.nan, 0.5], [0.3, 0.6]])
    filled = impute(vectors, np.array([0, 0]), np.random.default_rng(0))
    np.testing.assert_array_equal(filled, [[0.3, 0.5], [0.3, 0.6]])


def test_imputation_draws_what_no_row_has() -> None:
    vectors = np.full((400, 2), np.nan)
    filled = impute(vectors, np.array([0, 3]), np.random.default_rng(0))
    assert 0 <= filled[:, 0].min() < 0.1
    assert 0.9 < filled[:, 0].max() <= 1
    assert set(filled[:, 1]) == {0, 1, 2}


def test_imputation_takes_missing_values_of_one_row_together() -> None:
    vectors = np.array([[0.1, np.nan, np.nan], [0.2, 0.7, 0.8], [0.3, np.nan, 0.9]])
    filled = impute(vectors, np.zeros(3, dtype=int), np.random.default_rng(0))
    np.testing.assert_array_equal(filled, [[0.1, 0.7, 0.8], [0.2, 0.7, 0.8], [0.3, 0.7, 0.9]])


def test_too_few_points_for_a_model_are_refused() -> None:
    with pytest.raises(ValueError, match="min_points_in_model: got 3, expected at least 4"):
        KdeSampler(CONFIG_SPACES["cs2"].build(0), KdeSettings(min_points_in_model=3))


def test_unknown_kinds_of_hyperparameters_are_refused() -> None:
    space = ConfigurationSpace(seed=0)
    space.add(OrdinalHyperparameter("size", [1, 2, 4]))
    with pytest.raises(ValueError, match="size: got a OrdinalHyperparameter"):
        KdeSampler(space)
