"""Compares BOHB with BOHB that knows what runs (``bohb_pending``), in virtual time on formulas.

    python -m benchmarks.pending [--seeds 50] [--workers 16] [--iterations 64]

Each study has the paper's budgets, 25, 50 and 100 epochs. A trial takes as many seconds as it has epochs, times a
factor between 1 and 2. It prints a row for each space, number of workers and sampler:

* repeats: proposals whose configuration was proposed before, as a share of all proposals;
* regret: true loss of the study's choice above the best of the space, in percentage points, after a quarter of the
  study and at its end. The choice has the lowest observed loss at the largest budget. Means over the seeds, with twice
  the standard error.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from ConfigSpace import Categorical, ConfigurationSpace

from master.samplers import Sampler
from master.samplers.kde import KdeSampler
from master.samplers.pending import PendingKdeSampler
from master.tuner import Tuner
from master.virtual import Answer, Fleet, simulate
from results.records import Evaluation, Status, StudySpec, TrialResult, TrialSpec, Value
from spaces import CONFIG_SPACES

#: Standard deviation of a loss over the seeds of its trial.
NOISE = 0.01


class Problem(NamedTuple):
    """A space, and the true loss of its configurations at the largest budget."""

    space: Callable[[], ConfigurationSpace]
    loss: Callable[[Mapping[str, Value]], float]
    best: float


class Outcome(NamedTuple):
    """What a study came to; see the module."""

    repeats: float
    early: float
    late: float


_OPERATIONS = ("conv3x3", "conv1x1", "maxpool3x3", "skip")
SAMPLERS = {"bohb": KdeSampler, "bohb_pending": PendingKdeSampler}


def _cs2_loss(config: Mapping[str, Value]) -> float:
    """A curved valley: the best weight decay depends on the learning rate."""
    rate, decay = math.log10(float(config["learning_rate"])), math.log10(float(config["weight_decay"]))
    cutout = float(config["cutout_prob"])
    return min(1.0, 0.05 + 0.1 * (rate + 1.2) ** 2 + 0.1 * (decay + 4 + 0.5 * rate) ** 2 + 0.05 * (cutout - 0.4) ** 2)


def _categorical_space() -> ConfigurationSpace:
    space = ConfigurationSpace(seed=0)
    space.add(*(Categorical(f"op_{i}", _OPERATIONS) for i in range(4)))
    return space


#: Loss that an operation adds at each of four places.
_EFFECTS = np.random.default_rng(0).uniform(0, 0.1, size=(4, 4))


def _categorical_loss(config: Mapping[str, Value]) -> float:
    places = [_OPERATIONS.index(str(config[f"op_{i}"])) for i in range(4)]
    return 0.05 + float(sum(_EFFECTS[i, place] for i, place in enumerate(places))) + 0.05 * (places[0] == places[1])


def _best_cell() -> float:
    return min(
        _categorical_loss({f"op_{i}": name for i, name in enumerate(names)})
        for names in itertools.product(_OPERATIONS, repeat=4)
    )


PROBLEMS = {
    "CS2, 3 numbers": Problem(lambda: CONFIG_SPACES["cs2"].build(0), _cs2_loss, 0.05),
    "256 cells": Problem(_categorical_space, _categorical_loss, _best_cell()),
}


def study(problem: Problem, sampler: Sampler, n_workers: int, n_iterations: int, seed: int) -> Outcome:
    """Runs one study in virtual time."""
    spec = StudySpec(
        run_id="pending", optimizer="darts", search_space="1", config_space="cs2", dataset="digits", data_dir=None,
        table="digits", table_epochs=12, n_iterations=n_iterations, n_workers=n_workers, seed=seed,
    )  # fmt: skip

    def answer(trial: TrialSpec) -> Answer:
        rng = np.random.default_rng(trial.seed)
        loss = problem.loss(trial.config) + 2 / trial.budget + NOISE * rng.standard_normal()
        evaluation = Evaluation(status=Status.OK, validation_error=float(np.clip(loss, 0, 1)))
        return Answer(evaluation, trial.budget * (1 + rng.random()))

    tuner = Tuner(spec, sampler)
    results = simulate(tuner, answer, Fleet(n_workers=n_workers)).results
    proposed = [tuple(sorted(proposal.config.items())) for proposal in tuner.proposals.values()]
    return Outcome(
        repeats=1 - len(set(proposed)) / len(proposed),
        early=_regret(problem, results[: len(results) // 4]),
        late=_regret(problem, results),
    )


def _regret(problem: Problem, results: list[TrialResult]) -> float:
    largest = max(result.budget for result in results)
    chosen = min((r for r in results if r.budget == largest), key=lambda result: result.evaluation.loss)
    return problem.loss(chosen.config) - problem.best


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--workers", type=int, nargs="+", default=[16])
    parser.add_argument("--iterations", type=int, default=64)
    args = parser.parse_args()
    print("| space | workers | sampler | repeats | regret after a quarter | regret at the end |\n" + "|---" * 6 + "|")
    for (name, problem), n_workers in itertools.product(PROBLEMS.items(), args.workers):
        for sampler, kind in SAMPLERS.items():
            outcomes = [
                study(problem, kind(problem.space()), n_workers, args.iterations, seed) for seed in range(args.seeds)
            ]
            repeats, *regrets = np.array(outcomes).T
            cells = [f"{100 * r.mean():.2f} ± {200 * r.std() / math.sqrt(args.seeds):.2f}" for r in regrets]
            print(f"| {name} | {n_workers} | {sampler} | {repeats.mean():.0%} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
