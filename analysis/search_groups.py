"""Searches that differ in their seeds alone, as the lines of figures, and their mean and spread over the seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from analysis.load import LoadedRun
from analysis.searches import LoadedSearch, by_settings, varying
from analysis.summary import best_of
from analysis.tables import best_test_error, table_of
from results.epoch import EpochRecord
from results.records import ConfigId, Value
from results.run_directory import RunDirectory

#: Largest number of lines that can be told apart in a panel.
MOST_LINES = 8


@dataclass(frozen=True, kw_only=True)
class Group:
    """Searches that make one line.

    Attributes:
        space: Search space.
        optimizer: One-shot optimizer.
        changes: Settings in which the group differs from other groups, or its place in a study; empty for none.
        searches: The searches, one per seed.
    """

    space: str
    optimizer: str
    changes: str
    searches: tuple[LoadedSearch, ...]


def groups_of(runs: Sequence[LoadedRun]) -> list[Group]:
    """The groups of all searches of some runs, by space, optimizer and settings.

    A study that varies more settings than ``MOST_LINES`` is shown by the searches at its largest budget, in three
    groups: default configuration, incumbent at that budget, and all others.
    """
    pooled: list[LoadedSearch] = []
    groups: list[Group] = []
    of_studies: list[Group] = []
    for run in runs:
        searches = run.searches
        if run.description is None or len(by_settings(searches)) <= MOST_LINES:
            pooled += searches
        else:
            of_studies += _groups_of_study(run, searches, run.path.name if len(runs) > 1 else "")
    names = varying(pooled)
    for of_group in by_settings(pooled).values():
        first = of_group[0]
        changes = ", ".join(f"{name.replace('_', ' ')} {value_text(first.settings.get(name))}" for name in names)
        groups.append(Group(space=first.space, optimizer=first.optimizer, changes=changes, searches=tuple(of_group)))
    values = {name: [search.settings.get(name) for search in pooled] for name in names}
    ordered = sorted(groups, key=lambda group: (group.space, group.optimizer, *_ranks(group, values)))
    return ordered + of_studies


def label_of(group: Group, groups: Sequence[Group]) -> str:
    """Names a group by all in which it differs from the others."""
    parts = [group.optimizer] if len({other.optimizer for other in groups}) > 1 else []
    parts += [f"space {group.space}"] if len({other.space for other in groups}) > 1 else []
    parts += [group.changes] if group.changes else []
    return ", ".join(parts) or group.optimizer


def value_text(value: Value | None) -> str:
    """A setting in a label."""
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class TestErrors:
    """The way in which the found cells' test errors are shown.

    Attributes:
        budget: Epochs of the table.
        zeros: Search space to the lowest test error in it, which is subtracted; empty where that of a space is unknown.
    """

    budget: int
    zeros: dict[str, float]

    @property
    def name(self) -> str:
        """The name on an axis, with the unit."""
        what = "Test regret" if self.zeros else "Test error"
        return f"{what} of the found cell,\ntable at {self.budget} epochs (fraction)"

    def of(self, space: str, record: EpochRecord) -> float | None:
        """The test error, or regret, of an epoch's cell; None where the table lacks it."""
        answer = record.table.get(self.budget)
        return None if answer is None else answer.test_error - self.zeros.get(space, 0.0)


def test_errors_of(runs: Sequence[LoadedRun], groups: Sequence[Group]) -> TestErrors | None:
    """Regrets where the lowest test error of each space is known, else errors; None where no table was asked."""
    budgets = {budget for group in groups for s in group.searches for record in s.epochs for budget in record.table}
    if not budgets:
        return None
    studies = {run.description.spec.table_epochs for run in runs if run.description is not None} & budgets
    budget = max(studies or budgets)
    tables = [table_of(run) for run in runs]
    zeros: dict[str, float] = {}
    for space in {group.space for group in groups}:
        known = [best_test_error(table, space, budget) for table in tables]
        zero = next((error for error in known if error is not None), None)
        if zero is None:
            return TestErrors(budget, {})
        zeros[space] = zero
    return TestErrors(budget, zeros)


def mean_and_spread(values: Iterable[float | None]) -> tuple[float, float]:
    """Mean and sample standard deviation over seeds; NaN where a value is missing, or where one seed has no spread."""
    known = list(values)
    if not known or None in known:
        return float("nan"), float("nan")
    numbers = [float(value) for value in known if value is not None]
    return fmean(numbers), stdev(numbers) if len(numbers) > 1 else float("nan")


def _groups_of_study(run: LoadedRun, searches: Sequence[LoadedSearch], name: str) -> list[Group]:
    assert run.description is not None, "a study has a description"
    study = run.description.spec
    budget = max(int(search.settings["epochs"] or 0) for search in searches)
    at_largest = [search for search in searches if search.settings["epochs"] == budget]
    best = best_of([result for result in run.results if result.budget == budget])
    of_default = _paths(run, run.default_ids, budget)
    of_best = _paths(run, [] if best is None else [best.config_id], budget) - of_default
    groups: list[Group] = []
    for label, paths in (("default configuration", of_default), ("incumbent", of_best), ("others", None)):
        chosen = [s for s in at_largest if (s.path not in of_default | of_best if paths is None else s.path in paths)]
        if paths is None:
            label = "all other configurations" if groups else "all configurations"
        elif best is not None and of_default and best.config_id in run.default_ids and paths is of_default:
            label = "default configuration, the incumbent"
        if chosen:
            changes = f"{name}: {label}" if name else label
            groups.append(
                Group(space=study.search_space, optimizer=study.optimizer, changes=changes, searches=tuple(chosen))
            )
    return groups


def _paths(run: LoadedRun, config_ids: Iterable[ConfigId], budget: int) -> set[Path]:
    directory = RunDirectory(run.path)
    return {directory.trial_directory(config_id, budget) for config_id in config_ids}


def _ranks(group: Group, order: dict[str, list[Value | None]]) -> list[float]:
    """The group's place among the values of each varying setting: numbers by size, others as they came."""
    ranks = []
    for name, values in order.items():
        value = group.searches[0].settings.get(name)
        ranks.append(float(value) if isinstance(value, int | float) else float(values.index(value)))
    return ranks
