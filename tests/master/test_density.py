"""The density against statsmodels, closed forms, and quantities worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, truncnorm
from statsmodels.nonparametric.kernel_density import KDEMultivariate

from master.density import Density

CONTINUOUS = np.array([0])


def mixed_data(rng: np.random.Generator, n: int) -> np.ndarray:
    """[n, 4] two continuous columns, one of 3 categories and one of 2; every category occurs."""
    data = np.column_stack([rng.random(n), rng.beta(2, 5, n), rng.integers(3, size=n), rng.integers(2, size=n)])
    data[:3, 2], data[:2, 3] = [0, 1, 2], [0, 1]
    return data


@pytest.mark.parametrize("n", [12, 40, 250])
def test_pdf_is_that_of_statsmodels(n: int) -> None:
    rng = np.random.default_rng(n)
    data, points = mixed_data(rng, n), mixed_data(rng, 50)
    theirs = KDEMultivariate(data, var_type="ccuu", bw="normal_reference", rng=0)
    ours = Density.fit(data, np.array([0, 0, 3, 2]), min_bandwidth=1e-3)
    np.testing.assert_allclose(ours.bandwidths, theirs.bw, rtol=1e-12)
    np.testing.assert_allclose(ours.pdf(points), theirs.pdf(points), rtol=1e-9)


def test_pdf_by_hand() -> None:
    density = Density(np.array([[0.5, 1.0]]), np.array([0.2, 0.3]), np.array([0, 3]))
    peak = 1 / (0.2 * np.sqrt(2 * np.pi))
    points = np.array([[0.5, 1.0], [0.7, 1.0], [0.5, 0.0]])
    np.testing.assert_allclose(density.pdf(points), [peak * 0.7, peak * np.exp(-0.5) * 0.7, peak * 0.15], rtol=1e-12)


def test_categories_sum_to_one_even_if_only_one_was_observed() -> None:
    density = Density.fit(np.array([[2.0]] * 5), np.array([4]), min_bandwidth=1e-3)
    pdf = density.pdf(np.arange(4.0)[:, None])
    assert pdf.sum() == pytest.approx(1)
    assert pdf.argmax() == 2
    assert (pdf > 0).all()


def test_widely_spread_categories_become_uniform_and_never_negative() -> None:
    # 0 and 9 in turn: 1.06 * 4.5 * 4^(-1/5) = 3.6, where a bandwidth above 0.9 has no meaning.
    density = Density.fit(np.array([[0.0], [9.0], [0.0], [9.0]]), np.array([10]), min_bandwidth=1e-3)
    np.testing.assert_allclose(density.pdf(np.arange(10.0)[:, None]), 0.1, rtol=1e-12)


def test_equal_observations_keep_the_least_bandwidth() -> None:
    density = Density.fit(np.full((6, 1), 0.25), CONTINUOUS, min_bandwidth=0.01)
    assert density.bandwidths.tolist() == [0.01]


@pytest.mark.parametrize(("centre", "h"), [(0.0, 0.1), (0.3, 0.05), (0.99, 0.4), (1.0, 1e-3)])
def test_continuous_samples_follow_the_truncated_normal(centre: float, h: float) -> None:
    density = Density(np.array([[centre]]), np.array([h]), CONTINUOUS)
    samples = density.sample(4000, bandwidth_factor=3.0, rng=np.random.default_rng(0))[:, 0]
    assert samples.min() >= 0
    assert samples.max() <= 1
    deviation = 3 * h
    reference = truncnorm(-centre / deviation, (1 - centre) / deviation, loc=centre, scale=deviation)
    assert kstest(samples, reference.cdf).pvalue > 1e-3


def test_categorical_samples_are_kept_or_drawn_afresh() -> None:
    density = Density(np.array([[1.0]]), np.array([0.4]), np.array([4]))
    samples = density.sample(20_000, bandwidth_factor=3.0, rng=np.random.default_rng(0))[:, 0]
    frequencies = np.bincount(samples.astype(int), minlength=4) / 20_000
    # kept with 0.6, else each of four categories with 0.1
    np.testing.assert_allclose(frequencies, [0.1, 0.7, 0.1, 0.1], atol=0.015)


def test_samples_come_from_all_observations() -> None:
    density = Density(np.array([[0.1], [0.9]]), np.array([1e-4]), CONTINUOUS)
    samples = density.sample(2000, bandwidth_factor=1.0, rng=np.random.default_rng(0))[:, 0]
    assert abs(np.mean(samples < 0.5) - 0.5) < 0.05
