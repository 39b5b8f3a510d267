"""Rank correlations, worked by hand and against scipy, and their bootstrap intervals."""

import numpy as np
import pytest
from scipy.stats import kendalltau, multivariate_normal, spearmanr

from analysis.correlation import MOST_RESAMPLED, one_shot_correlations, rank_correlations
from results.epoch import TableAnswer
from results.one_shot_errors import OneShotError


def error(one_shot: float, *test_errors: float) -> OneShotError:
    answers = [TableAnswer(validation_error=0.0, test_error=found, training_time_s=0.0) for found in test_errors]
    return OneShotError(
        fingerprint="",
        epoch=1,
        n_images=10,
        architecture_index=0,
        cell_hash="",
        one_shot_validation_error=one_shot,
        table=dict(zip((12, 4), answers, strict=False)),
    )


def test_four_cells_by_hand() -> None:
    """Ranks 1 2 3 4 against 2 1 4 3: squared differences of 4, so 1 - 6 * 4 / (4 * 15); 4 pairs agree, 2 do not."""
    errors = [error(0.1, 0.02), error(0.2, 0.01), error(0.3, 0.4), error(0.9, 0.03)]
    (by_name,) = one_shot_correlations(errors).values()
    assert by_name["spearman"].coefficient == pytest.approx(0.6)
    assert by_name["kendall"].coefficient == pytest.approx((4 - 2) / 6)
    assert by_name["kendall"].n == 4


def test_each_budget_has_its_own_and_too_few_or_equal_errors_have_none() -> None:
    errors = [error(0.1, 0.1, 0.4), error(0.2, 0.2, 0.3), error(0.3, 0.3, 0.2), error(0.4, 0.4)]
    found = one_shot_correlations(errors)
    assert [(budget, found[budget]["spearman"].coefficient) for budget in found] == [(4, -1.0), (12, 1.0)]
    assert found[4]["spearman"].n == 3
    assert one_shot_correlations([error(0.5)] * 5) == {}
    assert one_shot_correlations([error(0.5, 0.1), error(0.6, 0.2)]) == {}
    assert one_shot_correlations([error(0.5, 0.1), error(0.5, 0.2), error(0.5, 0.3)]) == {}


def test_each_bootstrap_sample_is_what_scipy_computes_of_the_drawn_pairs_with_ties() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(6, size=30), rng.integers(6, size=30)
    found = rank_correlations(x, y, seed=7)
    drawn_by = np.random.default_rng(7)
    order = drawn_by.permutation(30)
    drawn = order[drawn_by.integers(30, size=(1_000, 30))]
    for sample in (0, 1, 999):
        one, two = x[drawn[sample]], y[drawn[sample]]
        assert found["kendall"].samples[sample] == pytest.approx(kendalltau(one, two).statistic, abs=1e-6)
        assert found["spearman"].samples[sample] == pytest.approx(spearmanr(one, two).statistic, abs=1e-12)


@pytest.mark.parametrize(("n", "repeats"), [(60, 60), (MOST_RESAMPLED + 1_000, 8)])
def test_the_interval_holds_the_true_coefficient_most_of_the_time(n: int, repeats: int) -> None:
    """Of a normal distribution with correlation r, Kendall's tau is 2 asin(r) / pi, Spearman's rho 6 asin(r/2) / pi."""
    r = 0.4
    truth = {"kendall": 2 * np.arcsin(r) / np.pi, "spearman": 6 * np.arcsin(r / 2) / np.pi}
    normal = multivariate_normal([0, 0], [[1, r], [r, 1]])
    inside = dict.fromkeys(truth, 0)
    widths = []
    for seed in range(repeats):
        x, y = normal.rvs(n, random_state=seed).T
        for name, found in rank_correlations(x, y, seed=seed).items():
            lower, upper = found.interval
            inside[name] += lower <= truth[name] <= upper
            widths.append(upper - lower)
    assert all(0.85 * repeats <= n_inside for n_inside in inside.values())
    # The standard error of Kendall's tau falls with the square root of n: about 0.09 for 60 pairs.
    assert np.mean(widths) == pytest.approx(2 * 1.96 * 0.105 * np.sqrt(60 / n), rel=0.25)


def test_the_same_seed_gives_the_same_interval() -> None:
    x, y = np.random.default_rng(0).random((2, 40))
    assert rank_correlations(x, y)["kendall"].interval == rank_correlations(x, y)["kendall"].interval
    assert rank_correlations(x, y)["kendall"].interval != rank_correlations(x, y, seed=1)["kendall"].interval
