"""The searches of a study, or in a folder of single searches: their settings, and the state after each epoch."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.epoch import TRAJECTORY, EpochRecord
from results.one_shot_errors import ONE_SHOT_ERRORS, ErrorFile, OneShotError
from results.records import NO_DIFFERENCE, Value
from results.trial_directory import SPEC, read_trajectory, read_trial_spec

logger = logging.getLogger("nasbohb.analysis")

#: Levels below a folder on which searches are looked for.
_DEPTH = 4
#: Files with the specification of a search that was run by itself and has ended.
_ENDED = ("architecture.json", "failure.json")

#: Settings of a search that make it another one, sorted by name.
Settings = tuple[tuple[str, Value | None], ...]


@dataclass(frozen=True, kw_only=True)
class LoadedSearch:
    """A search, whether it succeeded, failed, or was stopped.

    Attributes:
        path: Directory of the search.
        settings: Field of ``SearchSpec`` to value; in a trial of a study, only the fields that the study states.
        epochs: State after each epoch.
    """

    path: Path
    settings: Mapping[str, Value | None]
    epochs: Sequence[EpochRecord]

    @property
    def optimizer(self) -> str:
        """One-shot optimizer."""
        return str(self.settings["optimizer"])

    @property
    def space(self) -> str:
        """Search space."""
        return str(self.settings["search_space"])

    @property
    def what(self) -> Settings:
        """The settings in which searches of different seeds agree."""
        return tuple(sorted((name, value) for name, value in self.settings.items() if name not in NO_DIFFERENCE))

    def one_shot_errors(self) -> list[OneShotError]:
        """Architectures that ``evaluate`` evaluated with the weights of this search; the last line of each counts.

        Raises:
            ValueError: The file holds something else.
        """
        errors = ErrorFile(self.path / ONE_SHOT_ERRORS).read()
        return list({(e.fingerprint, e.n_images, e.architecture_index): e for e in errors}.values())


def search_directories(folder: Path) -> Iterator[Path]:
    """Yields the directories of searches in a folder, itself included, at most four levels below it."""
    for level in range(_DEPTH + 1):
        yield from (file.parent for file in sorted(folder.glob("*/" * level + TRAJECTORY)))


def read_searches(folder: Path) -> list[LoadedSearch]:
    """Reads the searches in a folder that have completed an epoch; leaves out damaged ones with a warning.

    A search that was run by itself states its settings when it ends: one that goes on is left out.
    """
    searches = []
    for directory in search_directories(folder):
        try:
            settings, epochs = _settings(directory), read_trajectory(directory)
        except ValueError as error:
            logger.warning("a search was left out: %s", error)
            continue
        if settings is not None and epochs:
            searches.append(LoadedSearch(path=directory, settings=settings, epochs=epochs))
    return searches


def _settings(directory: Path) -> dict[str, Value | None] | None:
    if (directory / SPEC).is_file():
        trial = read_trial_spec(directory)
        study = trial.study
        own = {"optimizer": study.optimizer, "search_space": study.search_space, "dataset": study.dataset}
        return {**own, "epochs": trial.budget, "seed": trial.seed, **study.search_settings, **trial.config}
    for path in (directory / name for name in _ENDED):
        if path.is_file():
            try:
                spec: dict[str, Any] = json.loads(path.read_text())["spec"]
                return {**spec, "optimizer": spec["optimizer"], "search_space": spec["search_space"]}
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}: expected the result of a search, but it cannot be read ({error!r})"
                ) from None
    return None


def varying(searches: Sequence[LoadedSearch]) -> list[str]:
    """The settings in which searches of one optimizer in one space differ, seeds apart.

    Optimizers have defaults of their own, so a setting that differs between them alone has not been varied.
    """
    values: dict[tuple[str, str, str], set[Value | None]] = {}
    for search in searches:
        for name, value in search.what:
            values.setdefault((name, search.optimizer, search.space), set()).add(value)
    return list(dict.fromkeys(name for (name, *_), found in values.items() if len(found) > 1))


def by_settings(searches: Sequence[LoadedSearch]) -> dict[Settings, list[LoadedSearch]]:
    """Groups searches that differ in their seeds alone."""
    groups: dict[Settings, list[LoadedSearch]] = {}
    for search in searches:
        groups.setdefault(search.what, []).append(search)
    return groups
