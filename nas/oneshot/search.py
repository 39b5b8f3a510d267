"""Running one search from its specification to its result, resumable at every epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from nas.oneshot import checkpoint
from nas.oneshot.checkpoint import CheckpointError, UnreadableCheckpointError
from nas.oneshot.data import load_data
from nas.oneshot.loop import Search
from nas.oneshot.model.memory import is_out_of_memory, keep_freed_memory
from nas.oneshot.model.weight_trainer import DivergedError
from nas.oneshot.report import SearchResult, SearchStatus
from nas.oneshot.resolve import choose_kernels, device_of, resolve
from nas.oneshot.spec import SearchSpec, Settings
from nas.oneshot.threads import use_threads
from results.epoch import TRAJECTORY, EpochRecord, TableAnswer
from spaces import Cell

if TYPE_CHECKING:
    from nas.tabular.table import Table

logger = logging.getLogger("nasbohb.search")


def run_search(
    spec: SearchSpec,
    table: Table | None = None,
    directory: Path | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    before_save: Callable[[EpochRecord], None] | None = None,
    *,
    keep_every: int = 0,
) -> SearchResult:
    """Runs one search, or goes on with the one that ``directory`` holds.

    Args:
        spec: Specification of the search.
        table: Table in which the cell of each epoch is looked up; nothing of it reaches the search.
        directory: Folder for ``trajectory.jsonl`` (one line per epoch), ``checkpoint`` (after every epoch) and, at the
            end, ``architecture.json``, or else ``failure.json``.  None keeps nothing.
        on_epoch: Called with each new epoch's report, once its line and checkpoint are on disk.
        before_save: Called with it before that: what it raises leaves the directory as it was.
        keep_every: Number of epochs between checkpoints that stay, for ``SharedWeights``; 0 keeps only the last one.

    Returns:
        The result, also of a search that diverged or ran out of memory.

    Raises:
        ValueError: The specification is wrong, its data set is missing (``DatasetError``), or the directory
            holds another search (``CheckpointError``).
    """
    settings = choose_kernels(resolve(spec))
    use_threads(settings.threads)
    if device_of(settings).type == "cpu":
        keep_freed_memory()
    run = _Run(settings, directory, keep_every)
    status: SearchStatus = "ok"
    error = None
    try:
        search = run.start()
        for epoch in range(len(run.reports), settings.epochs):
            report = search.run_epoch(epoch)
            cell = search.space.cell_of(report.architecture_index)
            report = msgspec.structs.replace(report, table=table_figures(cell, table))
            if before_save:
                before_save(report)
            run.keep(report)
            if on_epoch:
                on_epoch(report)
    except DivergedError as failure:
        status, error = "diverged", f"{failure} in epoch {len(run.reports) + 1}; {_hyperparameters(settings)}"
    except (MemoryError, RuntimeError) as failure:
        if not is_out_of_memory(failure):
            raise
        where = f"in epoch {len(run.reports) + 1}" if run.search else "before the first epoch of this run"
        status, error = "out_of_memory", f"no memory left {where}; {_hyperparameters(settings)}"
    return run.end(status, error)


class _Run:
    """State of a search, of this process or of one that was killed, and the directory that keeps it.

    Args:
        settings: The search.
        directory: None keeps nothing.
        keep_every: Number of epochs between checkpoints that stay; 0 keeps only the last one.

    Attributes:
        reports: Reports of the completed epochs.
        search: The parts that compute; None until they are ready.
    """

    def __init__(self, settings: Settings, directory: Path | None, keep_every: int) -> None:
        self.settings = settings
        self.directory = directory
        self.keep_every = keep_every
        self.reports: list[EpochRecord] = []
        self.search: Search | None = None
        self._computed = settings  # with the kernels of the last epoch
        self._search_s = 0.0

    def start(self) -> Search:
        """Goes on with what the directory holds, if it holds anything."""
        state = self._saved_state()
        search = Search(self.settings, load_data(self.settings))
        if state is not None:
            assert self.directory is not None, "a checkpoint lies in a directory"
            restore(search, state, self.directory)
            finished = len(self.reports) == self.settings.epochs
            if not finished:
                logger.info("%s: goes on after epoch %d of %d", self.directory, len(self.reports), self.settings.epochs)
            if not finished and self._computed.kernels != self.settings.kernels:
                logger.warning(
                    "%s: goes on with %s kernels after %s ones, which round differently",
                    self.directory,
                    self.settings.kernels,
                    self._computed.kernels,
                )
        if self.directory:
            take_over(self.directory, self.reports, self.settings.epochs)
        self.search = search
        return search

    def _saved_state(self) -> dict[str, Any] | None:
        """The directory's checkpoint, None if there is none.

        Raises:
            CheckpointError: It cannot be read, or is of a search of another specification; or the directory is a file.
        """
        if self.directory is None:
            return None
        if self.directory.exists() and not self.directory.is_dir():
            raise CheckpointError(
                f"directory: got {self.directory}, which is a file; expected a directory or a new path"
            )
        state = checkpoint.read_checkpoint(self.directory)
        if state is None:
            return None
        computed, reports = what_was_computed(state, self.directory)
        differences = computed.differences(self.settings)
        if differences:
            raise CheckpointError(
                f"{self.directory}: holds a search of another specification (got {', '.join(differences)}); "
                "choose another directory, or remove this one"
            )
        self.reports, self._computed = reports, computed
        self._search_s = reports[-1].search_s if reports else 0.0
        return state

    def keep(self, report: EpochRecord) -> None:
        """Writes an epoch's line, then its checkpoint."""
        assert self.search is not None, "an epoch has ended before the start"
        if self.directory:
            checkpoint.append_line(self.directory / TRAJECTORY, report.to_dict())
            reports = [report.to_dict() for report in (*self.reports, report)]
            state = {"spec": self.settings.to_dict(), "reports": reports, **self.search.state_dict()}
            checkpoint.write_checkpoint(self.directory, state)
            if self.keep_every and report.epoch % self.keep_every == 0:
                checkpoint.keep_checkpoint(self.directory, report.epoch)
        self.reports.append(report)
        self._computed = self.settings

    def end(self, status: SearchStatus, error: str | None) -> SearchResult:
        """The result, which the directory keeps too: as the architecture found, or as the failure."""
        last = self.reports[-1] if self.reports else None
        result = SearchResult(
            status=status,
            architecture_index=last.architecture_index if last else None,
            cell_hash=last.cell_hash if last else None,
            one_shot_validation_error=last.one_shot_validation_error if last else None,
            search_s=self.search.search_s if self.search else self._search_s,
            epochs=len(self.reports),
            error=error,
        )
        if self.directory:
            if self.search:  # another worker's process, believed dead, may have written since
                take_over(self.directory, self.reports, self.settings.epochs)
            self.directory.mkdir(parents=True, exist_ok=True)
            name, settings = (
                (checkpoint.ARCHITECTURE, self._computed) if status == "ok" else (checkpoint.FAILURE, self.settings)
            )
            checkpoint.write_json(self.directory / name, {**result.to_dict(), "spec": settings.to_dict()})
        return result


def what_was_computed(state: Mapping[str, Any], directory: Path) -> tuple[Settings, list[EpochRecord]]:
    """The settings and the reports of a checkpoint.

    Raises:
        UnreadableCheckpointError: The checkpoint is not of this version.
    """
    try:
        settings = Settings(**state["spec"])
        reports = [EpochRecord.from_dict(report, "reports") for report in state["reports"]]
        if len(reports) > settings.epochs:
            raise ValueError(f"{len(reports)} reports of {settings.epochs} epochs")
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableCheckpointError(directory / checkpoint.CHECKPOINT, repr(error)) from error
    return settings, reports


def restore(search: Search, state: Mapping[str, Any], directory: Path) -> None:
    """Puts a checkpoint into a search of the same specification.

    Raises:
        UnreadableCheckpointError: It does not fit, so it is not of this version.
    """
    try:
        search.load_state_dict(state)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise UnreadableCheckpointError(directory / checkpoint.CHECKPOINT, repr(error)) from error


def take_over(directory: Path, reports: list[EpochRecord], epochs: int) -> None:
    """Truncates the directory to the given completed epochs: removes temporary files and a longer run's results.

    The line of an epoch is written before its checkpoint: one without it belongs to an epoch that is run again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    checkpoint.remove_unfinished(directory)
    checkpoint.remove_kept(directory, after=len(reports))
    (directory / checkpoint.FAILURE).unlink(missing_ok=True)
    if len(reports) < epochs:
        (directory / checkpoint.ARCHITECTURE).unlink(missing_ok=True)
    checkpoint.write_lines(directory / TRAJECTORY, [report.to_dict() for report in reports])


def table_figures(cell: Cell, table: Table | None) -> dict[int, TableAnswer]:
    """Budget to what the table says of a cell; nothing if it lacks it, or there is no table."""
    from nas.tabular.errors import CellNotInTableError

    figures: dict[int, TableAnswer] = {}
    if table is None:
        return figures
    for budget in table.budgets:
        try:
            entry = table.query(cell, budget)
        except CellNotInTableError:
            return {}
        figures[budget] = TableAnswer(
            validation_error=entry.mean_validation_error,
            test_error=entry.mean_test_error,
            training_time_s=entry.mean_training_time_s,
        )
    return figures


def _hyperparameters(settings: Settings) -> str:
    """The settings in one line."""
    return ", ".join(f"{name} {value}" for name, value in settings.to_dict().items() if value is not None)
