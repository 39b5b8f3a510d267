"""Creating a run, and running a study to its end, for the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from master.dispatcher import Dispatcher
from master.limits import StudyLimits
from master.loop import MasterLoop, Progress
from master.nameserver import name_server
from master.ports import ANY_PORTS, Ports
from master.recorder import Recorder
from master.samplers import make_sampler
from master.settings import DispatcherSettings, WaitSettings
from master.signals import StopFlag
from master.status_file import StatusFile
from master.tuner import Tuner
from master.warm_start import earlier_results
from results.master_status import Ending
from results.reading import RunJournals, read_journals
from results.records import StudySpec, Value
from results.run_directory import RunDirectory
from results.run_lock import locked
from results.warm_start import FILE as WARM_START
from results.warm_start import read_warm_start, warm_start_content
from spaces import TunerSpace, find_config_space


def create_run(path: Path | str, spec: StudySpec) -> RunDirectory:
    """Creates the directory of a study's run, after ``complete_study``.

    Raises:
        ValueError: ``complete_study`` refuses the study, ``earlier_results`` its warm start, or the path exists
            already.  Nothing is written.
        OSError: The directory cannot be written.
    """
    spec = complete_study(spec)
    space = find_config_space(spec.config_space)
    earlier = earlier_results(spec)
    files = {WARM_START: warm_start_content(earlier)} if earlier else {}
    return RunDirectory.create(path, spec, space.build(spec.seed).to_serialized_dict(), files=files)


def complete_study(spec: StudySpec) -> StudySpec:
    """Checks the fields that the master needs, and completes the configurations.

    The study's ``default_config`` and ``initial_configs`` may name only some hyperparameters.  Those that are returned
    are whole: the space's defaults complete ``default_config``, which completes the ``initial_configs`` and follows
    them.

    Raises:
        ValueError: A field has a value of another type; the budgets make no ladder; the sampler or the configuration
            space is unknown; an initial configuration does not lie in the space; there are too many of them; or a
            count is below 1.
    """
    spec = StudySpec.from_dict(spec.to_dict(), "study")
    for name, value in (("n_iterations", spec.n_iterations), ("n_workers", spec.n_workers)):
        if value < 1:
            raise ValueError(f"{name}: got {value}, expected at least 1")
    if spec.keep_every < 0:
        raise ValueError(f"--keep-every: got {spec.keep_every}, expected at least 0")
    space = find_config_space(spec.config_space)
    spec = msgspec.structs.replace(spec, default_config=space.complete(spec.default_config))
    spec = msgspec.structs.replace(spec, initial_configs=_initial_configs(spec, space))
    n_configs = sum(bracket.sizes[0] for bracket in make_sampler(spec).brackets(spec))
    if len(spec.initial_configs) > n_configs:
        raise ValueError(
            f"--try: got {len(spec.initial_configs)} configurations, the default among them, expected at most the "
            f"{n_configs} that the study evaluates; raise --iterations, or try fewer"
        )
    return spec


def _initial_configs(spec: StudySpec, space: TunerSpace) -> tuple[Mapping[str, Value], ...]:
    """Lists the first configurations of a study: the given ones, then (not for ``listed``) the default one."""
    try:
        given = tuple(space.complete({**spec.default_config, **config}) for config in spec.initial_configs)
    except ValueError as error:
        raise ValueError(f"--try: {error}") from error
    return given if spec.sampler == "listed" or spec.default_config in given else (*given, spec.default_config)


def run_master(
    run: RunDirectory,
    *,
    resume: bool = False,
    host: str = "127.0.0.1",
    ports: Ports = ANY_PORTS,
    dispatcher_settings: DispatcherSettings | None = None,
    wait_settings: WaitSettings | None = None,
    limits: StudyLimits | None = None,
    stop: StopFlag | None = None,
    comes_back: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """Runs the study that ``run`` describes to its end, to a limit or to an interrupt; its workers end with it.

    Args:
        run: Run from ``create_run``.
        resume: True to go on where an earlier master of the run ended, however it ended.
        host: Address to listen at, one of this machine that the workers can reach.
        ports: Ports to listen at.
        dispatcher_settings: Limits after which workers count as lost; None for the defaults.
        wait_settings: Limits of the waits; None for the defaults.
        limits: Limits of the study; None for none.
        stop: Flag that interrupts the study; None for none.
        comes_back: True if a scheduler starts another master of the run after a signal: the workers then wait for it.
        on_progress: Callback in this thread, at the start, after each result, and every few seconds without one.

    Returns:
        The state of the study at the end of this master, and the way in which it ended.

    Raises:
        ValueError: Another master is at work; the run was started already, and ``resume`` is
            False; or its journal is damaged or another study's.
        StudyFailedError: The same bug came back too often, no workers came, or nothing could be written.
        DispatcherError: A thread of the dispatcher has died.
        OSError: The host is no address of this machine, none of the ports is free, or the run's directory cannot be
            written.
    """
    waits = wait_settings or WaitSettings()
    description = run.describe()
    if description.imported_from is not None:
        raise ValueError(
            f"{run.path}: this run was imported from {description.imported_from}, so it cannot go on here; start a new "
            f"study with --warm-start {run.path}"
        )
    with locked(run):
        spec = description.spec
        journals = _journals(run, resume)
        tuner = Tuner(spec, make_sampler(spec), read_warm_start(run))
        tuner.replay(journals.configs, journals.results)
        status = StatusFile(run, tuner.n_done, waits.message_interval_s)
        status.update((), ())
        with Recorder(run, journals.configs) as recorder, _ending_on_failure(status):
            with name_server(run, spec.run_id, host, ports) as credentials:
                dispatcher = Dispatcher(credentials, host, dispatcher_settings, ports)
                loop = MasterLoop(
                    tuner, dispatcher, recorder, status,
                    before=journals.results, wait_settings=waits, limits=limits, stop=stop, comes_back=comes_back,
                    on_progress=on_progress,
                )  # fmt: skip
                dispatcher.run()
                ending = None
                try:
                    ending = loop.run()
                    status.end(ending, loop.limit_reached() or "")  # before workers are told to end
                finally:
                    dispatcher.shutdown(shutdown_workers=ending is not Ending.SUSPENDED)
                    loop.settle()
            return dataclasses.replace(loop.progress(), ending=ending)


def _journals(run: RunDirectory, resume: bool) -> RunJournals:
    """Reads the journals of a run; none of its lines may be damaged, but for a torn last one.

    Raises:
        ValueError: The run was started already, and ``resume`` is False; or a line is damaged, or a file is missing.
    """
    journals = read_journals(run)
    if not resume and run.configs_json.stat().st_size:
        raise ValueError(
            f"{run.path}: this run was started already; go on with it by `--resume {run.path}`, or choose another name"
        )
    if journals.missing:
        raise ValueError(f"{run.path}: {', '.join(journals.missing)} is missing; restore it from a copy")
    if journals.left_out:
        raise ValueError(
            f"{run.path}: the journal is damaged, so the study cannot go on: {journals.left_out[0]}; restore the file "
            "from a copy, or remove the line"
        )
    return journals


@contextmanager
def _ending_on_failure(status: StatusFile) -> Iterator[None]:
    """Marks the study as failed, or as interrupted, when an exception ends the master."""
    try:
        yield
    except Exception as error:
        status.end(Ending.FAILED, str(error))
        raise
    except BaseException as error:
        status.end(Ending.INTERRUPTED, type(error).__name__)
        raise
