"""A study from beginning to end, as the command line runs it."""

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
    """A new run's directory for a study, which is checked and completed by ``complete_study``.

    Raises:
        ValueError: As ``complete_study``, or the path exists already; nothing is written then.
        OSError: It cannot be written.
    """
    spec = complete_study(spec)
    space = find_config_space(spec.config_space)
    return RunDirectory.create(path, spec, space.build(spec.seed).to_serialized_dict())


def complete_study(spec: StudySpec) -> StudySpec:
    """Checks what the master needs to know of a study, and completes its configurations.

    The study's ``default_config`` and ``initial_configs`` may name some hyperparameters alone.  The returned ones are
    whole: what the one leaves out has the space's default, what the others leave out has that of the former, which
    follows them.

    Raises:
        ValueError: The budgets make no ladder, the sampler or the configuration space is unknown, an initial
            configuration does not lie in the space, there are too many of them, or a count is below 1.
    """
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
    """What a study evaluates first: the given configurations, then the default one; a list is that list alone."""
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
        run: Made by ``create_run``, and without results yet.
        host: The address to listen at: one of this machine that the workers can reach.
        dispatcher_settings: When workers count as lost; None for the defaults.
        wait_settings: How long to wait for workers; None for the defaults.
        on_progress: Called in this thread after each result, and every few seconds without one.

    Returns:
        Where the study stands at its end.

    Raises:
        ValueError: The run has results already.
        StudyFailedError: The same bug came back too often, or no workers came.
        DispatcherError: A thread of the dispatcher has died.
        OSError: The host is no address of this machine, or a result could not be written.
    """
    if run.configs_json.stat().st_size:
        raise ValueError(
            f"{run.path}: got a run that was started already, expected a new one; choose another directory"
        )
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
