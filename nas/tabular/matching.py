"""The match of table and data set: a study against the table of another data set would tune for nothing."""

from __future__ import annotations

import logging
from pathlib import Path

from nas.datasets import DATASETS, DatasetId, find_dataset, identify
from nas.tabular import open_table
from nas.tabular.errors import TableNotFoundError, WrongDatasetError
from nas.tabular.table import Table

logger = logging.getLogger("nasbohb.table")

#: The name that asks for no table.
NO_TABLE = "none"


def default_table(dataset: str) -> str:
    """Finds the name or path of the table that belongs to a data set.

    Raises:
        TableNotFoundError: The data set states no table, as images of one's own.
    """
    table = find_dataset(dataset).table
    if table is None:
        raise TableNotFoundError(
            f"--table: data set {dataset} needs a table that was measured on it; write one with "
            f"`table measure own.table --dataset {dataset}`, then give --table own.table"
        )
    return table


def table_to_look_up(name: str | None, dataset: str, data_dir: Path | str | None = None) -> Table | None:
    """Opens the table in which a search looks up its cells; None for a search without a table.

    Args:
        name: Name or path of the table; ``none`` for no table; None for the table that belongs to the data set.  If
            that table is missing, a warning says so, and the search has no table.
        dataset: Key of ``nas.datasets.DATASETS``, or the path of an ``.npz`` file.
        data_dir: Folder of the data set's files; None for the default folder.

    Raises:
        TableError: A table that was asked for is missing; or the table is damaged or belongs to another data set.
        DatasetError: The data set is unknown, or its ``.npz`` file is missing or wrong.
    """
    if name == NO_TABLE:
        return None
    chosen = default_table(dataset) if name is None else name
    try:
        table = open_table(chosen)
    except TableNotFoundError as error:
        if name is not None:
            raise
        logger.warning("cells are not looked up: %s", error)
        return None
    check_table_fits(table, dataset, data_dir)
    return table


def check_table_fits(table: Table, dataset: str, data_dir: Path | str | None = None) -> None:
    """Raises unless a table belongs to a data set; an ``.npz`` file is matched by its contents, not by its path.

    Raises:
        WrongDatasetError: The table belongs to another data set, or states none.
        DatasetError: The data set is unknown, or its ``.npz`` file is missing or wrong.
    """
    check_same_dataset(table, identify(dataset, data_dir))


def check_same_dataset(table: Table, dataset: DatasetId) -> None:
    """Raises ``WrongDatasetError`` unless a table belongs to a data set that has been identified."""
    if table.dataset is None:
        raise WrongDatasetError(
            f"table {table.name}: it states no data set, expected {dataset}; import or measure the table again"
        )
    if not table.dataset.matches(dataset):
        raise WrongDatasetError(
            f"table {table.name}: got a table of data set {table.dataset}, expected one of {dataset}; "
            f"{_ways_out(table.dataset, dataset)}"
        )


def _ways_out(of_table: DatasetId, dataset: DatasetId) -> str:
    if of_table.name == dataset.name:
        return "the file has changed since: restore it, or measure the table again"
    own = find_dataset(dataset.name).table if dataset.name in DATASETS else None
    return f"give --table {own or 'with the path of one measured on it'}, or another --dataset"
