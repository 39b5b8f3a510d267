"""The commands ``run_bohb.py study`` and ``master``."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
import logging
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro
from typing_extensions import Doc

from master.samplers import SAMPLERS
from nas.datasets import DATASETS
from nas.oneshot import METHODS
from nas.tabular import TABLES
from spaces import CONFIG_SPACES, SEARCH_SPACES, find_config_space

if TYPE_CHECKING:
    from master.loop import Progress
    from master.signals import StopFlag
    from results.records import StudySpec, TrialResult, Value
    from results.run_directory import RunDirectory
    from worker.launch.local import LocalWorkers

logger = logging.getLogger("nasbohb.master")

#: Settings that make the searches of a study on one machine small; ``--search`` overrides them.
SMALL_SEARCH = ("init_channels=8", "cells_per_stack=1", "batch_size=32", "threads=1")


def _one_of(names: Iterable[str]) -> str:
    return " or ".join(names)


_Dataset = Annotated[str, Doc(f"Images to search on: {_one_of(DATASETS)}, or the path of an .npz file.")]
_Try = Annotated[
    tuple[tuple[str, ...], ...],
    Doc(
        "Hyperparameters of a configuration to evaluate before all others, as name=value; omitted ones have their "
        "defaults. The sampler listed evaluates only these configurations, each once at the largest budget."
    ),
    tyro.conf.arg(name="try", metavar="NAME=VALUE ..."),
    tyro.conf.UseAppendAction,
]
_Host = Annotated[
    str | None,
    Doc(
        "Address to listen at, one of this machine that the workers can reach; by default the local address for a "
        "study, and this machine's outward address for a master."
    ),
]


@dataclass(frozen=True)
class StudyOptions:
    """A study and its master.

    Attributes:
        run_dir: Directory of the run, which must not exist yet; by default a new one below ``runs/``.
        resume: Directory of a run to go on with; its study is the one that began it.
        data_dir: Folder of the data set's files; by default ./data for cifar10, and the .npz file's own folder.
        table_epochs: Training epochs of the table whose validation error is minimised; by default its largest.
        min_budget: Smallest number of search epochs.
        max_budget: Largest number of search epochs.
        eta: Factor between budgets; the best 1/eta of the configurations go on.
        iterations: Number of iterations of successive halving.
        workers: Number of workers.
        seed: Seed of the study.
        keep_every: Epochs between checkpoints of a trial that stay, the last one among them; 0 keeps no weights.
        warm_start: Directories of earlier runs, finished or not, whose results the sampler learns before its first
            proposal. They need the same optimizer, spaces, data set and table.
    """

    run_dir: Path | None = None
    resume: Path | None = None
    optimizer: Annotated[str, Doc(f"One-shot optimizer to tune: {_one_of(METHODS)}.")] = "darts"
    search_space: Annotated[str, Doc(f"Search space: {_one_of(SEARCH_SPACES)}.")] = "1"
    config_space: Annotated[str, Doc(f"Hyperparameters to tune: {_one_of(CONFIG_SPACES)}.")] = "cs2"
    dataset: _Dataset = "cifar10"
    data_dir: Path | None = None
    table: Annotated[
        str | None,
        Doc(f"Table: {_one_of(TABLES)}, or the path of a table's directory; by default the data set's own table."),
    ] = None
    table_epochs: int | None = None
    min_budget: int = 25
    max_budget: int = 100
    eta: int = 2
    iterations: int = 64
    workers: int = 16
    seed: int = 0
    keep_every: int = 0
    sampler: Annotated[str, Doc(f"Way to propose configurations: {_one_of(SAMPLERS)}.")] = "bohb"
    try_: _Try = ()
    warm_start: tuple[Path, ...] = ()
    search: Annotated[
        tuple[str, ...],
        Doc(
            "Settings of all searches, as name=value (names: ``run_bohb.py search --help``), except those that the "
            f"configuration space tunes. A study on one machine adds {' '.join(SMALL_SEARCH)}."
        ),
    ] = ()
    host: _Host = None
    port_range: Annotated[
        str | None, Doc("First and last of the ports to listen at, as 5000-5010; by default any free ones.")
    ] = None
    nat_host: Annotated[
        str | None,
        Doc(
            "Address at which workers outside of this network reach the master, as gate.example.org, or "
            "gate.example.org:6000 if port 6000 there leads to the first of the --port-range, 6001 to the next."
        ),
    ] = None
    limit_h: Annotated[float, Doc("Hours after which this master ends; the study can be resumed.")] = math.inf
    limit_evaluations: Annotated[float, Doc("Number of evaluations after which the study ends.")] = math.inf
    limit_epochs: Annotated[float, Doc("Search epochs, summed over all evaluations, after which the study ends.")] = (
        math.inf
    )
    limit_simulated_h: Annotated[
        float, Doc("Hours of simulated time (search and the table's training), summed, after which the study ends.")
    ] = math.inf
    epoch_timeout_s: Annotated[
        float, Doc("Seconds after which an epoch counts as hung; its trial runs again elsewhere.")
    ] = math.inf
    trial_timeout_s: Annotated[float, Doc("Seconds after which a trial is given up.")] = math.inf
    plan: Annotated[
        float | Literal["measure"] | None,
        Doc(
            "Seconds of one search epoch: say what the study would take, in virtual time, and start nothing. With "
            "measure, the first epochs of the default configuration's search are run here, to time one."
        ),
    ] = None

    #: Settings of the searches that ``--search`` overrides.
    settings: ClassVar[Sequence[str]] = ()

    @property
    def n_workers(self) -> int:
        """Number of workers for which the study is planned."""
        return self.workers

    def spec(self, run_id: str) -> "StudySpec":
        """Makes the study that the options describe.

        Raises:
            ValueError: A setting is unknown or of another type, a configuration is no list of name=value, or the
                data set or the table is missing.
        """
        from nas.oneshot.commands import parse_settings
        from worker.study import define_study

        tuned = find_config_space(self.config_space).names
        settings = {name: value for name, value in parse_settings(self.settings).items() if name not in tuned}
        return define_study(
            run_id=run_id,
            optimizer=self.optimizer,
            search_space=self.search_space,
            config_space=self.config_space,
            dataset=self.dataset,
            data_dir=self.data_dir,
            table=self.table,
            table_epochs=self.table_epochs,
            min_budget=self.min_budget,
            max_budget=self.max_budget,
            eta=self.eta,
            n_iterations=self.iterations,
            n_workers=self.n_workers,
            seed=self.seed,
            keep_every=self.keep_every,
            search_settings={**settings, **parse_settings(self.search)},
            sampler=self.sampler,
            initial_configs=tuple(_parse_config(pairs) for pairs in self.try_),
            warm_start=tuple(str(path.absolute()) for path in self.warm_start),
        )


@dataclass(frozen=True)
class Master(StudyOptions):
    """Run the BOHB master of a study alone; start its workers elsewhere with ``run_bohb.py worker``.

    The defaults are the paper's study: budgets 25, 50 and 100, 64 iterations, 16 workers, CIFAR-10, NAS-Bench-101.

    Attributes:
        requeue: Requeue the Slurm job of this process after the notice SIGUSR1. Workers wait for the next master after
            any signal.
    """

    requeue: bool = False

    def run(self) -> int:
        """Runs the master; its workers are started elsewhere."""
        from worker.launch.slurm import run_and_requeue

        if self.requeue:
            return run_and_requeue(lambda: run_study(self, comes_back=True))
        return run_study(self)


@dataclass(frozen=True)
class Study(StudyOptions):
    """Run a whole tuning study on this machine: name server, BOHB master and worker processes in one command.

    The defaults are a study of a few minutes on a laptop, with nothing to download: DARTS on search space 1 and
    real images of digits.  Every found cell is looked up in the embedded table.

    Attributes:
        workers: Number of worker processes; with --gpus, that of the GPUs times --workers-per-gpu.
    """

    dataset: _Dataset = "digits"
    min_budget: int = 3
    max_budget: int = 12
    iterations: int = 6
    workers: int = 2
    host: _Host = "127.0.0.1"
    gpus: Annotated[
        str | None, Doc("GPUs for a worker process each: numbers as in CUDA_VISIBLE_DEVICES, as 0,1, or all.")
    ] = None
    workers_per_gpu: Annotated[int, Doc("Number of worker processes on each of the --gpus.")] = 1

    settings: ClassVar[Sequence[str]] = SMALL_SEARCH

    def run(self) -> int:
        """Runs the study with its own workers."""
        return run_study(self, environments=self.environments)

    @property
    def n_workers(self) -> int:
        """Number of workers for which the study is planned."""
        n_workers = len(self.environments(self.workers))
        if self.workers not in (n_workers, Study.workers):
            raise ValueError(
                f"--workers: got {self.workers} for {n_workers} workers on GPUs; leave it out, or see --workers-per-gpu"
            )
        return n_workers

    def environments(self, n_workers: int) -> "list[dict[str, str]]":
        """Makes the environments of the workers, of which there are ``n_workers`` if no GPUs are named."""
        from worker.launch.gpus import gpu_environments

        return gpu_environments(self.gpus, self.workers_per_gpu) or [{}] * n_workers


def _parse_config(pairs: Iterable[str]) -> dict[str, "Value"]:
    """Parses a configuration of ``--try``; a later check of the study finds values outside the space."""
    config: dict[str, Value] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--try: got {pair!r}, expected name=value")
        config[name] = _number(text)
    return config


def _number(text: str) -> "Value":
    """Turns a text into a number if it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def run_study(
    options: StudyOptions,
    *,
    environments: Callable[[int], list[dict[str, str]]] | None = None,
    comes_back: bool = False,
) -> int:
    """Checks the study, runs the master to the end and prints the report.

    Args:
        options: Options of the command.
        environments: Function from the study's number of workers to the environments of those to start on this machine;
            None to start none.
        comes_back: Whether a scheduler starts another master after a signal.

    Returns:
        1 if the study failed or no evaluation succeeded, 128 and the signal's number if one interrupted it, else 0.

    Raises:
        ValueError: The options describe no study that can run; nothing was written.
    """
    from master.commands.opening import checked_study, dispatcher_settings, open_run, study_limits
    from master.commands.simulate import print_plan
    from master.hosts import checked_host, outward_address
    from master.loop import StudyFailedError
    from master.ports import Ports
    from master.progress import ProgressDisplay, say
    from master.signals import stop_flag
    from master.study import run_master
    from worker.launch.local import LocalWorkersFailedError

    path, spec = checked_study(options)
    ports = Ports.parse(options.port_range, options.nat_host)
    if options.plan is not None:
        print_plan(spec, options.plan)
        return 0
    workers = None if environments is None else environments(spec.n_workers)
    host = checked_host(options.host or outward_address())
    run = open_run(options, path, spec)
    try:
        with stop_flag() as stop, ProgressDisplay(spec) as display, _local_workers(run, workers) as processes:

            def on_progress(progress: "Progress") -> None:
                display.show(progress)
                if processes is not None:
                    processes.watch(has_succeeded=_has_succeeded(progress.last))

            end = run_master(
                run,
                resume=bool(options.resume),
                host=host,
                ports=ports,
                dispatcher_settings=dispatcher_settings(options),
                limits=study_limits(options),
                stop=stop,
                comes_back=comes_back,
                on_progress=on_progress,
            )
    except (StudyFailedError, LocalWorkersFailedError) as error:
        say(f"study: {error}\n{_where_to_look(path)}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        say(_where_to_look(path), sys.stderr)
        raise
    return _conclude(path, end, stop)


def _local_workers(
    run: "RunDirectory", environments: "list[dict[str, str]] | None"
) -> "AbstractContextManager[LocalWorkers | None]":
    """Makes the workers on this machine, one for each environment; the context has None where there are none."""
    from worker.launch.local import LocalWorkers, own_command

    if environments is None:
        return nullcontext()
    command = own_command("worker", run.path, "--wait-s", 120, "--attached")
    return LocalWorkers(command, environments, run.path / "workers")


def _conclude(path: Path, end: "Progress", stop: "StopFlag") -> int:
    """Prints the report of a study that has ended, or how to go on with it; returns the exit status."""
    from analysis.report import analyze
    from master.progress import say
    from results.master_status import Ending

    if end.ending in (Ending.INTERRUPTED, Ending.SUSPENDED):
        assert stop.signal is not None
        waits = "; the workers wait for the next master" if end.ending is Ending.SUSPENDED else ""
        say(f"{end.ending.value} ({stop.signal.name}){waits}; {_where_to_look(path)}", sys.stderr)
        return stop.status
    say(analyze(path).text)
    if end.ending is Ending.LIMIT:
        say(f"the study ended at a limit, with {end.n_done} of {end.n_total} evaluations; {_where_to_look(path)}")
    if end.incumbent is None:
        say(f"study: none of {end.n_done} evaluations succeeded; the report says how each ended", sys.stderr)
        return 1
    return 0


def _has_succeeded(result: "TrialResult | None") -> bool:
    return result is not None and result.evaluation.validation_error is not None


def _where_to_look(path: Path) -> str:
    return (
        f"finished evaluations are kept in {path}; `run_bohb.py analyze {path}` shows them, and `--resume {path}` goes "
        "on with the study"
    )
