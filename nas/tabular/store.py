"""The compact store of a table: a directory of ``table.json`` and NumPy files, mapped into memory.

Opening reads ``table.json`` and the files' headers.  The numbers stay in the page cache, which all
processes of a host share.  A store never changes: it is written into a temporary sibling and renamed.
docs/tables.md describes the format.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.tabular.contents import TableData
from nas.tabular.errors import DamagedFileError, NoSpaceError, TableExistsError, TableNotFoundError, WrongFileError
from nas.tabular.index import SpaceIndex, index_spaces
from nas.tabular.table import Table
from results.atomic_file import new_directory, write_atomically
from spaces import SearchSpace

FORMAT = "nasbohb table"
FORMAT_VERSION = 1
DESCRIPTION = "table.json"
_INDEX_KEYS, _INDEX_ROWS = "index_keys", "index_rows"


def write_store(
    path: Path | str,
    data: TableData,
    *,
    name: str,
    provenance: Mapping[str, Any],
    index: Iterable[SearchSpace] = (),
) -> None:
    """Writes a table, whole or not at all.

    Args:
        path: Directory to create, by convention ``<name>.table``.
        data: Contents of the table.
        name: Name of the table in messages.
        provenance: Origin of the numbers in built-in types, for ``table.json``.
        index: Search spaces whose architectures are looked up now, and not by each process that asks
            for them; the index takes 4 bytes per architecture and 12 per pruned cell.

    Raises:
        TableExistsError: ``path`` exists already.
        TableNotFoundError: The parent directory is missing.
        NoSpaceError: The disk is full.
    """
    space_index = index_spaces(index, data.cell_hashes)
    write_indexed_store(Path(path), data, name=name, provenance=provenance, index=space_index)


def write_indexed_store(
    path: Path, data: TableData, *, name: str, provenance: Mapping[str, Any], index: SpaceIndex
) -> int:
    """Writes a table with a finished index; returns the bytes written.  See ``write_store``."""
    arrays = data.arrays() | _index_arrays(index)
    check_target(path, sum(array.nbytes for array in arrays.values()))
    with _new_store(path) as directory:
        for array_name, array in arrays.items():
            _write_array(directory / f"{array_name}.npy", array)
        sizes = {array_name: (directory / f"{array_name}.npy").stat().st_size for array_name in arrays}
        description = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "name": name,
            "cells": len(data.cell_hashes),
            "budgets": list(data.budgets),
            "measurements": list(data.measurements),
            "indexed_spaces": [list(n_parents) for n_parents in index.rows_of_space],
            "bytes": sizes,
            "provenance": dict(provenance),
        }
        write_atomically(directory / DESCRIPTION, json.dumps(description, indent=1) + "\n")
    return sum(sizes.values())


def open_store(path: Path | str) -> Table:
    """Opens a store, which may be read-only; nothing is ever written into it.

    Raises:
        TableNotFoundError: The directory is missing.
        WrongFileError: The directory is no store, or a store of an unknown version.
        DamagedFileError: A file is missing or has another size than when it was written.
    """
    path = Path(path)
    description = read_description(path)
    sizes = description["bytes"]
    arrays = {array_name: _map_array(path / f"{array_name}.npy", size) for array_name, size in sizes.items()}
    data = TableData(
        budgets=tuple(description["budgets"]),
        cell_hashes=arrays["cell_hashes"],
        cell_keys=arrays["cell_keys"],
        trainable_parameters=arrays["trainable_parameters"],
        measurements={measurement: arrays[measurement] for measurement in description["measurements"]},
    )
    index = None
    if description["indexed_spaces"]:
        spaces = [tuple(n_parents) for n_parents in description["indexed_spaces"]]
        rows_of_space = {n_parents: arrays[_index_name(n_parents)] for n_parents in spaces}
        index = SpaceIndex(rows_of_space, arrays[_INDEX_KEYS], arrays[_INDEX_ROWS])
    return Table(description["name"], data, provenance=description["provenance"], index=index)


def read_description(path: Path) -> dict[str, Any]:
    """Reads ``table.json``; raises the errors of ``open_store``."""
    try:
        description = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if path.is_dir():
            raise WrongFileError(
                f"table: {path} is a directory without {DESCRIPTION}, and no table; "
                "give a directory that `table import` or `table measure` wrote"
            ) from None
        raise TableNotFoundError(
            f"table: {path} does not exist; `table import` and `table measure` write a table's directory"
        ) from None
    except NotADirectoryError:
        raise WrongFileError(
            f"table: {path} is a file, and no table's directory; turn a TFRecord into a table with `table import`"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DamagedFileError(
            f"table: {path / DESCRIPTION} is not JSON ({error}); import or measure the table again"
        ) from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise WrongFileError(f"table: {path / DESCRIPTION} is not of the format {FORMAT!r}; give another directory")
    if description.get("version") != FORMAT_VERSION:
        raise WrongFileError(
            f"table: {path} has format version {description.get('version')}, expected {FORMAT_VERSION}; "
            "import or measure the table again with this version of the program"
        )
    return description


def check_target(path: Path, n_bytes: int) -> None:
    """Checks that a store of this size can be written; raises the errors of ``write_store``."""
    if path.exists() or path.is_symlink():
        raise TableExistsError(f"table: the target {path} exists already; remove it or choose another name")
    if not path.parent.is_dir():
        raise TableNotFoundError(f"table: {path.parent} is no directory for the target {path.name}; create it first")
    free = shutil.disk_usage(path.parent).free
    if free < n_bytes:
        raise NoSpaceError(
            f"disk of {path.parent}: {free / 1e6:,.0f} MB are free, table {path.name} needs {n_bytes / 1e6:,.0f} MB; "
            "nothing was written; free some space or choose another disk"
        )


@contextmanager
def _new_store(path: Path) -> Iterator[Path]:
    """Makes the directory to write, which becomes ``path`` or disappears; names the obstacle if it disappears."""
    try:
        with new_directory(path) as directory:
            yield directory
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(
                f"disk of {path.parent}: disk full while writing table {path.name}; nothing was kept; "
                "free some space or choose another disk"
            ) from None
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise TableExistsError(
                f"table: another process has written the target {path} meanwhile; remove it or choose another name"
            ) from None
        raise


def _write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Writes an array like ``np.save``, whose error on a full disk does not tell that the disk is full."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.view(np.uint8).reshape(-1).data)
        file.flush()
        os.fsync(file.fileno())


def _map_array(path: Path, n_bytes: int) -> npt.NDArray[Any]:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        size = 0
    if size != n_bytes:
        raise DamagedFileError(f"table: {path} has {size} bytes, expected {n_bytes}; import or measure the table again")
    # As a plain array: every slice of a np.memmap costs microseconds.
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _index_name(n_parents: tuple[int, ...]) -> str:
    return "index_" + "_".join(map(str, n_parents))


def _index_arrays(index: SpaceIndex) -> dict[str, npt.NDArray[Any]]:
    if not index.rows_of_space:
        return {}
    of_spaces = {_index_name(n_parents): rows for n_parents, rows in index.rows_of_space.items()}
    return {**of_spaces, _INDEX_KEYS: index.keys, _INDEX_ROWS: index.rows_of_key}
