"""Running one search from its specification to its result, resumable at every epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import nas.oneshot as oneshot
from nas.oneshot import checkpoint
from nas.oneshot.data import load_data
from nas.oneshot.loop import Search, device_of
from nas.oneshot.memory import is_out_of_memory, keep_freed_memory
from nas.oneshot.native.library import NativeKernelsError, load
from nas.oneshot.report import EpochReport, SearchResult, SearchStatus, TableFigures
from nas.oneshot.spec import SearchSpec
from nas.oneshot.weights import DivergedError
from spaces import SEARCH_SPACES

if TYPE_CHECKING:
    from nas.tabular.table import Table

logger = logging.getLogger("nasbohb.search")


def run_search(
    spec: SearchSpec,
    table: Table | None = None,
    directory: Path | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    before_save: Callable[[EpochReport], None] | None = None,
) -> SearchResult:
    """Runs one search, or goes on with the one that ``directory`` holds.

    Args:
        spec: What to search, and how.
        table: Where the cell of each epoch is looked up; nothing of it reaches the search.
        directory: Gets ``trajectory.jsonl`` (a line an epoch), ``architecture.json`` (at the end) and
            ``checkpoint`` (after every epoch).  None keeps nothing.
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
    reports: list[EpochReport] = []
    status: SearchStatus = "ok"
    error = None
    search_s = 0.0
    running = None
    try:
        state = saved_state(spec, directory) if directory else None
        if state is not None:
            reports = [EpochReport.from_dict(report) for report in state["reports"]]
            search_s = state["search_s"]
        search = Search(spec, load_data(spec))
        if state is not None:
            search.load_state_dict(state)
            del state
            logger.info("%s: goes on after epoch %d of %d", directory, len(reports), spec.epochs)
        if directory:
            take_over(directory, reports)
        running = search
        for epoch in range(len(reports), spec.epochs):
            report = _with_table(search.run_epoch(epoch), spec, table)
            if before_save:
                before_save(report)
            reports.append(report)
            if directory:
                checkpoint.append_line(directory / checkpoint.TRAJECTORY, report.to_dict())
                _save(search, reports, directory)
            if on_epoch:
                on_epoch(report)
    except DivergedError as failure:
        status, error = "diverged", f"{failure} in epoch {len(reports) + 1}; {_hyperparameters(spec)}"
    except (MemoryError, RuntimeError) as failure:
        if not is_out_of_memory(failure):
            raise
        where = f"in epoch {len(reports) + 1}" if running else "before the first epoch of this run"
        status, error = "out_of_memory", f"no memory left {where}; {_hyperparameters(spec)}"
    if running and directory:  # another worker's process, believed dead, may have written since
        take_over(directory, reports)
    result = _result(status, error, reports, running.search_s if running else search_s)
    if directory and status == "ok":
        checkpoint.write_json(directory / checkpoint.ARCHITECTURE, {**result.to_dict(), "spec": spec.to_dict()})
    return result


def resolve(spec: SearchSpec) -> SearchSpec:
    """The specification with its open fields at the optimizer's defaults.

    Raises:
        ValueError: An unknown optimizer or search space, one that cannot be compiled or has too few channels, a warm
            start that leaves no epoch, native kernels where they never apply, or a device that is not here.
    """
    if spec.optimizer not in oneshot.METHODS:
        raise ValueError(f"optimizer: got {spec.optimizer!r}, expected one of {sorted(oneshot.METHODS)}")
    if spec.search_space not in SEARCH_SPACES:
        raise ValueError(f"search_space: got {spec.search_space!r}, expected one of {sorted(SEARCH_SPACES)}")
    method = oneshot.METHODS[spec.optimizer]
    if spec.compile and method.changing_operations:
        raise ValueError(
            f"compile: got True for {spec.optimizer!r}, which computes other operations in every step; leave it off"
        )
    if spec.init_channels % method.channel_groups:
        raise ValueError(
            f"init_channels: got {spec.init_channels}, expected a multiple of {method.channel_groups} for "
            f"{spec.optimizer!r}, which mixes one of {method.channel_groups} parts"
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
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:  # PyTorch without CUDA asserts
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"device: got {name!r}, expected 'cpu', 'auto' or a device of this machine ({reason}); choose another"
        ) from None


def saved_state(spec: SearchSpec, directory: Path) -> dict[str, Any] | None:
    """The directory's checkpoint, None if there is none.

    Raises:
        CheckpointError: It cannot be read, or belongs to a search of another specification; or the directory is a file.
    """
    if directory.exists() and not directory.is_dir():
        raise checkpoint.CheckpointError(
            f"directory: got {directory}, which is a file; expected a directory or a new path"
        )
    state = checkpoint.read_checkpoint(directory)
    if state is not None:
        differences = SearchSpec(**state["spec"]).differences(spec)
        if differences:
            raise checkpoint.CheckpointError(
                f"{directory}: holds a search of another specification (got {', '.join(differences)}); "
                "choose another directory, or remove this one"
            )
    return state


def take_over(directory: Path, reports: list[EpochReport]) -> None:
    """Makes the directory, which may be new, hold these epochs and nothing unfinished.

    The line of an epoch is written before its checkpoint: one without it belongs to an epoch that is run again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    checkpoint.remove_unfinished(directory)
    checkpoint.write_lines(directory / checkpoint.TRAJECTORY, [report.to_dict() for report in reports])


def _save(search: Search, reports: list[EpochReport], directory: Path) -> None:
    state = {"spec": search.spec.to_dict(), "reports": [report.to_dict() for report in reports], **search.state_dict()}
    checkpoint.write_checkpoint(directory, state)


def _with_table(report: EpochReport, spec: SearchSpec, table: Table | None) -> EpochReport:
    """The report with what the table says of its cell."""
    if table is None:
        return report
    from nas.tabular.errors import CellNotInTableError

    space = SEARCH_SPACES[spec.search_space]
    cell = space.cell(space.decode(report.architecture))
    figures = {}
    for budget in table.budgets:
        try:
            entry = table.query(cell, budget)
        except CellNotInTableError:
            return report
        figures[budget] = TableFigures(entry.mean_validation_error, entry.mean_test_error, entry.mean_training_time_s)
    return replace(report, table=figures)


def _result(status: SearchStatus, error: str | None, reports: list[EpochReport], search_s: float) -> SearchResult:
    last = reports[-1] if reports else None
    return SearchResult(
        status=status,
        architecture=last.architecture if last else None,
        cell_hash=last.cell_hash if last else None,
        one_shot_validation_error=last.one_shot_validation_error if last else None,
        search_s=search_s,
        epochs=len(reports),
        error=error,
    )


def _hyperparameters(spec: SearchSpec) -> str:
    """The specification in one line."""
    return ", ".join(f"{name} {value}" for name, value in spec.to_dict().items() if value is not None)
