"""A run's directory: whole or absent, never overwritten, and read back as it was written."""

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from results.records import StudySpec
from results.run_directory import RunDirectory, RunExistsError, RunNotFoundError, installed_versions


def test_a_new_run_holds_what_the_design_names(run: RunDirectory) -> None:
    assert {entry.name for entry in run.path.iterdir()} == {
        "run.json",
        "configspace.json",
        "configs.json",
        "results.json",
        "trials",
        "credentials",
        "report",
    }
    assert stat.S_IMODE(run.credentials.stat().st_mode) == 0o700
    assert run.configs_json.read_bytes() == run.results_json.read_bytes() == b""
    assert json.loads(run.configspace_json.read_text())["name"] == "CS1"


def test_the_study_is_read_back_as_it_was_written(run: RunDirectory, spec: StudySpec) -> None:
    description = RunDirectory.open(run.path).describe()
    assert description.spec == spec
    assert description.versions == {"python": "3.11.7", "torch": None}
    age = datetime.now(timezone.utc) - datetime.fromisoformat(description.created)
    assert 0 <= age.total_seconds() < 3600
    content = json.loads(run.run_json.read_text())
    assert (content["format"], content["spec"]["seed"], content["spec"]["search_settings"]["n_stacks"]) == (2, 0, 3)


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_whatever_exists_is_refused_and_kept(tmp_path: Path, spec: StudySpec, make: Callable[[Path], object]) -> None:
    target = tmp_path / "taken"
    make(target)
    with pytest.raises(RunExistsError, match=r"taken: this path exists already") as caught:
        RunDirectory.create(target, spec, {})
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_of_two_that_create_the_same_run_one_is_refused(
    tmp_path: Path, spec: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    RunDirectory.create(tmp_path / "run", spec, {"name": "first"})
    monkeypatch.undo()
    lexists = iter([False, True])
    monkeypatch.setattr(os.path, "lexists", lambda path: next(lexists))
    with pytest.raises(RunExistsError):
        RunDirectory.create(tmp_path / "run", spec, {"name": "second"})
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
    assert json.loads((tmp_path / "run" / "configspace.json").read_text())["name"] == "first"


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, spec: StudySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        RunDirectory.create(tmp_path / "run", spec, {})
    assert list(tmp_path.iterdir()) == []


def test_parents_are_made_and_relative_paths_are_kept_absolute(
    tmp_path: Path, spec: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunDirectory.create("runs/today/first", spec, {})
    assert run.path == tmp_path / "runs" / "today" / "first"
    assert RunDirectory.open("runs/today/first").path == run.path


def test_opening_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match=r"this path holds no run\.json"):
        RunDirectory.open(tmp_path)


def test_trials_have_a_directory_for_each_configuration_and_budget(run: RunDirectory) -> None:
    assert run.trial_directory((12, 0, 3), 25) == run.path / "trials" / "12_0_3" / "25"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(format=1), "got format 1, expected 2"),
        (lambda content: content["spec"].pop("optimizer"), "spec: missing required field `optimizer`"),
        (lambda content: content["spec"].update(eta="2"), r"eta: got '2' \(str\), expected int"),
        (lambda content: content["spec"].update(seed=True), r"seed: got True \(bool\), expected int"),
        (lambda content: content["spec"].update(max_budget=8.5), r"max_budget: got 8\.5 \(float\), expected int"),
        (lambda content: content["spec"].update(colour="red"), "spec: contains unknown field `colour`"),
        (
            lambda content: content["spec"]["search_settings"].update(n_stacks=None),
            r"spec\.search_settings\['n_stacks'\]: got None \(NoneType\), expected",
        ),
    ],
)
def test_a_damaged_description_is_named(
    run: RunDirectory, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    content = json.loads(run.run_json.read_text())
    change(content)
    run.run_json.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"run\.json.*{message}"):
        run.describe()


def test_a_description_that_is_no_json_is_named(run: RunDirectory) -> None:
    run.run_json.write_text('{"format": 1, ')
    with pytest.raises(ValueError, match=r"run\.json: .* should be JSON"):
        run.describe()


def test_versions_are_collected_without_importing_anything_heavy() -> None:
    code = (
        "import sys; from results.run_directory import installed_versions; installed_versions(); "
        "print(sorted({'torch', 'numpy', 'hpbandster', 'Pyro4', 'ConfigSpace'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert shown.stdout.strip() == "[]"
    import numpy

    versions = installed_versions()
    assert versions["numpy"] == numpy.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
