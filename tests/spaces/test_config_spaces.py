"""The configuration spaces against the paper's table of ranges, transcribed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from spaces import CONFIG_SPACES, find_config_space
from spaces.config_spaces import Hyperparameter

# name: lower, upper, on a log scale, integer, default of DARTS, smallest space it is in
TABLE = {
    "weight_decay": (1e-5, 1e-3, True, False, 3e-4, 1),
    "cutout_prob": (0.0, 1.0, False, False, 0.0, 1),
    "learning_rate": (1e-3, 1.0, True, False, 0.025, 2),
    "momentum": (0.0, 0.99, False, False, 0.9, 3),
    "cutout_length": (2, 32, True, True, 16, 3),
    "batch_size": (16, 128, False, True, 96, 3),
    "grad_clip": (1, 9, False, True, 5, 3),
    "arch_learning_rate": (1e-5, 1e-2, True, False, 3e-4, 3),
    "arch_weight_decay": (1e-4, 1e-1, True, False, 1e-3, 3),
}


@pytest.mark.parametrize(("name", "number"), [("cs1", 1), ("cs2", 2), ("cs3", 3)])
def test_spaces_hold_what_the_paper_says(name: str, number: int) -> None:
    space = CONFIG_SPACES[name].build(seed=0)
    assert set(space) == {h for h, row in TABLE.items() if row[5] <= number}
    assert set(CONFIG_SPACES[name].names) == set(space)
    for hyperparameter in space.values():
        lower, upper, log, is_integer, default, _ = TABLE[hyperparameter.name]
        assert (hyperparameter.lower, hyperparameter.upper, hyperparameter.log) == (lower, upper, log)
        assert hyperparameter.default_value == default
        assert type(hyperparameter.default_value) is (int if is_integer else float)


@pytest.mark.parametrize("name", CONFIG_SPACES)
def test_default_is_the_space_default(name: str) -> None:
    space = CONFIG_SPACES[name].build(seed=0)
    assert dict(space.get_default_configuration()) == CONFIG_SPACES[name].default


def test_log_scale_halves_at_the_geometric_mean() -> None:
    rates = [c["learning_rate"] for c in CONFIG_SPACES["cs2"].build(seed=1).sample_configuration(4000)]
    below = np.mean(np.array(rates) < np.sqrt(1e-3 * 1.0))
    assert abs(below - 0.5) < 4 * 0.5 / np.sqrt(4000)  # four standard deviations of a fair coin


def test_seed_decides_the_samples() -> None:
    first, again, other = (
        [dict(c) for c in CONFIG_SPACES["cs3"].build(seed).sample_configuration(3)] for seed in (5, 5, 6)
    )
    assert first == again != other


def test_unknown_space_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"got 'cs4', expected one of cs1, cs2, cs3"):
        find_config_space("cs4")


@pytest.mark.parametrize(("lower", "upper", "default", "log"), [(0.0, 1.0, 2.0, False), (0.0, 1.0, 0.5, True)])
def test_impossible_hyperparameter_is_refused(lower: float, upper: float, default: float, log: bool) -> None:
    with pytest.raises(ValueError, match="x: got"):
        Hyperparameter("x", lower, upper, default, log)
