"""Presets against the tools that they name."""

from typing import Any

import numpy as np
import pytest

from analysis.importance import PRESETS, Dimension, dimensions_of, importances, surrogate_of
from analysis.importance.dimensions import Categories, Float, Integer
from spaces.config_spaces import CS3

DIMENSIONS: tuple[Dimension, ...] = (
    Float("rate", 1e-4, 1.0, log=True),
    Integer("width", 2, 9),
    Categories("kind", ("a", "b", "c")),
)


def evaluations(n: int, seed: int) -> tuple[list[dict[str, Any]], list[float]]:
    rng = np.random.default_rng(seed)
    configs = [
        {
            "rate": float(10 ** rng.uniform(-4, 0)),
            "width": int(rng.integers(2, 10)),
            "kind": str(rng.choice(list("abc"))),
        }
        for _ in range(n)
    ]
    losses = [c["rate"] + 0.05 * c["width"] + 0.4 * (c["kind"] == "b") + 0.05 * rng.normal() for c in configs]
    return configs, losses


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_finds_what_matters(preset: str) -> None:
    configs, losses = evaluations(80, seed=0)
    found = importances(surrogate_of(DIMENSIONS, configs, losses, PRESETS[preset]))
    mains = {names: share for names, share in found.fractions.items() if len(names) == 1}
    assert set(mains) == {("rate",), ("width",), ("kind",)}
    assert all(share > 0.03 for share in mains.values())
    assert len(found.fractions) == (3 if preset == "optuna" else 6)
    assert preset != "optuna" or sum(mains.values()) == pytest.approx(1)


def test_against_optuna_with_the_same_seed() -> None:
    optuna = pytest.importorskip("optuna")
    distributions = {
        "rate": optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
        "width": optuna.distributions.IntDistribution(2, 9),
        "kind": optuna.distributions.CategoricalDistribution(("a", "b", "c")),
    }
    configs, losses = evaluations(60, seed=1)
    study = optuna.create_study()
    for config, loss in zip(configs, losses, strict=True):
        study.add_trial(optuna.trial.create_trial(params=config, distributions=distributions, value=loss))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=3)
    theirs = optuna.importance.get_param_importances(study, evaluator=evaluator)
    # Optuna sorts the hyperparameters by name, and a forest depends on the order of its columns.
    dimensions = sorted(DIMENSIONS, key=lambda dimension: dimension.name)
    ours = importances(surrogate_of(dimensions, configs, losses, PRESETS["optuna"], seed=3))
    assert {name: ours.of(name) for name in theirs} == pytest.approx(theirs, abs=1e-6)


def test_a_space_of_the_product_is_in_its_order() -> None:
    space = CS3.build(seed=0)
    assert [dimension.name for dimension in dimensions_of(space)] == list(space)
