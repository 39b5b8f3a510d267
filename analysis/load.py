"""A run, read once: all that the summary and the figures are computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.searches import LoadedSearch, read_searches, search_directories
from nas.tabular import TableError, open_table
from nas.tabular.matching import check_table_fits
from nas.tabular.table import Table
from results.reading import most_at_once, read_journals
from results.records import ConfigId, Proposal, StudySpec, TrialResult
from results.run_directory import RunDescription, RunDirectory
from spaces import CONFIG_SPACES, SEARCH_SPACES, SearchSpace

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

#: So many lines that were left out are quoted; of the others there is only the number.
_QUOTED = 3


@dataclass(frozen=True, kw_only=True, eq=False)  # a run is a key of caches
class LoadedRun:
    """A study, a log that hpbandster's own logger wrote, or a folder of single searches, which has no results.

    Attributes:
        path: Absolute path of the directory.
        description: Content of ``run.json``; None for a log of hpbandster or a folder of searches, which have none.
        space: Search space of the study; None where it is not known to this version.
        configs: Id to configuration, with results or not yet.
        results: Results in the order in which they arrived.
        n_workers: Number of workers that the study is made for; in a log of hpbandster, the largest number of
            evaluations that ran at once.
        largest_budget: Largest budget of the study; in a log of hpbandster, that of its results. None where it
            has none.
        tuner_space: Configuration space of ``configspace.json``, or of the study's name where there is no such file;
            None where neither is known.
        table: Table that the test regret is measured from; None where there is no regret.
        best_test_error: Lowest test error in the search space by the table; None where it is not known.
        missing: Names of the journals that are missing.
        notes: Sentences about what is unusual, or was left out.
        is_searches: Whether this is a folder of single searches.
        named_table: Name or path of the table that was named to measure the test regret from; None for the study's.
    """

    path: Path
    description: RunDescription | None
    space: SearchSpace | None
    configs: Mapping[ConfigId, Proposal]
    results: Sequence[TrialResult]
    n_workers: int
    largest_budget: float | None
    tuner_space: ConfigurationSpace | None = None
    table: Table | None = None
    best_test_error: float | None = None
    missing: Sequence[str] = ()
    notes: Sequence[str] = ()
    is_searches: bool = False
    named_table: str | None = None

    @property
    def title(self) -> str:
        """The run in one line."""
        if self.is_searches:
            return f"Searches in {self.path.name}"
        if self.description is None:
            return f"Log of hpbandster {self.path.name}"
        study = self.description.spec
        return (
            f"Study {study.run_id}: {study.optimizer} on search space {study.search_space}, "
            f"hyperparameters {study.config_space}, data {Path(study.dataset).name}, "
            f"table {Path(study.table).name} at {study.table_epochs} epochs"
        )

    @cached_property
    def searches(self) -> Sequence[LoadedSearch]:
        """The searches of a study, or in the folder, read when they are first asked for."""
        return read_searches(self.path if self.is_searches else RunDirectory(self.path).trials)

    @property
    def default_ids(self) -> frozenset[ConfigId]:
        """The configurations that have the default values, of which a study may list several.

        In a run that states no default, the first configuration counts as it.
        """
        default = None if self.description is None else self.description.spec.default_config
        if not default:
            return frozenset({(0, 0, 0)})
        return frozenset(config_id for config_id, proposal in self.configs.items() if proposal.config == default)


class UnknownBestError(ValueError):
    """The best cell of the search space is not known, and so no test regret."""


def load_run(path: Path | str, table: str | None = None) -> LoadedRun:
    """Reads a run, finished or not, and looks up the best cell of its search space.

    Args:
        path: Directory of the run, or folder of searches.
        table: Name or path of the table to measure the test regret from; None: that of the study.

    Raises:
        RunNotFoundError: There is neither a run nor a log at ``path``.
        ValueError: ``run.json`` is damaged, or of another version.
        TableError: The table that was named cannot be opened, or belongs to another data set.
    """
    run = RunDirectory(Path(path).absolute())
    if holds_searches(run.path):
        return LoadedRun(
            path=run.path,
            description=None,
            space=None,
            configs={},
            results=(),
            n_workers=1,
            largest_budget=None,
            is_searches=True,
            named_table=table,
        )
    is_log = not run.run_json.exists() and (run.results_json.exists() or run.configs_json.exists())
    description = None if is_log else RunDirectory.open(path).describe()
    journals = read_journals(run)
    results = [result for result in journals.results if result.config_id[0] >= 0]
    notes = [f"{name} is missing" for name in journals.missing]
    notes += [*_notes_on_losses(results, is_log), *_notes_on_lines(journals.left_out)]
    notes += _notes_on_origin(description)
    if len(results) < len(journals.results):
        notes.append(
            "evaluations of negative iterations, which a warm start took from an earlier run, are left out: "
            f"{len(journals.results) - len(results)}"
        )
    opened = best_test_error = None
    try:
        opened, best_test_error = _table_and_best(description, table)
    except UnknownBestError as error:
        notes.append(f"no test regret: {error}")
    study = None if description is None else description.spec
    tuner_space, notes_on_space = _tuner_space(run, study)
    notes += notes_on_space
    return LoadedRun(
        path=run.path,
        description=description,
        space=None if study is None else SEARCH_SPACES.get(study.search_space),
        configs={config_id: config for config_id, config in journals.configs.items() if config_id[0] >= 0},
        results=results,
        n_workers=most_at_once(results) if study is None else study.n_workers,
        largest_budget=max((result.budget for result in results), default=None) if study is None else study.max_budget,
        tuner_space=tuner_space,
        table=opened,
        best_test_error=best_test_error,
        missing=journals.missing,
        notes=notes,
        named_table=table,
    )


def load_runs(paths: Sequence[Path | str], table: str | None = None) -> list[LoadedRun]:
    """Reads several runs; see ``load_run``.

    Raises:
        ValueError: A run was named twice, or ``load_run`` raises it.
    """
    places = [Path(path).resolve() for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"{path}: this run was named twice; name each run once")
    return [load_run(path, table) for path in paths]


def run_names(runs: Sequence[LoadedRun]) -> list[str]:
    """Names runs by their directories: by the last part where that tells them apart, else by the whole path."""
    names = [run.path.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]


def holds_searches(path: Path | str) -> bool:
    """Whether a folder holds single searches (``search --directory``), and no study."""
    run = RunDirectory(Path(path).absolute())
    files = (run.run_json, run.results_json, run.configs_json)
    if any(file.exists() for file in files) or any(run.path.glob("*/run.json")):
        return False
    return next(search_directories(run.path), None) is not None


def find_best_test_error(study: StudySpec, table: Table) -> float:
    """The lowest test error in the study's search space, mean over the repeats, at the study's table epochs.

    Args:
        study: The study.
        table: The table to ask.

    Raises:
        UnknownBestError: This version does not have the space, or the table does not hold all of it.
    """
    space = SEARCH_SPACES.get(study.search_space)
    if space is None:
        raise UnknownBestError(
            f"run.json names the search space {study.search_space!r}, which this version does not have (it has "
            f"{', '.join(SEARCH_SPACES)}); use the version that ran the study"
        )
    held, size = table.coverage(space)
    if held < size:
        raise UnknownBestError(
            f"table {table.name} holds {held:,} of the {size:,} architectures of search space {study.search_space}, "
            "so its best cell is not known"
        )
    return table.best_test_error(space, study.table_epochs)


def _tuner_space(run: RunDirectory, study: StudySpec | None) -> tuple[ConfigurationSpace | None, list[str]]:
    """The configuration space, and what is odd about it."""
    from ConfigSpace import ConfigurationSpace

    notes: list[str] = []
    if run.configspace_json.is_file():
        try:
            return ConfigurationSpace.from_serialized_dict(json.loads(run.configspace_json.read_text())), notes
        except Exception as error:  # whatever another version, or another program, has written there
            notes.append(f"configspace.json cannot be used: {type(error).__name__}: {error}")
    known = None if study is None else CONFIG_SPACES.get(study.config_space)
    return None if known is None else known.build(seed=0), notes


def _table_and_best(description: RunDescription | None, table_name: str | None) -> tuple[Table, float]:
    """The table that the regret is measured from, and the lowest test error in it."""
    if description is None:
        raise UnknownBestError("a log without run.json names no search space")
    study = description.spec
    if table_name is not None:
        table = open_table(table_name)
        check_table_fits(table, study.dataset, study.data_dir)
        return table, find_best_test_error(study, table)
    try:
        table = open_table(study.table)
        return table, find_best_test_error(study, table)
    except TableError as error:
        raise UnknownBestError(str(error)) from error


def _notes_on_origin(description: RunDescription | None) -> list[str]:
    notes = []
    if description is not None and description.imported_from is not None:
        notes.append(
            f"imported from a log of hpbandster, {description.imported_from}: losses count as validation errors, and "
            "an evaluation takes from its start to its finish"
        )
    if description is not None and description.spec.warm_start:
        notes.append(
            f"warm start: the sampler knew the results of {', '.join(description.spec.warm_start)}, which count "
            "neither as evaluations nor as incumbents here"
        )
    return notes


def _notes_on_losses(results: Sequence[TrialResult], is_log: bool) -> list[str]:
    notes = []
    if is_log:
        notes.append(
            "there is no run.json, so this is read as a log of hpbandster: losses count as validation errors, budgets "
            "as epochs, and an evaluation takes from its start to its finish"
        )
    odd = [r.evaluation.loss for r in results if not 0 <= r.evaluation.loss <= 1]
    if odd:
        notes.append(f"losses outside [0, 1] are no error fractions: {len(odd)}, from {min(odd):.4g} to {max(odd):.4g}")
    return notes


def _notes_on_lines(left_out: Sequence[str]) -> list[str]:
    if not left_out:
        return []
    more = f"; and {len(left_out) - _QUOTED:,} more" if len(left_out) > _QUOTED else ""
    return [f"lines that cannot be used are left out: {len(left_out):,}: {'; '.join(left_out[:_QUOTED])}{more}"]
