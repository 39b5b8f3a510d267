"""Running one search from its specification to its result, resumable at every epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch

import nas.oneshot as oneshot
from nas.oneshot import checkpoint
from nas.oneshot.checkpoint import CheckpointError, UnreadableCheckpointError
from nas.oneshot.data import load_data
from nas.oneshot.loop import Search, device_of
from nas.oneshot.memory import is_out_of_memory, keep_freed_memory
from nas.oneshot.native.library import NativeKernelsError, load
from nas.oneshot.report import SearchResult, SearchStatus
from nas.oneshot.spec import SearchSpec
from nas.oneshot.weights import DivergedError
from results.epoch import TRAJECTORY, EpochRecord, TableAnswer
from spaces import SEARCH_SPACES, Cell

if TYPE_CHECKING:
    from nas.tabular.table import Table

logger = logging.getLogger("nasbohb.search")


def run_search(
    spec: SearchSpec,
    table: Table | None = None,
    directory: Path | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    before_save: Callable[[EpochRecord], None] | None = None,
) -> SearchResult:
    """Runs one search, or goes on with the one that ``directory`` holds.

    Args:
        spec: What to search, and how.
        table: Where the cell of each epoch is looked up; nothing of it reaches the search.
        directory: Gets ``trajectory.jsonl`` (a line an epoch), ``checkpoint`` (after every epoch) and, at the end,
            ``architecture.json``, or ``failure.json`` if the search diverged or ran out of memory.  None keeps nothing.
        on_epoch: Called with each new epoch's report, once its line and checkpoint are on disk.
        before_save: Called with it before that: what it raises leaves the directory as it was.

    Returns:
        The result; a search that diverged or ran out of memory is a result too.

    Raises:
        ValueError: The specification is wrong, its data set is missing (``DatasetError``), or the directory
            holds another search (``CheckpointError``).
    """
    spec = choose_kernels(resolve(spec))
    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    if device_of(spec).type == "cpu":
        keep_freed_memory()
    run = _Run(spec, directory)
    status: SearchStatus = "ok"
    error = None
    try:
        search = run.start()
        for epoch in range(len(run.reports), spec.epochs):
            report = search.run_epoch(epoch)
            cell = search.space.cell_of(report.architecture_index)
            report = msgspec.structs.replace(report, table=table_figures(cell, table))
            if before_save:
                before_save(report)
            run.keep(report)
            if on_epoch:
                on_epoch(report)
    except DivergedError as failure:
        status, error = "diverged", f"{failure} in epoch {len(run.reports) + 1}; {_hyperparameters(spec)}"
    except (MemoryError, RuntimeError) as failure:
        if not is_out_of_memory(failure):
            raise
        where = f"in epoch {len(run.reports) + 1}" if run.search else "before the first epoch of this run"
        status, error = "out_of_memory", f"no memory left {where}; {_hyperparameters(spec)}"
    return run.end(status, error)


class _Run:
    """What a search has done so far, here or before it was killed, and the directory that keeps it.

    Args:
        spec: A specification without open fields.
        directory: None keeps nothing.

    Attributes:
        reports: Of the epochs completed.
        search: What computes; None until it is ready.
    """

    def __init__(self, spec: SearchSpec, directory: Path | None) -> None:
        self.spec = spec
        self.directory = directory
        self.reports: list[EpochRecord] = []
        self.search: Search | None = None
        self._computed = spec  # with the kernels of the last epoch
        self._search_s = 0.0

    def start(self) -> Search:
        """Goes on with what the directory holds, if it holds anything."""
        state = self._saved_state()
        search = Search(self.spec, load_data(self.spec))
        if state is not None:
            assert self.directory is not None, "a checkpoint lies in a directory"
            restore(search, state, self.directory)
            logger.info("%s: goes on after epoch %d of %d", self.directory, len(self.reports), self.spec.epochs)
            if self._computed.kernels != self.spec.kernels and len(self.reports) < self.spec.epochs:
                logger.warning(
                    "%s: goes on with %s kernels after %s ones, which round differently",
                    self.directory,
                    self.spec.kernels,
                    self._computed.kernels,
                )
        if self.directory:
            take_over(self.directory, self.reports, self.spec.epochs)
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
        differences = computed.differences(self.spec)
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
            checkpoint.append_lines(self.directory / TRAJECTORY, [report.to_dict()])
            reports = [report.to_dict() for report in (*self.reports, report)]
            state = {"spec": self.spec.to_dict(), "reports": reports, **self.search.state_dict()}
            checkpoint.write_checkpoint(self.directory, state)
        self.reports.append(report)
        self._computed = self.spec

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
                take_over(self.directory, self.reports, self.spec.epochs)
            self.directory.mkdir(parents=True, exist_ok=True)
            name, spec = (
                (checkpoint.ARCHITECTURE, self._computed) if status == "ok" else (checkpoint.FAILURE, self.spec)
            )
            checkpoint.write_json(self.directory / name, {**result.to_dict(), "spec": spec.to_dict()})
        return result


def what_was_computed(state: Mapping[str, Any], directory: Path) -> tuple[SearchSpec, list[EpochRecord]]:
    """The specification and the reports of a checkpoint.

    Raises:
        UnreadableCheckpointError: They are not of this version.
    """
    try:
        spec = SearchSpec(**state["spec"])
        reports = [EpochRecord.from_dict(report, "reports") for report in state["reports"]]
        if len(reports) > spec.epochs:
            raise ValueError(f"{len(reports)} reports of {spec.epochs} epochs")
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableCheckpointError(directory / checkpoint.CHECKPOINT, repr(error)) from error
    return spec, reports


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


def resolve(spec: SearchSpec) -> SearchSpec:
    """The specification with its open fields at the optimizer's defaults.

    Raises:
        ValueError: An unknown optimizer or search space, a field that the optimizer does not use, an optimizer that
            cannot be compiled or has too few channels, a warm start that leaves no epoch or has nothing to come after,
            native kernels where they never apply, or a device that is not here.
    """
    if spec.optimizer not in oneshot.METHODS:
        raise ValueError(f"optimizer: got {spec.optimizer!r}, expected one of {sorted(oneshot.METHODS)}")
    if spec.search_space not in SEARCH_SPACES:
        raise ValueError(f"search_space: got {spec.search_space!r}, expected one of {sorted(SEARCH_SPACES)}")
    method = oneshot.METHODS[spec.optimizer]
    for name in sorted({name for other in oneshot.METHODS.values() for name in other.defaults} - set(method.defaults)):
        if getattr(spec, name) is not None:
            raise ValueError(
                f"{name}: got {getattr(spec, name)!r}, but {spec.optimizer!r} does not use it; leave it out, or take "
                "a configuration space that does not tune it"
            )
    if spec.compile and method.changing_operations:
        raise ValueError(
            f"compile: got True for {spec.optimizer!r}, which computes other operations in every step; leave it off"
        )
    if spec.init_channels % method.channel_groups:
        raise ValueError(
            f"init_channels: got {spec.init_channels}, expected a multiple of {method.channel_groups} for "
            f"{spec.optimizer!r}, which mixes one of {method.channel_groups} parts"
        )
    if spec.warm_start_epochs and not method.updates_architecture():
        raise ValueError(
            f"warm_start_epochs: got {spec.warm_start_epochs}, but {spec.optimizer!r} updates nothing but the weights; "
            "leave it out"
        )
    if spec.warm_start_epochs >= spec.epochs:
        raise ValueError(
            f"warm_start_epochs: got {spec.warm_start_epochs}, expected fewer than the {spec.epochs} epochs, "
            "or the architecture is never updated"
        )
    if spec.kernels == "native" and (spec.precision != "float32" or spec.compile):
        raise ValueError(
            f"kernels: got 'native' with precision {spec.precision!r} and compile {spec.compile}, but they are for "
            "float32 and no compilation of the supernet; choose 'auto' or 'torch'"
        )
    check_device(spec.device)
    return method.resolve(spec)


def choose_kernels(spec: SearchSpec) -> SearchSpec:
    """The specification with the kernels that this machine will use, ``native`` or ``torch``.

    Raises:
        ValueError: Native kernels are asked for where they do not apply or cannot be compiled.
    """
    if spec.kernels == "torch":
        return spec
    device = device_of(spec)
    if device.type != "cpu" or spec.precision != "float32" or spec.compile:
        if spec.kernels == "native":
            raise ValueError(f"kernels: got 'native', but they are for the CPU, not {device}; choose 'auto' or 'torch'")
        return replace(spec, kernels="torch")
    try:
        load()
    except NativeKernelsError as error:
        if spec.kernels == "native":
            raise ValueError(f"kernels: got 'native', but {error}; choose 'auto' or 'torch'") from error
        logger.warning("PyTorch computes the cells, more slowly: %s", error)
        return replace(spec, kernels="torch")
    return replace(spec, kernels="native")


def check_device(name: str) -> None:
    """Raises ``ValueError`` unless this machine can compute there; ``auto`` always can."""
    if name == "auto":
        return
    try:
        torch.zeros(1, device=name).item()  # the "meta" device holds nothing
    except (RuntimeError, AssertionError) as error:  # PyTorch without CUDA asserts
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"device: got {name!r}, expected 'cpu', 'auto' or a device of this machine ({reason}); choose another"
        ) from None


def take_over(directory: Path, reports: list[EpochRecord], epochs: int) -> None:
    """Makes the directory, which may be new, hold these epochs of so many, and nothing unfinished or older.

    The line of an epoch is written before its checkpoint: one without it belongs to an epoch that is run again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    checkpoint.remove_unfinished(directory)
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


def _hyperparameters(spec: SearchSpec) -> str:
    """The specification in one line."""
    return ", ".join(f"{name} {value}" for name, value in spec.to_dict().items() if value is not None)
