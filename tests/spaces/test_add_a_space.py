"""The lines of docs/add-a-space.md are all that a search space and a configuration space need."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "add-a-space.md").read_text(), re.DOTALL)
PLACES = ("spaces/__init__.py", "spaces/config_spaces.py")
FOLDERS = ("analysis", "master", "nas", "results", "spaces", "worker", "tests/spaces")
CONTRACTS = ("tests/spaces/test_search_space.py", "tests/spaces/test_config_spaces.py")
#: A study of two searches: of the default configuration and of a drawn one.
STUDY = "study --search-space 4 --config-space cs4 --min-budget 3 --max-budget 3 --iterations 2 --workers 1 --search"
TINY = "init_channels=2 cells_per_stack=1 n_stacks=2 threads=1"


def said(clone: Path, *command: str) -> str:
    """Returns what a command in the clone prints; it must pass."""
    environment = {**os.environ, "PYTHONPATH": str(clone), "NASBOHB_CACHE": str(clone / "cache")}
    done = subprocess.run([sys.executable, *command], cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_line_each_adds_a_search_space_and_a_configuration_space(tmp_path: Path) -> None:
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("run_bohb.py", "setup.cfg", "pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    for line, place in zip(LINES, PLACES, strict=True):
        assert len(line.splitlines()) == 1
        registry, end = (tmp_path / place).read_text().rsplit("\n    )\n}\n", 1)
        (tmp_path / place).write_text(f"{registry}\n        {line.strip()},\n    )\n}}\n{end}")
    said(tmp_path, "-m", "ruff", "check", "spaces")
    said(tmp_path, "-m", "ruff", "format", "--check", "spaces")
    assert re.search(r"[3-9]\d* passed", said(tmp_path, "-m", "pytest", *CONTRACTS, "-k", "4 or cs4"))
    report = said(tmp_path, "run_bohb.py", *STUDY.split(), *TINY.split())
    assert "search space 4, hyperparameters cs4" in report
