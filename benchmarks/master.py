"""The master's overhead: our BOHB beside hpbandster's, with the same jobs and the same number of worker processes.

    python -m benchmarks.master                     # 16 workers, 280 evaluations each, CS2.
    python -m benchmarks.master --config-space cs3 --repeats 5
    python -m benchmarks.master proposals           # One proposal of either model, 250 observations.

The objective is empty, so the time per job is the cost of the master, the network and the workers' own
handling.  It is the time from the first submission to the last result, divided by the number of jobs.
hpbandster and our master take turns, so that a change of the machine's load meets both.  The reported ratio is
the median over the repeats.

hpbandster cannot send NumPy scalars, but its budgets and some values of ConfigSpace 1.2 are NumPy scalars.  They
are converted for it here, which costs it 0.01 ms per job.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from hpbandster.core.dispatcher import Job
from hpbandster.core.nameserver import NameServer
from hpbandster.core.worker import Worker
from hpbandster.optimizers import BOHB
from hpbandster.optimizers.config_generators.bohb import BOHB as Generator

from master.samplers.kde import KdeSampler
from master.settings import WaitSettings
from master.study import create_run, run_master
from master.tuner import proposal_generator
from results.epoch import EpochRecord
from results.reading import read_results
from results.records import Evaluation, Status, StudySpec, TrialSpec
from spaces import CONFIG_SPACES
from worker.service import run_worker

_PROCESSES = multiprocessing.get_context("spawn")


def error_of(config: dict[str, Any]) -> float:
    """Computes a smooth function of a configuration, with values in [0, 1]."""
    return float(np.clip(abs(np.log10(config["weight_decay"]) + 4) / 2 + config["cutout_prob"] / 4, 0, 1))


def empty_objective(
    trial: TrialSpec,
    directory: Path,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    worker: str | None = None,
    on_saved: Callable[[EpochRecord], None] | None = None,
) -> Evaluation:
    """Answers at once."""
    return Evaluation(
        status=Status.OK,
        validation_error=error_of(dict(trial.config)),
        test_error=0.1,
        t_search_s=1.0,
        t_train_s=1.0,
        architecture_index=0,
        cell_hash="0" * 32,
        one_shot_validation_error=0.1,
        seed=trial.seed,
        worker=worker,
    )


class BuiltInGenerator(Generator):
    """hpbandster's generator, with configurations that Pyro can send."""

    def get_config(self, budget: float) -> tuple[dict[str, Any], dict[str, bool]]:
        config, info = super().get_config(budget)
        return {k: v.item() if isinstance(v, np.generic) else v for k, v in config.items()}, info


class EmptyWorker(Worker):
    """hpbandster's worker with the same empty objective."""

    def compute(self, config_id: Any, config: dict[str, Any], budget: float, working_directory: str) -> dict[str, Any]:
        return {"loss": error_of(config), "info": {"seed": 0}}


def serve_hpbandster(host: str, port: int, number: int) -> None:
    """Runs one of hpbandster's workers in this process."""
    logger = logging.getLogger("silent")
    logger.setLevel(logging.CRITICAL)
    EmptyWorker("bench", nameserver=host, nameserver_port=port, logger=logger, id=number).run()


def serve_ours(path: str) -> None:
    """Runs one of our workers in this process."""
    run_worker(path, objective=empty_objective)


def start(target: Callable[..., None], arguments: list[tuple[Any, ...]]) -> list[BaseProcess]:
    """Starts one process per tuple of arguments."""
    processes: list[BaseProcess] = [_PROCESSES.Process(target=target, args=args, daemon=True) for args in arguments]
    for process in processes:
        process.start()
    return processes


def join(processes: list[BaseProcess]) -> None:
    """Waits for processes that were told to end, and kills those that do not end."""
    for process in processes:
        process.join(timeout=10)
        if process.is_alive():
            process.kill()


def time_ours(config_space: str, n_iterations: int, n_workers: int) -> tuple[float, float]:
    """Measures milliseconds per job, of wall clock and of the master's processor."""
    with tempfile.TemporaryDirectory(dir=".") as directory:
        spec = StudySpec(
            run_id="bench",
            optimizer="darts",
            search_space="1",
            config_space=config_space,
            dataset="digits",
            data_dir=None,
            table="digits",
            table_epochs=12,
            n_workers=n_workers,
            n_iterations=n_iterations,
        )
        run = create_run(Path(directory) / "run", spec)
        processes = start(serve_ours, [(str(run.path),)] * n_workers)
        cpu_s = [0.0, 0.0]

        def on_progress(progress: Any) -> None:
            cpu_s[0] = cpu_s[0] or time.process_time()
            cpu_s[1] = time.process_time()

        run_master(run, wait_settings=WaitSettings(min_workers=n_workers), on_progress=on_progress)
        results = read_results(run)
        join(processes)
    wall_s = max(r.finished for r in results) - min(r.submitted for r in results)
    return 1e3 * wall_s / len(results), 1e3 * (cpu_s[1] - cpu_s[0]) / len(results)


def time_hpbandster(config_space: str, n_iterations: int, n_workers: int) -> tuple[float, float]:
    """Measures milliseconds per job, of wall clock and of the master's processor."""
    name_server = NameServer(run_id="bench", host="127.0.0.1", port=0)
    host, port = name_server.start()
    processes = start(serve_hpbandster, [(host, port, i) for i in range(n_workers)])
    space = CONFIG_SPACES[config_space].build(0)
    with tempfile.TemporaryDirectory() as directory:
        master = BOHB(
            configspace=space, eta=2, min_budget=25, max_budget=100, run_id="bench", nameserver=host,
            nameserver_port=port, host=host, ping_interval=1, working_directory=directory,
        )  # fmt: skip
        master.config_generator = BuiltInGenerator(space)
        master.budgets = master.budgets.tolist()
        master.wait_for_workers(n_workers)
        cpu_s = time.process_time()
        result = master.run(n_iterations=n_iterations, min_n_workers=n_workers)
        cpu_s = time.process_time() - cpu_s
        master.shutdown(shutdown_workers=True)
        name_server.shutdown()
    join(processes)
    runs = result.get_all_runs()
    wall_s = max(r.time_stamps["finished"] for r in runs) - min(r.time_stamps["submitted"] for r in runs)
    return 1e3 * wall_s / len(runs), 1e3 * cpu_s / len(runs)


def compare_overhead(config_space: str, n_iterations: int, n_workers: int, repeats: int) -> None:
    """Prints milliseconds per job of both, and their ratio."""
    times: dict[str, list[tuple[float, float]]] = {"hpbandster": [], "nasbohb": []}
    for _ in range(repeats):
        times["hpbandster"].append(time_hpbandster(config_space, n_iterations, n_workers))
        times["nasbohb"].append(time_ours(config_space, n_iterations, n_workers))
    for name, values in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"{name:12s} {wall:7.2f} ms per job; processor time of the master {cpu:7.2f} ms")
    ratios = [ours[0] / theirs[0] for ours, theirs in zip(times["nasbohb"], times["hpbandster"], strict=True)]
    print(f"ratio        {statistics.median(ratios):7.2f}")


def compare_proposals(config_space: str, repeats: int) -> None:
    """Prints milliseconds per model-based proposal of both, with 250 observations at one budget."""
    space = CONFIG_SPACES[config_space].build(0)
    ours, theirs = KdeSampler(CONFIG_SPACES[config_space].build(0)), Generator(space, random_fraction=0.0)
    number = 0
    for configuration in space.sample_configuration(250):
        config = dict(configuration)
        job = Job((0, 0, 0), config=config, budget=100)
        job.result = {"loss": error_of(config)}
        theirs.new_result(job)
        ours.observe(config, 100, error_of(config))
    milliseconds: dict[str, list[float]] = {"hpbandster": [], "nasbohb": []}
    while len(milliseconds["nasbohb"]) < repeats:
        begin = time.perf_counter()
        theirs.get_config(100)
        middle = time.perf_counter()
        proposal = ours.propose(100, proposal_generator(0, number))
        end = time.perf_counter()
        number += 1
        if proposal.model_based:
            milliseconds["hpbandster"].append(1e3 * (middle - begin))
            milliseconds["nasbohb"].append(1e3 * (end - middle))
    for name, values in milliseconds.items():
        print(f"{name:12s} {statistics.median(values):7.3f} ms per proposal, {len(space)} dimensions")


def main() -> None:
    """Parses the command line, measures, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["overhead", "proposals"], default="overhead")
    parser.add_argument("--config-space", choices=list(CONFIG_SPACES), default="cs2")
    parser.add_argument("--iterations", type=int, default=64)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=None, help="3 for the overhead, 100 for proposals")
    options = parser.parse_args()
    if options.what == "proposals":
        compare_proposals(options.config_space, options.repeats or 100)
    else:
        compare_overhead(options.config_space, options.iterations, options.workers, options.repeats or 3)


if __name__ == "__main__":
    main()
