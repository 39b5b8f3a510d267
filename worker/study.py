"""Checks of a study before it starts, for mistakes that would make every trial of a worker fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from nas.datasets import locate
from nas.tabular import open_table, portable_name
from nas.tabular.matching import check_table_fits, default_table
from results.records import StudySpec, TrialSpec, Value
from spaces import SEARCH_SPACES, TunerSpace, find_config_space
from worker.objective import SET_BY_STUDY, search_spec


def define_study(
    *,
    run_id: str,
    optimizer: str,
    search_space: str,
    config_space: str,
    dataset: str,
    data_dir: Path | str | None = None,
    table: str | None = None,
    table_epochs: int | None = None,
    **others: Any,
) -> StudySpec:
    """Defines a study; its data set and its table are named so that workers in any folder find them.

    Args:
        run_id: Name of the study.
        optimizer: Key of ``nas.oneshot.METHODS``; the study starts from its own defaults.
        search_space: Key of ``spaces.SEARCH_SPACES``.
        config_space: Key of ``spaces.CONFIG_SPACES``.
        dataset: Key of ``nas.datasets.DATASETS``, or the path of an ``.npz`` file.
        data_dir: Folder of the data set's files; None for where they lie by default.
        table: Key of ``nas.tabular.TABLES``, or the path of a table; None for the one that belongs to the data set.
        table_epochs: Training epochs whose validation error is minimised; None for the table's largest.
        others: Further fields of ``StudySpec``.

    Raises:
        ValueError: There is no such optimizer, configuration space, data set or table.
    """
    from nas.oneshot.resolve import default_configuration

    dataset, folder = locate(dataset, data_dir)
    table = default_table(dataset) if table is None else table
    opened = open_table(table)
    return StudySpec(
        run_id=run_id,
        optimizer=optimizer,
        search_space=search_space,
        config_space=config_space,
        dataset=dataset,
        data_dir=folder,
        table=portable_name(table),
        table_epochs=opened.budgets[-1] if table_epochs is None else table_epochs,
        table_sha256=opened.sha256,
        default_config=default_configuration(optimizer, find_config_space(config_space)),
        **others,
    )


def check_study(study: StudySpec) -> None:
    """Resolves the searches of the default configuration and of each bound, and opens the data and the table.

    Raises:
        ValueError: The study names something unknown.  Its search settings hold a tuned hyperparameter, or a field
            that the study sets itself.  The search refuses a configuration that the study may draw.  The data set is
            missing.  The table belongs to another data set, or lacks cells.
    """
    space = find_config_space(study.config_space)
    _check_settings(study, space)
    check_table_fits(open_table(study.table), study.dataset, study.data_dir)
    _check_searches(study, space)
    _check_table(study)


def _check_settings(study: StudySpec, space: TunerSpace) -> None:
    tuned = sorted(set(study.search_settings) & set(space.names))
    if tuned:
        raise ValueError(
            f"--search: got {tuned}, which configuration space {space.name} tunes; leave them out, or choose a "
            "--config-space that does not tune them"
        )
    clashes = sorted(set(study.search_settings) & SET_BY_STUDY)
    if clashes:
        raise ValueError(
            f"--search: got {clashes}, which the study itself sets; leave them out, or use the study's own options"
        )


def _check_searches(study: StudySpec, space: TunerSpace) -> None:
    """Loads the data for the default configuration; resolves each bound and each given configuration."""
    from nas.oneshot.data import load_data
    from nas.oneshot.resolve import resolve

    default = space.complete(study.default_config)
    trial = TrialSpec(study=study, config_id=(0, 0, 0), budget=study.min_budget, config=default, seed=study.seed)
    load_data(resolve(search_spec(trial)))
    for config, cause in (*_corners(space, default), *_given(study, space, default)):
        try:
            resolve(search_spec(msgspec.structs.replace(trial, config=config)))
        except ValueError as error:
            raise ValueError(f"{cause}, with which no search runs: {error}") from error


def _corners(space: TunerSpace, default: Mapping[str, Value]) -> Iterator[tuple[dict[str, Value], str]]:
    """Yields the default configuration with one hyperparameter at one of its bounds, and a description of it."""
    for h in space.hyperparameters:
        for bound in (h.lower, h.upper):
            yield {**default, h.name: bound}, f"--config-space {space.name}: {h.name} may be {bound}"


def _given(study: StudySpec, space: TunerSpace, default: Mapping[str, Value]) -> Iterator[tuple[dict[str, Value], str]]:
    """Yields the completed configurations that are evaluated first, with a description of each."""
    for config in study.initial_configs:
        try:
            yield space.complete({**default, **config}), f"--try: got {dict(config)}"
        except ValueError as error:
            raise ValueError(f"--try: {error}") from error


def _check_table(study: StudySpec) -> None:
    from nas.tabular.measured.on_demand import can_measure

    table, space = open_table(study.table), SEARCH_SPACES[study.search_space]
    if study.table_epochs not in table.budgets:
        raise ValueError(f"--table-epochs: got {study.table_epochs}, expected one of {list(table.budgets)}")
    held, size = table.coverage(space)
    if held < size and not can_measure(table):
        raise ValueError(
            f"--table: got {study.table}, which holds {held:,} of the {size:,} architectures of search space "
            f"{space.name}, expected all, or a table that was measured here; choose another table or another space"
        )
