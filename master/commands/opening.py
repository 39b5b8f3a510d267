"""From the options of a study to a run: checks, and the directory."""

from __future__ import annotations

import logging
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from master.commands.study import StudyOptions
    from master.limits import StudyLimits
    from master.settings import DispatcherSettings
    from results.records import StudySpec
    from results.run_directory import RunDirectory

logger = logging.getLogger("nasbohb.master")

_LIMITS = ("limit_h", "limit_evaluations", "limit_epochs", "limit_simulated_h", "epoch_timeout_s", "trial_timeout_s")
#: Fields of ``StudyOptions`` that a master has anew each time it starts; every other one belongs to the study.
OF_THE_MASTER = ("host", "port_range", "nat_host", *_LIMITS)


def checked_study(options: StudyOptions) -> tuple[Path, StudySpec]:
    """Returns the path of the run and its study, after all checks; nothing is written.

    Raises:
        ValueError: The options describe no study that can run.
    """
    study_limits(options)
    path = options.resume or options.run_dir or _new_path()
    return path, _resumed_spec(options) if options.resume else _checked_spec(options, path)


def study_limits(options: StudyOptions) -> StudyLimits:
    """Makes the limits of the study; raises ValueError with the name of an option."""
    from master.limits import StudyLimits

    for name in _LIMITS:
        if not getattr(options, name) > 0:
            raise ValueError(f"--{name.replace('_', '-')}: got {getattr(options, name)}, expected a number above 0")
    return StudyLimits(
        wall_s=options.limit_h * 3600,
        evaluations=options.limit_evaluations,
        search_epochs=options.limit_epochs,
        simulated_s=options.limit_simulated_h * 3600,
    )


def dispatcher_settings(options: StudyOptions) -> DispatcherSettings:
    """Makes the limits after which a trial counts as hung, or is given up; ``study_limits`` has checked them."""
    from master.settings import DispatcherSettings

    return DispatcherSettings(epoch_timeout_s=options.epoch_timeout_s, trial_timeout_s=options.trial_timeout_s)


def _checked_spec(options: StudyOptions, path: Path) -> StudySpec:
    """The study of the options, after all checks."""
    from master.brackets import ladder
    from worker.study import check_study

    ladder(options.min_budget, options.max_budget, options.eta)
    spec = options.spec(path.name)
    check_study(spec)
    return spec


def _resumed_spec(options: StudyOptions) -> StudySpec:
    """The study of the run to go on with, after a check of its data and its table.

    Raises:
        ValueError: There is no such run, or an option would change its study.
    """
    from master.commands.study import StudyOptions
    from results.run_directory import RunDirectory
    from worker.study import check_study

    defaults = type(options)()
    names_of_study = [field.name for field in fields(StudyOptions) if field.name not in ("resume", *OF_THE_MASTER)]
    given = [name for name in names_of_study if getattr(options, name) != getattr(defaults, name)]
    if given:
        options_given = ", ".join(f"--{name.strip('_').replace('_', '-')}" for name in given)
        raise ValueError(f"--resume: got {options_given} as well, but the run has its study already; leave them out")
    assert options.resume is not None
    spec = RunDirectory.open(options.resume).spec()
    check_study(spec)
    return spec


def open_run(options: StudyOptions, path: Path, spec: StudySpec) -> RunDirectory:
    """Creates the run, or opens the one to go on with; says where it is and how much there is to do."""
    from master.progress import say, schedule_line
    from master.study import create_run
    from results.reading import read_journals
    from results.run_directory import RunDirectory, installed_versions

    if options.resume is None:
        run = create_run(path, spec)
        say(f"Run directory: {path}\n{schedule_line(run.spec())}")
        return run
    run = RunDirectory.open(path)
    n_results = len(read_journals(run).results)
    say(f"Run directory: {path}, with {n_results} results so far\n{schedule_line(spec)}")
    now = installed_versions()
    for name, version in run.describe().versions.items():
        if now.get(name) != version:
            logger.warning("the run began with %s %s, and goes on with %s", name, version, now.get(name))
    return run


def _new_path() -> Path:
    """A path below ``runs/`` that does not exist, named by the time."""
    name = datetime.now().strftime("study-%Y%m%d-%H%M%S")
    names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
    return next(path for path in map(Path("runs").joinpath, names) if not path.exists())
