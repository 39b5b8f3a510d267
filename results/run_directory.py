"""A run's directory, which holds all files of a study:

* ``run.json``: specification, versions, time of creation;
* ``configspace.json``, ``configs.json``, ``results.json``;
* ``status.json``, ``master.lock``: the master at work, or the way in which the last one ended;
* ``late.jsonl``: reports of trials that had a result already;
* ``warm_start.jsonl``: results of earlier runs that the study began with, if it has a warm start;
* ``trials/<iteration>_<stage>_<index>/<budget>/``;
* ``credentials/`` (mode 0700);
* ``report/``.

Only the master appends to ``configs.json`` and ``results.json``; any process may read at any time.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from results import journal
from results.atomic_file import make_directory, new_directory, write_atomically
from results.record_base import Record
from results.records import ConfigId, StudySpec

#: Version of the format of ``run.json``; a reader refuses any other.
FORMAT = 2
#: The distributions whose versions decide what a run computes.
_RECORDED = ("nasbohb", "ConfigSpace", "hpbandster", "numpy", "Pyro4", "scikit-learn", "scipy", "torch")


class RunExistsError(ValueError):
    """Something exists already at the path of a new run."""


class RunNotFoundError(ValueError):
    """There is no run at the given path."""


class RunDescription(Record, frozen=True, kw_only=True):
    """The content of ``run.json``.

    Attributes:
        spec: The study.
        versions: Name to version of Python and of the libraries that the run uses; None for a library that is not
            installed.
        created: Time of creation, ISO 8601 in UTC.
        format: Version of this layout.
        imported_from: Path of the log that the run is made of; None for a study of this program.
    """

    spec: StudySpec
    versions: Mapping[str, str | None]
    created: str
    format: int = FORMAT
    imported_from: str | None = None


class RunDirectory:
    """The paths in a run's directory, and its description."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_json = path / "run.json"
        self.configspace_json = path / "configspace.json"
        self.configs_json = path / "configs.json"
        self.results_json = path / "results.json"
        self.late_jsonl = path / "late.jsonl"
        self.trials = path / "trials"
        self.credentials = path / "credentials"
        self.report = path / "report"

    @classmethod
    def create(
        cls,
        path: Path | str,
        spec: StudySpec,
        configspace: Mapping[str, Any],
        versions: Mapping[str, str | None] | None = None,
        files: Mapping[str, str] | None = None,
        imported_from: str | None = None,
    ) -> RunDirectory:
        """Creates the directory of a new run; it appears whole or not at all.

        Args:
            path: Path of the directory, which must not exist. Missing parents are made.
            spec: The study.
            configspace: ConfigSpace's own JSON, as ``ConfigurationSpace.to_serialized_dict()`` returns it.
            versions: Name to version of the libraries that the run uses; None for those installed here.
            files: Name to content of further files of the run, and of journals that begin with lines.
            imported_from: Path of the log that the run is made of; None for a study of this program.

        Raises:
            RunExistsError: ``path`` exists.
            OSError: The directory cannot be written; nothing is left behind.
        """
        run = cls(Path(path).absolute())
        if os.path.lexists(run.path):
            raise RunExistsError(_exists_message(run.path))
        make_directory(run.path.parent)
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        found = installed_versions() if versions is None else versions
        description = RunDescription(spec=spec, versions=dict(found), created=created, imported_from=imported_from)
        try:
            with new_directory(run.path) as draft:
                cls(draft)._fill(description, configspace, files or {})
        except OSError as error:
            if os.path.lexists(run.path):
                raise RunExistsError(_exists_message(run.path)) from error
            raise
        return run

    @classmethod
    def open(cls, path: Path | str) -> RunDirectory:
        """Opens the run at ``path``.

        Raises:
            RunNotFoundError: ``path`` holds no run.
        """
        run = cls(Path(path).absolute())
        if not run.run_json.is_file():
            raise RunNotFoundError(
                f"{path}: this path holds no run.json, so it is no run's directory; "
                "give the directory that the study named when it started"
            )
        return run

    def describe(self) -> RunDescription:
        """Reads ``run.json``.

        Raises:
            ValueError: The file is damaged, or another version of this program wrote it; the message names the field.
        """
        try:
            data = json.loads(self.run_json.read_text())
        except ValueError as error:
            raise ValueError(f"{self.run_json}: a run's description should be JSON, but is not ({error})") from error
        found = data.get("format") if isinstance(data, dict) else None
        if found != FORMAT:
            raise ValueError(f"{self.run_json}: got format {found!r}, expected {FORMAT}; use the version that wrote it")
        return RunDescription.from_dict(data, str(self.run_json))

    def spec(self) -> StudySpec:
        """Reads the study from ``run.json``; raises the errors of ``describe``."""
        return self.describe().spec

    def trial_directory(self, config_id: ConfigId, budget: float) -> Path:
        """Path of the directory for a configuration at a budget (in epochs); it need not exist."""
        return self.trials / "_".join(str(part) for part in config_id) / str(budget)

    def _fill(self, description: RunDescription, configspace: Mapping[str, Any], files: Mapping[str, str]) -> None:
        for directory in (self.trials, self.report):
            directory.mkdir()
        self.credentials.mkdir(mode=0o700)
        write_atomically(self.run_json, journal.encode(description.to_dict(), "run.json", indent=2) + "\n")
        write_atomically(self.configspace_json, journal.encode(configspace, "configspace.json", indent=2) + "\n")
        for name, content in {self.configs_json.name: "", self.results_json.name: "", **files}.items():
            write_atomically(self.path / name, content)


def installed_versions() -> dict[str, str | None]:
    """Looks up the versions of Python, the platform and the libraries of a run; imports none of them."""
    versions: dict[str, str | None] = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _RECORDED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _exists_message(path: Path) -> str:
    return (
        f"{path}: this path exists already, and runs are never overwritten; choose another name, or go on with a run "
        "by --resume"
    )
