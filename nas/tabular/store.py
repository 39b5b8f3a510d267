"""The compact store of a table: a directory of ``table.json`` and NumPy files, mapped into memory.

Opening reads ``table.json`` and the files' headers; the numbers stay in the page cache, shared by
all processes of a host.  A store is never changed: it is written into a temporary sibling and renamed.
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
    """Writes a table, all of it or nothing.

    Args:
        path: The directory to create, by convention ``<name>.table``.
        data: The contents.
        name: What messages call the table.
        provenance: Where the numbers come from: built-in types, for ``table.json``.
        index: Search spaces whose architectures are looked up now rather than by each process that
            asks for them; four bytes an architecture and twelve a pruned cell.

    Raises:
        TableExistsError: ``path`` is there already.
        TableNotFoundError: Its parent directory is not.
        NoSpaceError: The disk is full.
    """
    space_index = index_spaces(index, data.cell_hashes)
    write_indexed_store(Path(path), data, name=name, provenance=provenance, index=space_index)


def write_indexed_store(
    path: Path, data: TableData, *, name: str, provenance: Mapping[str, Any], index: SpaceIndex
) -> int:
    """As ``write_store``, with an index that is there already; returns the bytes written."""
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
    """Opens a store; read-only directories are fine, nothing is ever written into it.

    Raises:
        TableNotFoundError: There is no such directory.
        WrongFileError: It is no store, or of a version that this program does not know.
        DamagedFileError: A file of it is missing or has another size than it was written with.
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
    """What ``table.json`` says; raises as ``open_store``."""
    try:
        description = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if path.is_dir():
            raise WrongFileError(
                f"table: got {path}, a directory without {DESCRIPTION}, expected a table's directory; "
                "give the directory that `table import` wrote"
            ) from None
        raise TableNotFoundError(
            f"table: got {path}, which does not exist, expected a table's directory; write one with `table import`"
        ) from None
    except NotADirectoryError:
        raise WrongFileError(
            f"table: got {path}, a file, expected a table's directory; turn a TFRecord into one with `table import`"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DamagedFileError(
            f"table: got {path / DESCRIPTION} that is not JSON ({error}); import the table again"
        ) from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise WrongFileError(f"table: got {path / DESCRIPTION}, expected one of format {FORMAT!r}")
    if description.get("version") != FORMAT_VERSION:
        raise WrongFileError(
            f"table: got {path} of format version {description.get('version')}, expected {FORMAT_VERSION}; "
            "import the table again with this version of the program"
        )
    return description


def check_target(path: Path, n_bytes: int) -> None:
    """Refuses a store that could not be written; raises as ``write_store``."""
    if path.exists() or path.is_symlink():
        raise TableExistsError(
            f"table: got target {path}, which exists already, expected a new one; remove it or choose another name"
        )
    if not path.parent.is_dir():
        raise TableNotFoundError(f"table: got target {path}, but {path.parent} is no directory; create it first")
    free = shutil.disk_usage(path.parent).free
    if free < n_bytes:
        raise _no_space(path, f"got {free / 1e6:,.0f} MB free, expected at least {n_bytes / 1e6:,.0f} MB")


def _no_space(path: Path, what: str) -> NoSpaceError:
    return NoSpaceError(
        f"disk of {path.parent}: {what} for table {path.name}; nothing was written; "
        "free some space or choose another disk"
    )


@contextmanager
def _new_store(path: Path) -> Iterator[Path]:
    """The directory to write, which becomes ``path`` or disappears; says what was in the way."""
    try:
        with new_directory(path) as directory:
            yield directory
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(path, "got a full disk while writing, expected room") from None
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise TableExistsError(f"table: got target {path}, which another process wrote meanwhile") from None
        raise


def _write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """As ``np.save``, which on a full disk raises an error that does not say so."""
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
        raise DamagedFileError(f"table: got {path} of {size} bytes, expected {n_bytes}; import the table again")
    # As a plain array: every slice of a np.memmap costs microseconds.
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _index_name(n_parents: tuple[int, ...]) -> str:
    return "index_" + "_".join(map(str, n_parents))


def _index_arrays(index: SpaceIndex) -> dict[str, npt.NDArray[Any]]:
    if not index.rows_of_space:
        return {}
    of_spaces = {_index_name(n_parents): rows for n_parents, rows in index.rows_of_space.items()}
    return {**of_spaces, _INDEX_KEYS: index.keys, _INDEX_ROWS: index.rows_of_key}
