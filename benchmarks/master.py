"""The master's overhead: our BOHB beside hpbandster's, with the same jobs and the same number of worker processes.

    python -m benchmarks.master                     # 16 workers, 280 evaluations each, CS2.
    python -m benchmarks.master --workers 1 16 64 256 1000  # Ours with all of these, hpbandster with 16.
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
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
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
#: Processes for our workers; several workers share one when there are more.
_MAX_PROCESSES = 16
_JOBS_PER_WORKER = 4


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


def serve_ours(path: str, n_workers: int) -> None:
    """Runs some of our workers in threads of this process."""
    with ThreadPoolExecutor(n_workers) as executor:
        for ended in [executor.submit(run_worker, path, objective=empty_objective) for _ in range(n_workers)]:
            ended.result()


@contextmanager
def serving(target: Callable[..., None], arguments: list[tuple[Any, ...]], patience_s: float = 10.0) -> Iterator[None]:
    """Runs a process per tuple of arguments; at the end, waits for them, and kills those that do not end in time."""
    processes: list[BaseProcess] = [_PROCESSES.Process(target=target, args=args, daemon=True) for args in arguments]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.join(timeout=patience_s)
            if process.is_alive():
                process.kill()


@dataclass(frozen=True)
class Cost:
    """The cost of a study of empty trials.

    Attributes:
        wall_ms: Milliseconds per job, from the first submission to the last result.
        cpu_ms: Milliseconds per job of the master's processor.
        peak_mib: Largest memory of the master's process.
    """

    wall_ms: float
    cpu_ms: float
    peak_mib: float


def cost(n_jobs: int, wall_s: float, cpu_s: float) -> Cost:
    """Divides seconds by jobs, and looks up the memory of this process."""
    return Cost(1e3 * wall_s / n_jobs, 1e3 * cpu_s / n_jobs, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def alone(measure: Callable[..., Cost], *arguments: Any) -> Cost:
    """Measures in a process of its own: Pyro's settings and the peak of memory belong to a process."""
    with ProcessPoolExecutor(1, mp_context=_PROCESSES) as executor:
        return executor.submit(measure, *arguments).result()


def measure_ours(
    config_space: str, n_iterations: int, n_workers: int, on_start: Callable[[str], None] | None = None
) -> Cost:
    """Runs a study with our master in this process; more than 16 workers share 16 processes.

    Args:
        config_space: Key of ``spaces.CONFIG_SPACES``.
        n_iterations: Number of brackets of the study.
        n_workers: Number of workers.
        on_start: Callback with the run's path when the master serves and before it hands out jobs; None for none.
    """
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
        cpu_s = [0.0, 0.0]

        def on_progress(progress: Any) -> None:
            if on_start is not None and not cpu_s[0]:
                on_start(str(run.path))
            cpu_s[0] = cpu_s[0] or time.process_time()
            cpu_s[1] = time.process_time()

        shares = [len(range(i, n_workers, _MAX_PROCESSES)) for i in range(min(n_workers, _MAX_PROCESSES))]
        with serving(serve_ours, [(str(run.path), share) for share in shares]):
            run_master(run, wait_settings=WaitSettings(min_workers=n_workers), on_progress=on_progress)
        results = read_results(run)
    wall_s = max(r.finished for r in results) - min(r.submitted for r in results)
    return cost(len(results), wall_s, cpu_s[1] - cpu_s[0])


def measure_hpbandster(config_space: str, n_iterations: int, n_workers: int) -> Cost:
    """Runs a study with hpbandster's master in this process."""
    name_server = NameServer(run_id="bench", host="127.0.0.1", port=0)
    host, port = name_server.start()
    space = CONFIG_SPACES[config_space].build(0)
    with (
        serving(serve_hpbandster, [(host, port, i) for i in range(n_workers)]),
        tempfile.TemporaryDirectory() as directory,
    ):
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
    runs = result.get_all_runs()
    wall_s = max(r.time_stamps["finished"] for r in runs) - min(r.time_stamps["submitted"] for r in runs)
    return cost(len(runs), wall_s, cpu_s)


def compare_overhead(config_space: str, n_iterations: int, n_workers: Sequence[int], repeats: int) -> None:
    """Prints the costs of both with 16 workers, their ratio, and ours with other numbers of workers."""
    costs: dict[tuple[str, int], list[Cost]] = {}
    for _ in range(repeats):
        costs.setdefault(("hpbandster", 16), []).append(alone(measure_hpbandster, config_space, n_iterations, 16))
        for n in n_workers:
            # Each worker gets a few jobs; three iterations have about 13.
            enough = max(n_iterations, _JOBS_PER_WORKER * n * 3 // 13)
            costs.setdefault(("nasbohb", n), []).append(alone(measure_ours, config_space, enough, n))
    for (name, n), found in costs.items():
        wall, cpu, peak = (statistics.median(getattr(each, field.name) for each in found) for field in fields(Cost))
        spread = f"{min(each.wall_ms for each in found):.2f} to {max(each.wall_ms for each in found):.2f}"
        print(
            f"{name:10s} {n:5d} workers {wall:7.2f} ms per job ({spread}); of the master: processor {cpu:6.2f} ms, "
            f"memory {peak:4.0f} MiB"
        )
    if 16 in n_workers:
        pairs = zip(costs["nasbohb", 16], costs["hpbandster", 16], strict=True)
        ratios = [ours.wall_ms / theirs.wall_ms for ours, theirs in pairs]
        print(f"ratio at 16 workers {statistics.median(ratios):.2f}")


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
    parser.add_argument("--workers", type=int, nargs="+", default=[16])
    parser.add_argument("--repeats", type=int, default=None, help="3 for the overhead, 100 for proposals")
    options = parser.parse_args()
    if options.what == "proposals":
        compare_proposals(options.config_space, options.repeats or 100)
    else:
        compare_overhead(options.config_space, options.iterations, options.workers, options.repeats or 3)


if __name__ == "__main__":
    main()
