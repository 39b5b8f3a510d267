"""The objective: runs one search per trial and looks up the found cell in the table.  It uses no Pyro.

``nas.oneshot`` loads PyTorch, so it is imported when the first trial runs.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nas.tabular import Table, open_table
from nas.tabular.matching import check_table_fits
from nas.tabular.measured.on_demand import measuring
from results.epoch import EpochRecord
from results.records import Evaluation, Status, TrialSpec
from results.trial_directory import read_trial_spec, write_trial_spec
from spaces import SEARCH_SPACES
from worker.placement import Placement

if TYPE_CHECKING:
    from nas.oneshot import SearchResult, SearchSpec

logger = logging.getLogger("nasbohb.worker")

#: Fields of ``SearchSpec`` that a study sets itself; its ``search_settings`` must not hold them.  The split is always
#: ``tuning``: the study's objective comes from the images that this split leaves out.
SET_BY_STUDY = frozenset({"optimizer", "search_space", "dataset", "data_dir", "epochs", "seed", "split"})

#: The data set and the table lie where the study says.
HERE = Placement()


def evaluate(
    trial: TrialSpec,
    directory: Path,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    worker: str | None = None,
    on_saved: Callable[[EpochRecord], None] | None = None,
    *,
    placement: Placement = HERE,
) -> Evaluation:
    """Runs a trial in its directory: writes ``spec.json``, ``log.txt``, and what the search writes.

    A search that was interrupted in the same directory goes on from its last epoch.  A finished one keeps its
    trajectory; its weights stay only if the study's ``keep_every`` says so.

    Args:
        trial: The trial.
        directory: Directory of the trial; made if it is missing.
        on_epoch: Callback after each epoch, before the epoch is saved.  It may raise an exception that is no
            ``Exception``: that one ends the trial, is passed on, and leaves the files to the worker that has the trial.
        worker: Name of the worker, for the record.
        on_saved: Callback after each epoch that is saved; it may raise like ``on_epoch``.
        placement: Place of the data set and of the table on this machine.

    Returns:
        The outcome of the trial.

    Raises:
        ValueError: The study names something unknown, its data set or table is missing, or they do not belong together.
        CellNotInTableError: The table does not hold the found cell.
    """
    _clear_another_trial(directory, trial)
    write_trial_spec(directory, trial)
    with _log_to(directory / "log.txt"):
        here = msgspec.structs.replace(trial, study=placement.of(trial.study))
        evaluation = msgspec.structs.replace(_run(here, directory, on_epoch, on_saved), seed=trial.seed, worker=worker)
        logger.info("ended as %s with loss %.5f", evaluation.status.value, evaluation.loss)
    return evaluation


def _clear_another_trial(directory: Path, trial: TrialSpec) -> None:
    """Removes the files of a trial that is not this one.

    A master that was killed before it had written a proposal may have handed it out.  Its successor may propose another
    configuration under the same id.
    """
    try:
        found = read_trial_spec(directory)
    except FileNotFoundError:
        return
    except ValueError as error:
        logger.warning("removing a trial that cannot be read: %s", error)
    else:
        if found == trial:
            return
        logger.warning("%s: removing another configuration's trial", directory)
    shutil.rmtree(directory)


def search_spec(trial: TrialSpec) -> SearchSpec:
    """Builds the search of a trial: the study's settings, overridden by the trial's configuration.

    Raises:
        BadConfigError: A value of the configuration is out of range.
        ValueError: A setting of the study is out of range.
        TypeError: The study or the configuration names a field that a search does not have.
    """
    from nas.oneshot import SearchSpec

    study = trial.study
    spec = SearchSpec(
        optimizer=study.optimizer,
        search_space=study.search_space,
        dataset=study.dataset,
        data_dir=study.data_dir,
        epochs=trial.budget,
        seed=trial.seed,
        **study.search_settings,  # type: ignore[arg-type]  # SearchSpec checks the values
    )
    try:
        return replace(spec, **trial.config)  # type: ignore[arg-type]  # likewise
    except ValueError as error:
        raise BadConfigError(str(error)) from error


class BadConfigError(ValueError):
    """No search can have this configuration."""


def _run(
    trial: TrialSpec,
    directory: Path,
    on_epoch: Callable[[EpochRecord], None] | None,
    on_saved: Callable[[EpochRecord], None] | None,
) -> Evaluation:
    from nas.oneshot.checkpoint import UnreadableCheckpointError, remove_checkpoint
    from nas.oneshot.search import run_search

    try:
        spec = search_spec(trial)
    except BadConfigError as error:
        return Evaluation(status=Status.BAD_CONFIG, error=str(error))
    table = _open_table(trial.study.table)
    check_table_fits(table, spec.dataset, spec.data_dir)  # an .npz file may have changed since the study began

    def search() -> SearchResult:
        return run_search(spec, table, directory, on_saved, on_epoch, keep_every=trial.study.keep_every)

    try:
        result = search()
    except UnreadableCheckpointError as error:
        logger.warning("removing a checkpoint that cannot be read, and starting the search again: %s", error)
        remove_checkpoint(directory)
        result = search()
    if not trial.study.keep_every:
        remove_checkpoint(directory)
    if result.status != "ok":
        return Evaluation(status=Status(result.status), t_search_s=result.search_s, error=result.error)
    assert result.architecture_index is not None, "a search that ended well has found a cell"
    space = SEARCH_SPACES[spec.search_space]
    entry = measuring(table, spec.dataset, spec.data_dir).query(
        space.cell_of(result.architecture_index), trial.study.table_epochs
    )
    return Evaluation(
        status=Status.OK,
        validation_error=entry.mean_validation_error,
        test_error=entry.mean_test_error,
        t_search_s=result.search_s,
        t_train_s=entry.mean_training_time_s,
        architecture_index=result.architecture_index,
        cell_hash=entry.cell_hash,
        one_shot_validation_error=result.one_shot_validation_error,
    )


#: A worker asks the same table in every trial.
_open_table: Callable[[str], Table] = lru_cache(maxsize=4)(open_table)


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Appends the project's log messages to a file while the context is open."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    project = logging.getLogger("nasbohb")
    project.addHandler(handler)
    try:
        yield
    finally:
        project.removeHandler(handler)
        handler.close()
