"""Creating a run, and running a study to its end, for the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from master.dispatcher import Dispatcher, DispatcherSettings
from master.loop import MasterLoop, Progress, WaitSettings
from master.nameserver import name_server
from master.protocol import configure_pyro
from master.recorder import Recorder
from master.samplers import make_sampler
from master.tuner import Tuner
from results.records import StudySpec, Value
from results.run_directory import RunDirectory
from spaces import TunerSpace, find_config_space


def create_run(path: Path | str, spec: StudySpec) -> RunDirectory:
    """Creates the directory of a study's run, after ``complete_study``.

    Raises:
        ValueError: ``complete_study`` refuses the study, or the path exists already.  Nothing is written.
        OSError: The directory cannot be written.
    """
    spec = complete_study(spec)
    space = find_config_space(spec.config_space)
    return RunDirectory.create(path, spec, space.build(spec.seed).to_serialized_dict())


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
    host: str = "127.0.0.1",
    dispatcher_settings: DispatcherSettings | None = None,
    wait_settings: WaitSettings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """Runs the study that ``run`` describes to its end; its workers end with it, also on an interrupt.

    Args:
        run: Run from ``create_run``, without results yet.
        host: Address to listen at, one of this machine that the workers can reach.
        dispatcher_settings: Limits after which workers count as lost; None for the defaults.
        wait_settings: Limits of the wait for workers; None for the defaults.
        on_progress: Callback in this thread, after each result and every few seconds without one.

    Returns:
        The state of the study at its end.

    Raises:
        ValueError: The run has results already.
        StudyFailedError: The same bug came back too often, or no workers came.
        DispatcherError: A thread of the dispatcher has died.
        OSError: The host is no address of this machine, or a result could not be written.
    """
    if run.configs_json.stat().st_size:
        raise ValueError(f"{run.path}: this run was started already, and cannot be resumed; choose another directory")
    spec = run.spec()
    tuner = Tuner(spec, make_sampler(spec))
    configure_pyro()
    with name_server(run, spec.run_id, host) as credentials:
        dispatcher = Dispatcher(credentials, host, dispatcher_settings)
        loop = MasterLoop(tuner, dispatcher, Recorder(run), wait_settings=wait_settings, on_progress=on_progress)
        dispatcher.run()
        try:
            loop.run()
        finally:
            dispatcher.shutdown()
        return loop.progress()
