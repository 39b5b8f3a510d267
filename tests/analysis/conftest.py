"""Synthetic runs: seeded, and written line by line as hpbandster's own logger formats its files."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from results.run_directory import RunDirectory
from tests.analysis.runs import study_spec

#: Sizes of successive-halving brackets on the three largest budgets, in turn (eta 2).
BRACKETS = ([4, 2, 1], [2, 1], [3])
CONFIGSPACE = {
    "name": "synthetic",
    "hyperparameters": [
        {
            "type": "uniform_float",
            "name": "x",
            "lower": 0.0,
            "upper": 1.0,
            "default_value": 0.5,
            "log": False,
            "meta": None,
        }
    ],
    "conditions": [],
    "forbiddens": [],
    "python_module_version": "1.2.0",
    "format_version": 0.4,
}


def info_of(rng: random.Random, x: float, budget: int, worker: str) -> dict[str, Any]:
    """What a worker answers: the closer x is to 0.2, the better; beyond 0.97 the search diverges."""
    t_search = budget * rng.uniform(0.8, 1.2)
    failed = x > 0.97
    error = min(0.9, 0.02 + 0.12 * abs(x - 0.2) + rng.expovariate(40 * budget**0.5))
    return {
        "status": "diverged" if failed else "ok",
        "validation_error": None if failed else error,
        "test_error": None if failed else error * rng.uniform(0.95, 1.15) + 0.002,
        "t_search_s": t_search,
        "t_train_s": None if failed else rng.uniform(20, 40),
        "architecture_index": None if failed else rng.randrange(14_580),
        "cell_hash": None if failed else f"{rng.getrandbits(128):032x}",
        "one_shot_validation_error": None if failed else min(1.0, 2 * error),
        "seed": rng.getrandbits(31),
        "worker": worker,
        "error": "loss is nan in epoch 2" if failed else None,
        "state": "CRASHED" if failed else "SUCCESS",
    }


def write_synthetic_run(run: RunDirectory, seed: int) -> None:
    """Fills a run as a BOHB master with greedy workers would have."""
    rng, spec = random.Random(seed), run.spec()
    free = [1_700_000_000.0] * spec.n_workers
    config_lines: list[list[Any]] = []
    lines: list[list[Any]] = []
    for iteration in range(spec.n_iterations):
        sizes = BRACKETS[iteration % 3]
        configs = {(iteration, 0, index): rng.random() for index in range(sizes[0])}
        if iteration == 0:
            configs[0, 0, 0] = 0.6
        config_lines += [[list(key), {"x": x}, {"model_based_pick": iteration > 2}] for key, x in configs.items()]
        survivors, release = list(configs), free[0]
        for rung, size in enumerate(sizes):
            budget = spec.max_budget // 2 ** (len(sizes) - 1 - rung)
            losses, ends = {}, []
            for config_id in survivors[:size]:
                worker = free.index(min(free))
                info = info_of(rng, configs[config_id], budget, f"worker-{worker}")
                started = max(free[worker], release)
                free[worker] = started + info["t_search_s"] + 0.3
                times = {"submitted": started - 0.01, "started": started, "finished": free[worker]}
                losses[config_id] = 1.0 if info["validation_error"] is None else info["validation_error"]
                result = {"loss": losses[config_id], "info": info}
                lines.append([list(config_id), float(budget), times, result, info["error"]])
                ends.append(free[worker])
            survivors, release = sorted(losses, key=lambda key: losses[key]), max(ends)
    lines.sort(key=lambda line: line[2]["finished"])
    run.configs_json.write_text("".join(json.dumps(line) + "\n" for line in config_lines))
    run.results_json.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunDirectory]:
    """A function of (seed, fields of the specification) that writes a synthetic run below ``tmp_path``."""

    def make(seed: int = 0, **changes: Any) -> RunDirectory:
        run = RunDirectory.create(tmp_path / f"run-{seed}", study_spec(**changes), CONFIGSPACE, {"python": "3.11"})
        write_synthetic_run(run, seed)
        return run

    return make
