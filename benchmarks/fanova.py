"""Times fANOVA: all main effects and all pairs, beside Optuna's evaluator for the main effects alone.

    python -m benchmarks.fanova [--evaluations 300] [--repeats 5] [--growth 100 1000 10000]

The evaluations are drawn from CS3 (9 hyperparameters) and have synthetic losses. Every figure is the shortest of the
repeats, with the forest's fit. Optuna is timed where it is installed, in the same run, on the same evaluations.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from analysis.importance import dimensions_of, importances, surrogate_of
from spaces.config_spaces import CS3


def evaluations(n: int, seed: int) -> tuple[list[dict[str, Any]], list[float]]:
    """Draws configurations, and losses with three main effects, an interaction and noise."""
    rng = np.random.default_rng(seed)
    configs = [dict(config) for config in CS3.build(seed).sample_configuration(n)]
    losses = [
        0.1 * math.log10(c["learning_rate"]) ** 2 + c["momentum"] * c["cutout_prob"] + 0.1 * rng.normal()
        for c in configs
    ]
    return configs, losses


def shortest(repeats: int, function: Callable[[], object]) -> float:
    """Returns the seconds of the quickest of several calls."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def optuna_mains(configs: Sequence[dict[str, Any]], losses: Sequence[float]) -> Callable[[], object]:
    """Makes a call of Optuna's evaluator."""
    optuna = importlib.import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {
        h.name: optuna.distributions.IntDistribution(h.lower, h.upper, log=h.log)
        if h.is_integer
        else optuna.distributions.FloatDistribution(h.lower, h.upper, log=h.log)
        for h in CS3.hyperparameters
    }
    study = optuna.create_study()
    for config, loss in zip(configs, losses, strict=True):
        study.add_trial(optuna.trial.create_trial(params=config, distributions=distributions, value=loss))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return lambda: optuna.importance.get_param_importances(study, evaluator=evaluator)


def compare(n: int, repeats: int) -> None:
    """Prints our time for all main effects and pairs, Optuna's for the main effects, and their ratio."""
    dimensions = dimensions_of(CS3.build(0))
    configs, losses = evaluations(n, seed=0)
    ours = shortest(repeats, lambda: importances(surrogate_of(dimensions, configs, losses)))
    print(f"{n} evaluations, 9 main effects and 36 pairs: {ours:.3f} s")
    if importlib.util.find_spec("optuna") is None:
        print("Optuna is not installed, so there is no ratio to it")
        return
    theirs = shortest(repeats, optuna_mains(configs, losses))
    print(f"{n} evaluations, Optuna, 9 main effects: {theirs:.3f} s; ratio {ours / theirs:.3f}")


def growth(sizes: Sequence[int], repeats: int) -> None:
    """Prints a table of how the cost grows with the evaluations."""
    dimensions = dimensions_of(CS3.build(0))
    print("| evaluations | leaves | fit, s | mains, s | mains and pairs, s | mains, µs per leaf | pairs, µs per leaf |")
    print("|---" * 7 + "|")
    for n in sizes:
        configs, losses = evaluations(n, seed=0)
        forest = surrogate_of(dimensions, configs, losses)
        fit = shortest(repeats, lambda c=configs, y=losses: surrogate_of(dimensions, c, y))  # type: ignore[misc]
        mains = shortest(repeats, lambda f=forest: importances(f, order=1))  # type: ignore[misc]
        pairs = shortest(repeats, lambda f=forest: importances(f, order=2))  # type: ignore[misc]
        leaves = len(forest.leaves.tree)
        per_leaf = [1e6 * seconds / leaves for seconds in (mains, pairs - mains)]
        print(f"| {n} | {leaves} | {fit:.3f} | {mains:.3f} | {pairs:.3f} | {per_leaf[0]:.2f} | {per_leaf[1]:.2f} |")


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--growth", type=int, nargs="*", default=[100, 1000, 10_000], help="numbers of evaluations")
    args = parser.parse_args()
    compare(args.evaluations, args.repeats)
    growth(args.growth, args.repeats)


if __name__ == "__main__":
    main()
