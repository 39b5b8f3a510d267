"""The tables that regrets are measured from."""

from __future__ import annotations

import numpy as np

from analysis.load import LoadedRun
from nas.tabular import Table, TableError, open_table
from nas.tabular.matching import check_table_fits, default_table
from spaces import SEARCH_SPACES, SearchSpace

#: Architectures that are looked up before all of a space are, which takes seconds.
_LOOKED_UP = 20


def table_of(run: LoadedRun) -> Table | None:
    """The table that a run's regrets are measured from: the one that was named, the study's, or the data set's own.

    Returns:
        The table; None where it is not here, or the searches are on several data sets.

    Raises:
        TableError: The table that was named cannot be opened, or belongs to another data set.
    """
    if run.description is not None:
        study = run.description.spec
        chosen: str | None = run.named_table or study.table
        dataset, data_dir = study.dataset, study.data_dir
    else:
        found = {(str(s.settings.get("dataset")), s.settings.get("data_dir")) for s in run.searches}
        if len({dataset for dataset, _ in found}) != 1:
            return None
        dataset, directory = sorted(found, key=str)[0]
        chosen, data_dir = run.named_table or _own_table(dataset), None if directory is None else str(directory)
    if chosen is None:
        return None
    try:
        table = open_table(chosen)
    except TableError:
        if run.named_table is not None:
            raise
        return None
    if run.named_table is not None:
        check_table_fits(table, dataset, data_dir)
    return table


def _own_table(dataset: str) -> str | None:
    try:
        return default_table(dataset)
    except ValueError:  # images of one's own state no table, and may have gone
        return None


def best_test_error(table: Table | None, space_name: str, budget: int) -> float | None:
    """The lowest mean test error of a space at a budget; None where the table does not hold the whole space."""
    space = SEARCH_SPACES.get(space_name)
    if table is None or space is None or budget not in table.budgets:
        return None
    return table.best_test_error(space, budget) if is_whole(table, space) else None


def is_whole(table: Table, space: SearchSpace) -> bool:
    """Whether a table holds all of a space; most of those that it does not are told by a few architectures."""
    some = np.linspace(0, space.size - 1, _LOOKED_UP).astype(int)
    if not all(space.cell_of(int(index)) in table for index in some):
        return False
    held, size = table.coverage(space)
    return held == size
