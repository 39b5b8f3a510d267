"""Checks of a study before it starts: whatever would make every trial of a worker fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from nas.tabular import open_table
from nas.tabular.matching import check_table_fits
from results.records import StudySpec, TrialSpec, Value
from spaces import SEARCH_SPACES, TunerSpace, find_config_space
from worker.objective import SET_BY_STUDY, search_spec


def check_study(study: StudySpec) -> None:
    """Resolves the searches of the default configuration and of each bound, and opens the data and the table.

    Raises:
        ValueError: The study names something unknown, sets what it tunes or what it sets itself, a configuration
            that it may draw is refused by the search, its data set is missing, or its table belongs to another data
            set or lacks cells.
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
            f"--search: got {tuned}, which configuration space {space.name} tunes; leave them out, or take one that "
            "does not"
        )
    clashes = sorted(set(study.search_settings) & SET_BY_STUDY)
    if clashes:
        raise ValueError(
            f"--search: got {clashes}, which the study itself sets; leave them out, or use its own options"
        )


def _check_searches(study: StudySpec, space: TunerSpace) -> None:
    """The data is loaded for the default configuration; a bound is only resolved, one at a time."""
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
    """The default configuration with one hyperparameter at one of its bounds, and which."""
    for h in space.hyperparameters:
        for bound in (h.lower, h.upper):
            yield {**default, h.name: bound}, f"--config-space {space.name}: {h.name} may be {bound}"


def _given(study: StudySpec, space: TunerSpace, default: Mapping[str, Value]) -> Iterator[tuple[dict[str, Value], str]]:
    """The configurations that are evaluated first."""
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
