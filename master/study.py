"""A study from beginning to end, as the command line runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from master.bohb import BohbMaster, Progress, WaitSettings
from master.brackets import ladder
from master.dispatcher import DispatcherSettings
from master.kde import KdeSampler, KdeSettings
from master.nameserver import name_server
from master.proposals import Proposals
from master.recorder import Recorder
from master.wire import configure_pyro
from results.records import StudySpec
from results.run_directory import RunDirectory
from spaces import find_config_space


def create_run(path: Path | str, spec: StudySpec) -> RunDirectory:
    """A new run's directory for a study, after a check of what the master needs to know of it.

    Raises:
        ValueError: The budgets make no ladder, the configuration space is unknown, a count is below 1, or
            the path exists already; nothing is written then.
        OSError: It cannot be written.
    """
    ladder(spec.min_budget, spec.max_budget, spec.eta)
    for name, value in (("n_iterations", spec.n_iterations), ("n_workers", spec.n_workers)):
        if value < 1:
            raise ValueError(f"{name}: got {value}, expected at least 1")
    space = find_config_space(spec.config_space).build(spec.seed)
    return RunDirectory.create(path, spec, space.to_serialized_dict())


def run_master(
    run: RunDirectory,
    *,
    host: str = "127.0.0.1",
    kde_settings: KdeSettings | None = None,
    dispatcher_settings: DispatcherSettings | None = None,
    wait_settings: WaitSettings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """Runs the study that ``run`` describes to its end; its workers end with it, also on an interrupt.

    Args:
        run: Made by ``create_run``, and without results yet.
        host: The address to listen at: one of this machine that the workers can reach.
        kde_settings: Of the model; None for BOHB's defaults.
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
    configure_pyro()
    space = find_config_space(spec.config_space).build(spec.seed)
    with name_server(run, spec.run_id, host) as credentials:
        master = BohbMaster(
            spec,
            credentials,
            host,
            Proposals(KdeSampler(space, spec.seed, kde_settings)),
            Recorder(run),
            dispatcher_settings=dispatcher_settings,
            wait_settings=wait_settings,
            on_progress=on_progress,
        )
        try:
            master.run()
        finally:
            master.shutdown()
        return master.progress()
