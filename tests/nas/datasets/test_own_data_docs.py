"""docs/own-data.md works as it is written there: its commands, and a data set added by one file and one line."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import run_bohb
from nas.datasets import identify, own
from nas.tabular import open_table
from results.reading import read_results
from results.records import Status
from results.run_directory import RunDirectory

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
FOLDERS = ("analysis", "master", "nas", "results", "spaces", "worker")


def pieces() -> list[str]:
    """The page's pieces of Python: the file of images, the data set's file, its line."""
    found = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(found) == 3
    return found


def commands() -> list[list[str]]:
    """The arguments of the page's commands."""
    blocks = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ python run_bohb.py ") for line in lines)
    return [shlex.split(line)[3:] for line in lines]


def test_every_array_of_the_file_is_described() -> None:
    described = re.findall(r"^\| `(\w+)` \|", TEXT, flags=re.MULTILINE)
    assert described == ["images", "labels", "train", "validation", "test", "flip"]
    assert own.__doc__ is not None
    assert all(f"``{name}``" in own.__doc__ for name in described)


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NASBOHB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", "false")  # an empty cache has no compiled kernels, and compiling takes seconds
    exec(pieces()[0], {})
    measure, search, study = commands()
    assert run_bohb.main([*measure, "--processes", "1"]) == 0
    table = open_table("own.table")
    assert len(table) == 10
    assert table.dataset == identify("own.npz")
    assert run_bohb.main(search) == 0
    assert "table own at 2 epochs: validation error" in capsys.readouterr().out
    assert run_bohb.main(study) == 0, capsys.readouterr().err
    run = RunDirectory.open(tmp_path / "runs" / "own")
    assert run.spec().dataset == str(tmp_path / "own.npz")
    assert run.spec().table == str(tmp_path / "own.table")
    results = read_results(run)
    assert results
    assert {result.evaluation.status for result in results} == {Status.OK}
    # Another data set is refused in one line, and so are other images in the same file.
    capsys.readouterr()
    assert run_bohb.main([*search[:1], "--table", "own.table", "--epochs", "1"]) == 2
    assert "own.npz (SHA-256" in capsys.readouterr().err
    exec(pieces()[0].replace("default_rng(0)", "default_rng(1)"), {})
    assert run_bohb.main(search) == 2
    assert "the file has changed since" in capsys.readouterr().err


def test_one_file_and_one_line_add_a_data_set_with_its_table(tmp_path: Path) -> None:
    """In a clone: the command line knows it, its table is the default, and a search runs on it."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("run_bohb.py", "pyproject.toml", "setup.cfg"):
        shutil.copy(ROOT / name, tmp_path)
    _, file, line = pieces()
    assert len(line.splitlines()) == 1
    package = tmp_path / "nas" / "datasets"
    (package / "few_digits.py").write_text(file)
    registry, end = (package / "__init__.py").read_text().split("\n}\n", 1)
    (package / "__init__.py").write_text(f"{registry}\n{line}}}\n{end}")
    script = """
import contextlib, io, run_bohb
from nas.datasets import identify
from nas.tabular import open_table, write_store
from pathlib import Path
digits = open_table("digits")
Path("data").mkdir()
write_store("data/few_digits.table", digits.data, name="few", provenance=identify("few_digits").to_provenance())
for command in ("study", "master"):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
        run_bohb.main([command, "--help"])
    assert "few_digits" in out.getvalue(), command
search = ["search", "--dataset", "few_digits", "--epochs", "1", "--n-stacks", "2", "--cells-per-stack", "1"]
assert run_bohb.main([*search, "--init-channels", "2"]) == 0
assert run_bohb.main([*search, "--table", "digits"]) == 2
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NASBOHB_CACHE": str(tmp_path / "cache"), "CC": "false"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "table few at 12 epochs: validation error" in done.stdout
    assert "table digits: got a table of data set digits, expected one of few_digits" in done.stderr
    lint = [sys.executable, "-m", "ruff", "check", "--quiet", str(package)]
    assert subprocess.run(lint, cwd=tmp_path, check=False).returncode == 0
