"""Import of a TFRecord of NAS-Bench-101 into a store.

The file is cut into parts that processes read independently.  A process begins at the first place in
its part that looks like a record.  A part counts only if it begins exactly where the part before it
ended; otherwise it is read again from there.  Therefore every byte of the file is verified, and an
error names the first bad row.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from nas.datasets import DatasetId
from nas.tabular.errors import TableError
from nas.tabular.index import index_spaces
from nas.tabular.nasbench101.assembling import assemble
from nas.tabular.nasbench101.fast_rows import parse_records
from nas.tabular.nasbench101.rows import Rows
from nas.tabular.nasbench101.tfrecord import file_size, read_part
from nas.tabular.store import check_target, write_indexed_store
from spaces import SEARCH_SPACES
from spaces.enumeration import enumerate_space

_PART_BYTES = 1 << 23  # the arrays of a part stay in the processor's cache
_STORE_SHARE = 0.2  # fraction of the source's size; a store takes less beside its index
_INDEX_BYTES = 10_000_000

#: Callback with the number of bytes done and of all bytes.
Progress = Callable[[int, int], None]


class _Submit(Protocol):
    """Starts a function, perhaps in another process; returns a function that gives the result."""

    def __call__(self, function: Callable[..., Any], /, *arguments: Any) -> Callable[[], Any]: ...


@dataclass(frozen=True)
class ImportReport:
    """Numbers of an import.

    Attributes:
        rows: Number of records of the source.
        cells: Number of distinct cells.
        budgets: Epochs of training, ascending.
        repeats: Number of trainings of each cell at each budget.
        source_bytes: Size of the source.
        store_bytes: Size of the store.
        seconds: Wall-clock time of the import.
    """

    rows: int
    cells: int
    budgets: tuple[int, ...]
    repeats: int
    source_bytes: int
    store_bytes: int
    seconds: float


def import_tfrecord(
    source: Path | str, target: Path | str, *, n_processes: int | None = None, progress: Progress | None = None
) -> ImportReport:
    """Imports a TFRecord of NAS-Bench-101 into a store, whole or not at all.

    Args:
        source: Path of ``nasbench_full.tfrecord``, ``nasbench_only108.tfrecord``, or a file of their layout.
        target: Directory to create.
        n_processes: Number of processes; None for one per processor that this process may use.
        progress: Callback in this process after each part.

    Raises:
        TableNotFoundError: The source or the directory for the target is missing.
        TableExistsError: The target exists already.
        WrongFileError: The source is no TFRecord, or one of its records is no row of NAS-Bench-101.
        DamagedFileError: A checksum is wrong, or the file ends inside a row.
        IncompleteTableError: A cell lacks a budget or a repeat that others have.
        NoSpaceError: The disk has too little room.
    """
    begin = perf_counter()
    source, target = Path(source), Path(target)
    size = file_size(source)
    check_target(target, int(_STORE_SHARE * size) + _INDEX_BYTES)
    with _processes(min(n_processes or _available_processors(), -(-size // _PART_BYTES))) as submit:
        results = {space: submit(enumerate_space, space) for space in SEARCH_SPACES.values()}
        parts = list(_read_parts(source, size, submit, progress))
        enumerations = {space: result() for space, result in results.items()}
    n_rows = sum(len(part.keys) for part in parts)
    data = assemble(parts)
    index = index_spaces(enumerations, data.cell_hashes, enumerations.__getitem__)
    provenance = {
        **DatasetId("cifar10").to_provenance(),
        "source": source.name,
        "source_bytes": size,
        "rows": n_rows,
        "imported_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    store_bytes = write_indexed_store(target, data, name=target.stem, provenance=provenance, index=index)
    return ImportReport(
        rows=n_rows,
        cells=len(data.cell_hashes),
        budgets=data.budgets,
        repeats=data.n_repeats,
        source_bytes=size,
        store_bytes=store_bytes,
        seconds=perf_counter() - begin,
    )


def _available_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _processes(n: int) -> Iterator[_Submit]:
    """Runs submitted functions in n processes; with n = 1, in this process when the result is asked for."""
    if n == 1:
        yield partial
        return
    # Not forked: a fork of a process with threads may hang.
    pool = ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield lambda function, *arguments: pool.submit(function, *arguments).result
    except BrokenProcessPool:
        raise TableError(
            f"import: one of {n} processes was killed, perhaps for lack of memory; nothing was written; "
            "try again with fewer --processes"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Part:
    """The rows of a part, with the file offsets of the first row's beginning and the last row's end."""

    first: int
    end: int
    rows: Rows


def _read_parts(source: Path, size: int, submit: _Submit, progress: Progress | None) -> Iterator[Rows]:
    stops = range(_PART_BYTES, size + _PART_BYTES, _PART_BYTES)
    results = [submit(_try_part, source, stop - _PART_BYTES, stop, stop == _PART_BYTES) for stop in stops]
    position = 0
    for stop, result in zip(stops, results, strict=True):
        if position >= min(stop, size):
            continue  # the last row of an earlier part reaches beyond this one
        part = result()
        if part is None or part.first != position:
            part = _read_part(source, position, stop, True)
            assert part is not None
        position = part.end
        if progress is not None:
            progress(position, size)
        yield part.rows


def _read_part(source: Path, start: int, stop: int, at_record: bool) -> _Part | None:
    records = read_part(source, start, stop, at_record=at_record)
    return None if records is None else _Part(records.first, records.end, parse_records(records))


def _try_part(source: Path, start: int, stop: int, at_record: bool) -> _Part | None:
    """Reads a part; None for any error, which may only mean that ``start`` was no beginning of a row."""
    try:
        return _read_part(source, start, stop, at_record)
    except TableError:
        return None
