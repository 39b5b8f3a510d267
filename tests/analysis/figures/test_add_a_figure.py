"""The figure of docs/add-a-figure.md works as it is written there: one file and one line in a clone."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOC = ROOT / "docs" / "add-a-figure.md"
#: What the figures and their tests read.
FOLDERS = ("analysis", "docs", "nas", "results", "spaces", "tests")
FILES = ("run_bohb.py", "setup.cfg", "pyproject.toml")


def passed(clone: Path, *command: str) -> str:
    """What a check of the clone prints; it must pass."""
    run = subprocess.run([sys.executable, "-m", *command], cwd=clone, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_the_file_and_the_line_pass_the_tests_of_each_figure_and_the_lint(tmp_path: Path) -> None:
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    file, line = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert len(line.splitlines()) == 1
    package = tmp_path / "analysis" / "figures"
    (package / "budgets.py").write_text(file)
    figures, end = (package / "__init__.py").read_text().split("\n}\n")
    (package / "__init__.py").write_text(f"{figures}\n{line}}}\n{end}")
    said = passed(tmp_path, "pytest", "-k", "budgets or report", "tests/analysis", "tests/test_imports.py")
    assert int(re.search(r"(\d+) passed", said)[1]) > 10  # type: ignore[index]  # it has passed
    passed(tmp_path, "ruff", "check", "analysis/figures")
    passed(tmp_path, "ruff", "format", "--check", "analysis/figures")
