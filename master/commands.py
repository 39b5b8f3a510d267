"""The commands ``run_bohb.py study``, ``master`` and ``simulate``."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro
from typing_extensions import Doc

from master.samplers import SAMPLERS
from nas.datasets import DATASETS
from nas.oneshot import METHODS
from nas.tabular import TABLES
from spaces import CONFIG_SPACES, SEARCH_SPACES, find_config_space

if TYPE_CHECKING:
    from master.loop import Progress
    from master.virtual import Fleet, VirtualRun
    from results.reading import RunJournals
    from results.records import StudySpec, Value

#: Settings that make the searches of a study on one machine small; ``--search`` overrides them.
SMALL_SEARCH = ("init_channels=8", "cells_per_stack=1", "batch_size=32", "threads=1")
#: Over the lines of simulated studies.
_SIMULATED_HEAD = "workers evaluations     hours speed-up  idle model-based  lost preempted"
_PROGRAM = Path(__file__).parents[1] / "run_bohb.py"


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
class Master:
    """Run the BOHB master of a study alone; start its workers elsewhere with ``run_bohb.py worker``.

    The defaults are the paper's study: budgets 25, 50 and 100, 64 iterations, 16 workers, CIFAR-10, NAS-Bench-101.

    Attributes:
        run_dir: Directory of the run, which must not exist yet; by default a new one below ``runs/``.
        data_dir: Folder of the data set's files; by default ./data for cifar10, and the .npz file's own folder.
        table_epochs: Training epochs of the table whose validation error is minimised; by default its largest.
        min_budget: Smallest number of search epochs.
        max_budget: Largest number of search epochs.
        eta: Factor between budgets; the best 1/eta of the configurations go on.
        iterations: Number of iterations of successive halving.
        workers: Number of workers.
        seed: Seed of the study.
    """

    run_dir: Path | None = None
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
    sampler: Annotated[str, Doc(f"Way to propose configurations: {_one_of(SAMPLERS)}.")] = "bohb"
    try_: _Try = ()
    search: Annotated[
        tuple[str, ...],
        Doc(
            "Settings of all searches, as name=value (names: ``run_bohb.py search --help``), except those that the "
            f"configuration space tunes. A study on one machine adds {' '.join(SMALL_SEARCH)}."
        ),
    ] = ()
    host: _Host = None
    plan: Annotated[
        float | None,
        Doc("Seconds of one search epoch: say what the study would take, in virtual time, and start nothing."),
    ] = None

    #: Settings of the searches that ``--search`` overrides.
    settings: ClassVar[Sequence[str]] = ()

    def run(self) -> int:
        """Runs the master; its workers are started elsewhere."""
        return run_study(self, local_workers=False)

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
            n_workers=self.workers,
            seed=self.seed,
            search_settings={**settings, **parse_settings(self.search)},
            sampler=self.sampler,
            initial_configs=tuple(_parse_config(pairs) for pairs in self.try_),
        )


@dataclass(frozen=True)
class Study(Master):
    """Run a whole tuning study on this machine: name server, BOHB master and worker processes in one command.

    The defaults are a study of a few minutes on a laptop, with nothing to download: DARTS on search space 1 and
    real images of digits.  Every found cell is looked up in the embedded table.
    """

    dataset: _Dataset = "digits"
    min_budget: int = 3
    max_budget: int = 12
    iterations: int = 6
    workers: int = 2
    host: _Host = "127.0.0.1"

    settings: ClassVar[Sequence[str]] = SMALL_SEARCH

    def run(self) -> int:
        """Runs the study with its own workers."""
        return run_study(self, local_workers=True)


@dataclass(frozen=True)
class Simulate:
    """Say what a recorded study would have taken with other numbers of workers, in virtual time.

    The study is run anew by its own tuner. A trial that the run holds takes as long, and ends, as it did there; any
    other one as a recorded trial at the same budget, drawn by chance.

    Attributes:
        run_dir: Directory of the run.
        workers: Numbers of workers.
        preempt_every_h: Hours after which each worker is preempted; its job runs again elsewhere.
        lose_every_h: Mean hours until a worker is lost with its job.
        replace_s: Seconds until a new worker takes the place of one that is gone.
        limit_h: Wall-clock hours after which the study ends.
        seed: Seed of the losses.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    workers: tuple[int, ...] = (1, 16, 64, 1000)
    preempt_every_h: float = float("inf")
    lose_every_h: float = float("inf")
    replace_s: float = 0.0
    limit_h: float = float("inf")
    seed: int = 0

    def run(self) -> int:
        """Prints a line for each number of workers."""
        from master.samplers import make_sampler
        from master.tuner import Tuner
        from master.virtual import Fleet, RecordedAnswers, simulate
        from results.reading import read_journals
        from results.run_directory import RunDirectory

        for name in ("preempt_every_h", "lose_every_h", "limit_h"):
            if not getattr(self, name) > 0:
                option = name.replace("_", "-")
                raise ValueError(f"--{option}: got {getattr(self, name)}, expected a number of hours above 0")
        fleets = [
            Fleet(
                n_workers=n_workers,
                lifetime_s=self.preempt_every_h * 3600,
                mean_time_to_loss_s=self.lose_every_h * 3600,
                replacement_s=self.replace_s,
                limit_s=self.limit_h * 3600,
                seed=self.seed,
            )
            for n_workers in self.workers
        ]
        run = RunDirectory.open(self.run_dir)
        spec, journals = run.spec(), read_journals(run)
        if not journals.results:
            raise ValueError(f"{self.run_dir}: got a run without results, expected some to tell how long a trial takes")
        print("\n".join(_recorded_lines(spec, journals)), flush=True)
        for fleet in fleets:
            answers = RecordedAnswers(journals.results)
            done = simulate(Tuner(spec, make_sampler(spec)), answers, fleet)
            own = answers.n_own / max(answers.n_own + answers.n_drawn, 1)
            print(f"{_simulated_line(fleet, done)}{own:>12.0%}", flush=True)
        return 0


def _recorded_lines(spec: "StudySpec", journals: "RunJournals") -> Iterator[str]:
    """What the run itself took, and the head of the table."""
    results = journals.results
    took_h = (max(r.finished for r in results) - min(r.submitted for r in results)) / 3600
    busy_h = sum(r.finished - r.started for r in results) / 3600
    share = sum(proposal.model_based for proposal in journals.configs.values()) / len(journals.configs)
    yield (
        f"Recorded: {len(results)} evaluations on {spec.n_workers} workers in {took_h:.3f} h, {busy_h:.3f} h of "
        f"trials, {share:.0%} of the configurations model-based"
    )
    yield f"{_SIMULATED_HEAD}{'as recorded':>12}"


def _print_plan(spec: "StudySpec", seconds_per_epoch: float) -> None:
    """Prints what a study would take, with its workers and with one."""
    from master.progress import schedule_line
    from master.samplers import make_sampler
    from master.study import complete_study
    from master.tuner import Tuner
    from master.virtual import Fleet, PlannedAnswers, simulate

    spec, answers = complete_study(spec), PlannedAnswers(seconds_per_epoch)
    print(f"{schedule_line(spec)}\nNothing is started. At {seconds_per_epoch:g} s per search epoch:\n{_SIMULATED_HEAD}")
    for n_workers in sorted({1, spec.n_workers, 2 * spec.n_workers}):
        fleet = Fleet(n_workers=n_workers)
        print(_simulated_line(fleet, simulate(Tuner(spec, make_sampler(spec)), answers, fleet)))


def _simulated_line(fleet: "Fleet", done: "VirtualRun") -> str:
    serial_s = sum(result.finished - result.started for result in done.results)
    speed_up = serial_s / done.duration_s if done.duration_s else 0.0
    return (
        f"{fleet.n_workers:>7}{len(done.results):>12}{done.duration_s / 3600:>10.3f}"
        f"{speed_up:>9.1f}{done.idle_share:>6.0%}{done.model_based_share:>12.0%}"
        f"{done.n_lost:>6}{done.n_preempted:>10}"
    )


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


def run_study(options: Master, *, local_workers: bool) -> int:
    """Checks the study, runs the master to the end and prints the report.

    Returns:
        1 if the study failed or no evaluation succeeded, else 0.

    Raises:
        ValueError: The options describe no study that can run; nothing was written.
    """
    from analysis.report import analyze
    from master.brackets import ladder
    from master.hosts import checked_host, outward_address
    from master.loop import StudyFailedError
    from master.progress import ProgressDisplay, schedule_line
    from master.study import create_run, run_master
    from worker.local import LocalWorkers, LocalWorkersFailedError
    from worker.study import check_study

    path = options.run_dir or _new_path()
    ladder(options.min_budget, options.max_budget, options.eta)
    spec = options.spec(path.name)
    check_study(spec)
    if options.plan is not None:
        _print_plan(spec, options.plan)
        return 0
    host = checked_host(options.host or outward_address())
    run = create_run(path, spec)
    print(f"Run directory: {path}\n{schedule_line(run.spec())}", flush=True)
    command = [sys.executable, str(_PROGRAM), "worker", str(run.path), "--wait-s", "120"]
    workers = LocalWorkers(command, spec.n_workers, run.path / "workers") if local_workers else nullcontext()
    try:
        with _sigterm_as_interrupt(), ProgressDisplay(spec) as display, workers as processes:

            def on_progress(progress: "Progress") -> None:
                display.show(progress)
                if processes is not None:
                    processes.watch()

            end = run_master(run, host=host, on_progress=on_progress)
    except (StudyFailedError, LocalWorkersFailedError) as error:
        print(f"study: {error}\n{_where_to_look(path)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(_where_to_look(path), file=sys.stderr)
        raise
    print(analyze(path).text)
    if end.incumbent is None:
        print(f"study: none of {end.n_done} evaluations succeeded; the report says how each ended", file=sys.stderr)
        return 1
    return 0


def _new_path() -> Path:
    """A path below ``runs/`` that does not exist, named by the time."""
    name = datetime.now().strftime("study-%Y%m%d-%H%M%S")
    names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
    return next(path for path in map(Path("runs").joinpath, names) if not path.exists())


def _where_to_look(path: Path) -> str:
    return f"finished evaluations are kept in {path}; `run_bohb.py analyze {path}` shows them"


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Treats a scheduler's or container's SIGTERM like Ctrl-C: workers are told to end, credentials are removed."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
