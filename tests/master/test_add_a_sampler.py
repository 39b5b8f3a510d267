"""docs/tuner.md works as it is written: its script, and its sampler, added in a clone by one file and one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT, FILE, LINE = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tuner.md").read_text(), re.DOTALL)
#: What the tests of each sampler read.
FOLDERS = ("master", "nas", "results", "spaces", "worker", "tests/master")
FILES = ("setup.cfg", "pyproject.toml", "tests/conftest.py", "docs/tuner.md")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the project to which the document's reader has added the file and the line."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "digits_table"))
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    package = tmp_path / "master" / "samplers"
    (package / "halton.py").write_text(FILE)
    registry, end = (package / "__init__.py").read_text().split("\n}\n")
    (package / "__init__.py").write_text(f"{registry}\n{LINE}}}\n{end}")
    return tmp_path


def said(clone: Path, *command: str) -> str:
    """What a command in the clone prints; it must pass."""
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    run = subprocess.run([sys.executable, *command], cwd=clone, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_the_file_and_the_line_pass_the_tests_of_each_sampler_and_the_lint(clone: Path) -> None:
    assert len(LINE.splitlines()) == 1
    out = said(clone, "-m", "pytest", "-k", "halton", "tests/master/test_tuner.py")
    passed = re.search(r"(\d+) passed", out)
    assert passed is not None
    assert int(passed[1]) >= 2
    said(clone, "-m", "ruff", "check", "master/samplers")
    said(clone, "-m", "ruff", "format", "--check", "master/samplers")


def test_the_script_drives_the_papers_study(capsys: pytest.CaptureFixture[str]) -> None:
    statements = [line for line in SCRIPT.splitlines() if line and not line.startswith(("from", " "))]
    assert len(statements) <= 6
    exec(compile(SCRIPT, "docs/tuner.md", "exec"), {})
    assert capsys.readouterr().out == "280 {25: 88, 50: 86, 100: 106}\n"


def test_the_registry_loads_neither_pyro_nor_hpbandster_nor_torch_nor_scipy() -> None:
    """So that a help text, which names all samplers, is quick."""
    code = (
        "import sys; from master.samplers import SAMPLERS; print(*SAMPLERS); "
        "assert not {'Pyro4', 'hpbandster', 'torch', 'scipy', 'ConfigSpace'} & set(sys.modules)"
    )
    assert said(ROOT, "-c", code) == "bohb bohb_pending random listed\n"
