"""nasbohb: tune one-shot neural architecture search with BOHB, on NAS-Bench-101's search spaces.

The command line: it parses, wires the packages together, and exits.  Exit status: 0 where all went well, 2 for
input that cannot be used (one line says why), 1 where a study or a search failed, 130 on Ctrl-C.

The project's parts are imported inside the commands, so that each starts with what it needs and no more.
"""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from master.bohb import Progress
    from results.records import StudySpec

#: What makes the searches of a study on one machine small; an option of the same name wins.
SMALL_SEARCH = ("init_channels=8", "cells_per_stack=1", "batch_size=32", "threads=1")
PROGRAM = "nasbohb" if Path(sys.argv[0]).stem == "nasbohb" else "run_bohb.py"


@dataclass(frozen=True)
class Study:
    """Run a whole tuning study on this machine: name server, BOHB master and worker processes in one command.

    The defaults are a study of a few minutes on a laptop, with nothing to download: DARTS on search space 1, on
    real images of digits, every found cell looked up in the embedded table.

    Attributes:
        run_dir: The run's directory, which must not exist yet; by default a new one below ``runs/``.
        optimizer: The one-shot optimizer to tune: {optimizers}.
        search_space: The search space: {spaces}.
        config_space: The hyperparameters to tune: {config_spaces}.
        dataset: The images to search on: {datasets}.
        data_dir: The folder that holds cifar-10-batches-py; digits need none.
        table: {tables}, or the path of a table's directory.
        table_epochs: The table's budget (epochs) whose validation error is minimised; by default its largest.
        min_budget: The smallest number of search epochs.
        max_budget: The largest number of search epochs.
        eta: The factor between budgets; the best 1/eta of the configurations go on.
        iterations: Iterations of successive halving.
        workers: How many workers.
        seed: The study's seed.
        search: Settings of all searches, as name=value (names: ``run_bohb.py search --help``), beside
            {small_search} of a study (a master adds none), but for what the configuration space tunes.
        host: The address to listen at, one of this machine that the workers can reach; by default this machine
            alone for a study, the address that leads outward for a master.
    """

    run_dir: Path | None = None
    optimizer: str = "darts"
    search_space: str = "1"
    config_space: str = "cs2"
    dataset: str = "digits"
    data_dir: Path | None = None
    table: str = "digits"
    table_epochs: int | None = None
    min_budget: int = 3
    max_budget: int = 12
    eta: int = 2
    iterations: int = 6
    workers: int = 2
    seed: int = 0
    search: tuple[str, ...] = ()
    host: str | None = "127.0.0.1"

    def run(self) -> int:
        """Runs the study with its own workers."""
        return _run_study(self, local_workers=True)


@dataclass(frozen=True)
class Master(Study):
    """Run the BOHB master of a study alone; start its workers elsewhere with ``run_bohb.py worker``.

    The defaults are the paper's study: budgets 25, 50 and 100, 64 iterations, 16 workers, CIFAR-10, NAS-Bench-101.
    """

    run_dir: Path | None = None
    dataset: str = "cifar10"
    data_dir: Path | None = Path("data")
    table: str = "nasbench101"
    min_budget: int = 25
    max_budget: int = 100
    iterations: int = 64
    workers: int = 16
    search: tuple[str, ...] = ()
    host: str | None = None

    def run(self) -> int:
        """Runs the master; workers come by themselves."""
        return _run_study(self, local_workers=False)


@dataclass(frozen=True)
class Worker:
    """Run one worker of a study: it waits for the master, evaluates what it is sent, and ends with the study.

    Attributes:
        run_dir: The run's directory, on a file system that master and workers share.
        host: The address to listen at; by default the one that reaches the master.
        wait_s: Seconds to wait for the master to start.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    host: str | None = None
    wait_s: float = 3600.0

    def run(self) -> int:
        """Works until the study ends."""
        from worker.service import MasterNotFoundError, WorkerSettings, run_worker

        try:
            reason = run_worker(self.run_dir, host=self.host, settings=WorkerSettings(start_limit_s=self.wait_s))
        except MasterNotFoundError as error:
            return _fail(error, status=1)
        print(f"worker ended: {reason}")
        return 0


@dataclass(frozen=True)
class Analyze:
    """Analyse a run, also while it goes on: incumbents, the default configuration beside them, times, plots.

    Attributes:
        run_dir: The run's directory; the files go to its folder ``report``.
        table: The table to measure the test regret from; by default the study's.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    table: str | None = None

    def run(self) -> int:
        """Writes the report and prints its text."""
        print(_analyse(self.run_dir, self.table))
        return 0


@dataclass(frozen=True)
class Spaces:
    """Count the search spaces by exhaustive enumeration, beside the numbers of the paper's Table 1."""

    def run(self) -> int:
        """Prints a line for each space."""
        from spaces import SEARCH_SPACES
        from spaces.enumeration import count

        print(f"{'space':>5} {'all choices':>12} {'with loose ends':>22} {'without':>22} {'without isomorphs':>22}")
        for space in SEARCH_SPACES.values():
            counts = count(space)
            computed = (counts.with_loose_ends, counts.without_loose_ends, counts.without_isomorphs)
            paper = space.paper_counts or ("-",) * 3
            cells = [
                f"{ours:,} (paper {theirs:,})" if theirs != "-" else f"{ours:,}"
                for ours, theirs in zip(computed, paper, strict=True)
            ]
            print(f"{space.name:>5} {counts.all_choices:>12,} " + " ".join(f"{cell:>22}" for cell in cells))
        print(
            "\nall choices: product of all choices of parents and operations; with loose ends: sum over connectivity\n"
            "patterns of 3^(blocks with an outgoing edge); without: distinct pruned cells whose vertices keep their\n"
            "numbers; without isomorphs: distinct NAS-Bench-101 hashes.  The paper's table mixes the first two."
        )
        return 0


def _study_command(command: type[Study]) -> type[Study]:
    """The command, its help naming what there is to choose from."""
    from nas.oneshot import METHODS
    from nas.oneshot.data import DATASETS
    from nas.tabular import TABLES
    from spaces import CONFIG_SPACES, SEARCH_SPACES

    names: dict[str, Iterable[str]] = {
        "optimizers": METHODS,
        "spaces": SEARCH_SPACES,
        "config_spaces": CONFIG_SPACES,
        "datasets": DATASETS,
        "tables": TABLES,
    }
    assert Study.__doc__ is not None
    choices = {what: " or ".join(keys) for what, keys in names.items()}
    Study.__doc__ = Study.__doc__.format(**choices, small_search=" ".join(SMALL_SEARCH))
    return command


def _search_command() -> type:
    """The ``search`` command, its help naming what there is to choose from; its package loads PyTorch."""
    from nas.oneshot import METHODS, SearchSpec
    from nas.oneshot.commands import Search
    from nas.oneshot.data import DATASETS
    from spaces import SEARCH_SPACES

    for place, keys in (
        ("nas.oneshot.METHODS", METHODS),
        ("spaces.SEARCH_SPACES", SEARCH_SPACES),
        ("nas.oneshot.data.DATASETS", DATASETS),
    ):
        assert SearchSpec.__doc__ is not None
        SearchSpec.__doc__ = SearchSpec.__doc__.replace(f", a key of ``{place}``", f": {' or '.join(keys)}")
    return Search


def _evaluate_command() -> type:
    """The ``evaluate`` command; its package loads PyTorch."""
    from nas.oneshot.commands import Evaluate

    return Evaluate


def _table_commands() -> dict[str, Any]:
    """The commands below ``table``."""
    from nas.tabular import commands

    return {
        "import": commands.Import,
        "download": commands.Download,
        "info": commands.Info,
        "query": commands.Query,
        "measure": commands.Measure,
    }


#: Command -> one line for the overview, and how to load its options (None: a group of its own).
COMMANDS: dict[str, tuple[str, Callable[[], Any]]] = {
    "study": ("a whole tuning study on this machine, in one command", lambda: _study_command(Study)),
    "master": ("the BOHB master of a study on a cluster", lambda: _study_command(Master)),
    "worker": ("one worker of such a study", lambda: Worker),
    "analyze": ("incumbents, comparison with the default configuration, plots of a run", lambda: Analyze),
    "search": ("one architecture search by itself", _search_command),
    "evaluate": ("architectures with the shared weights of a search, and the rank correlation", _evaluate_command),
    "table": ("import, download, info, query, measure: tables of stand-alone results", _table_commands),
    "spaces": ("the sizes of the search spaces, computed and in the paper", lambda: Spaces),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; see the module for the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"{PROGRAM}: got command {name!r}, expected one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    # PyTorch's threads otherwise spin while they wait for each other: beside other work a search took ten times as long
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("nasbohb").setLevel(logging.INFO)
    logging.getLogger("hpbandster").setLevel(logging.CRITICAL)  # what it has to say, the master says
    try:
        command = COMMANDS[name][1]()
        prog = f"{PROGRAM} {name}"
        if isinstance(command, dict):
            options = tyro.extras.subcommand_cli_from_dict(command, prog=prog, description=COMMANDS[name][0], args=rest)
        else:
            options = tyro.cli(command, prog=prog, args=rest)
        status: int = options.run()
        return status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read the output has gone
        return 1
    except (ValueError, OSError) as error:
        if os.environ.get("NASBOHB_TRACEBACK"):
            raise
        return _fail(error, status=2)


def _overview() -> str:
    lines = [f"usage: {PROGRAM} COMMAND [options]      ({PROGRAM} COMMAND --help explains each)", ""]
    assert __doc__ is not None
    lines += [__doc__.partition("\n")[0], ""]
    lines += [f"  {name:<10}{line}" for name, (line, _) in COMMANDS.items()]
    lines += ["", f"Start with `{PROGRAM} study`: a real study in minutes, with nothing to download."]
    return "\n".join(lines)


def _fail(error: Exception | str, status: int) -> int:
    print(f"{PROGRAM}: {error}", file=sys.stderr)
    return status


def _run_study(options: Study, local_workers: bool) -> int:
    """Checks everything that can be checked, then runs the master to the end and prints the report."""
    from master.bohb import StudyFailedError
    from master.progress import ProgressDisplay
    from master.study import create_run, run_master
    from worker.local import LocalWorkers, LocalWorkersFailedError

    path = options.run_dir or Path("runs") / datetime.now().strftime("study-%Y%m%d-%H%M%S")
    spec = _study_spec(options, path.name, SMALL_SEARCH if local_workers else ())
    _check_study(spec)
    host = _checked_host(options.host or _outward_address())
    run = create_run(path, spec)
    print(f"Run directory: {path}", flush=True)
    command = [sys.executable, __file__, "worker", str(run.path), "--wait-s", "120"]
    workers = LocalWorkers(command, spec.n_workers, run.path / "workers") if local_workers else nullcontext()
    try:
        with _sigterm_as_interrupt(), ProgressDisplay(spec) as display, workers as processes:

            def on_progress(progress: "Progress") -> None:
                display.show(progress)
                if processes is not None:
                    processes.watch()

            run_master(run, host=host, on_progress=on_progress)
    except (StudyFailedError, LocalWorkersFailedError) as error:
        return _fail(f"{error}\n{_where_to_look(path)}", status=1)
    except KeyboardInterrupt:
        print(_where_to_look(path), file=sys.stderr)
        raise
    print(_analyse(path, None))
    return 0


def _where_to_look(path: Path) -> str:
    return f"what was evaluated is kept in {path}; `{PROGRAM} analyze {path}` shows it"


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """A scheduler's or container's request to end is handled as Ctrl-C is: workers are told, credentials go."""

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


def _outward_address() -> str:
    """The address of this machine on the way to others; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address reserved for documentation
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _checked_host(host: str) -> str:
    """Raises ``ValueError`` unless this machine can listen at the address."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            address = probe.getsockname()[0]
    except OSError as error:
        raise ValueError(
            f"host: got {host!r}, expected an address of this machine ({error}); see `hostname -I`"
        ) from None
    if address.startswith("127.") and host not in ("127.0.0.1", "localhost"):
        logging.getLogger("nasbohb").warning("host %s is %s: only workers on this machine will reach it", host, address)
    return host


def _study_spec(options: Study, run_id: str, settings: Sequence[str] = ()) -> "StudySpec":
    from master.brackets import ladder
    from nas.oneshot.commands import parse_settings
    from nas.tabular import TABLES, open_table
    from results.records import StudySpec
    from spaces import find_config_space

    own = parse_settings(options.search)
    tuned = sorted(set(own) & set(find_config_space(options.config_space).default))
    if tuned:
        raise ValueError(
            f"search: got {tuned}, which configuration space {options.config_space} tunes; leave them out, or take one "
            "that does not"
        )
    ladder(options.min_budget, options.max_budget, options.eta)
    table = open_table(options.table)
    # Workers may start in other folders: whatever is no part of the package is named by its whole path.
    place = TABLES[options.table].path() if options.table in TABLES else Path(options.table)
    is_embedded = options.table in TABLES and place.is_absolute()
    return StudySpec(
        run_id=run_id,
        optimizer=options.optimizer,
        search_space=options.search_space,
        config_space=options.config_space,
        dataset=options.dataset,
        data_dir=None if options.data_dir is None else str(options.data_dir.absolute()),
        table=options.table if is_embedded else str(place.absolute()),
        table_epochs=table.budgets[-1] if options.table_epochs is None else options.table_epochs,
        min_budget=options.min_budget,
        max_budget=options.max_budget,
        eta=options.eta,
        n_iterations=options.iterations,
        n_workers=options.workers,
        seed=options.seed,
        search_settings={**parse_settings(settings), **own},
    )


def _check_study(spec: "StudySpec") -> None:
    """Raises ``ValueError`` where a worker would fail in every trial; nothing is written before."""
    from nas.oneshot import SearchSpec
    from nas.oneshot.data import load_data
    from nas.oneshot.search import resolve
    from nas.tabular import open_table
    from nas.tabular.on_demand import can_measure
    from spaces import SEARCH_SPACES, find_config_space

    fixed: dict[str, Any] = {
        "optimizer": spec.optimizer,
        "search_space": spec.search_space,
        "dataset": spec.dataset,
        "data_dir": spec.data_dir,
        "epochs": spec.min_budget,
        "seed": spec.seed,
        "split": "tuning",  # the table's validation images are what the study's objective comes from
    }
    clashes = sorted(set(spec.search_settings) & set(fixed))
    if clashes:
        raise ValueError(f"search: got {clashes}, which the study itself sets; leave them out, or use its own options")
    settings: dict[str, Any] = {**spec.search_settings, **find_config_space(spec.config_space).default}
    load_data(resolve(SearchSpec(**fixed, **settings)))
    table, space = open_table(spec.table), SEARCH_SPACES[spec.search_space]
    if spec.table_epochs not in table.budgets:
        raise ValueError(f"table_epochs: got {spec.table_epochs}, expected one of {list(table.budgets)}")
    held, size = table.coverage(space)
    if held < size and not can_measure(table):
        raise ValueError(
            f"table: got {spec.table}, which holds {held:,} of the {size:,} architectures of search space {space.name}"
            ", expected all, or a table that was measured here; choose another table or another space"
        )


def _analyse(run_dir: Path, table_name: str | None) -> str:
    """The report's text; without a test regret, and a line why, where the table knows no best cell of the space."""
    from analysis.report import analyze
    from nas.tabular import TableError, open_table
    from results.run_directory import RunDirectory
    from spaces import SEARCH_SPACES

    spec = RunDirectory.open(run_dir).spec()
    name = table_name or spec.table
    try:
        table = open_table(name)
    except TableError as error:
        if table_name is not None:
            raise
        return f"{analyze(run_dir).text}\n(no test regret: {error})"
    held, size = table.coverage(SEARCH_SPACES[spec.search_space])
    if held < size:
        why = f"table {name} holds {held:,} of the {size:,} architectures of search space {spec.search_space}"
        return f"{analyze(run_dir).text}\n(no test regret: {why}, so its best cell is not known)"
    return analyze(run_dir, table).text


if __name__ == "__main__":
    sys.exit(main())
