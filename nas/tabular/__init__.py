"""Tables of results of stand-alone training: NAS-Bench-101, and the embedded table of the digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nas.tabular.contents import TableData
from nas.tabular.errors import CellNotInTableError, TableError, TableNotFoundError
from nas.tabular.store import DESCRIPTION, open_store, write_store
from nas.tabular.table import BatchEntries, Entry, Table


@dataclass(frozen=True)
class TableSource:
    """A table that has a name.

    Attributes:
        description: One line that helps a person to choose a table.
        path: Function that returns the path of the store.
        if_missing: Advice for a store that is not there, for error messages.
    """

    description: str
    path: Callable[[], Path]
    if_missing: str


#: Every table by name; add one here and the command line, the tests and the docs know it.
TABLES: dict[str, TableSource] = {
    "digits": TableSource(
        "the digits of scikit-learn, measured by this project: all cells of search space 1, embedded",
        lambda: Path(__file__).parent / "measured" / "digits_table",
        "it comes with the package; install the package again",
    ),
    "nasbench101": TableSource(
        "NAS-Bench-101: 423,624 cells on CIFAR-10, imported once from its TFRecord into ./data",
        lambda: Path("data") / "nasbench101.table",
        "write it with `table download` and `table import`, or give the path of a table",
    ),
}


def open_table(name_or_path: str | Path) -> Table:
    """Opens a table by its name in ``TABLES``, or by the path of its directory.

    Raises:
        TableError: The table is missing or damaged, or the directory is no table.
    """
    source = TABLES.get(str(name_or_path))
    if source is None:
        if not Path(name_or_path).exists():
            raise TableNotFoundError(
                f"table: got {name_or_path}, expected one of {list(TABLES)} or the path of a table's directory; "
                "`table import` and `table measure` write such a directory"
            )
        return open_store(name_or_path)
    path = source.path()
    if not (path / DESCRIPTION).exists():
        raise TableNotFoundError(f"table {name_or_path}: there is nothing at {path}; {source.if_missing}")
    return open_store(path)


def portable_name(name_or_path: str | Path) -> str:
    """Makes a table's name independent of the working directory: the name of an embedded table, or an absolute path."""
    source = TABLES.get(str(name_or_path))
    if source is None:
        return str(Path(name_or_path).absolute())
    path = source.path()
    return str(name_or_path) if path.is_absolute() else str(path.absolute())


__all__ = [
    "TABLES",
    "BatchEntries",
    "CellNotInTableError",
    "Entry",
    "Table",
    "TableData",
    "TableError",
    "TableSource",
    "open_table",
    "portable_name",
    "write_store",
]
