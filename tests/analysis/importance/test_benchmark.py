"""The measuring program runs from end to end."""

import subprocess
import sys
from pathlib import Path


def test_it_prints_every_figure() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fanova", "--evaluations", "20", "--repeats", "1", "--growth", "20", "40"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("20 evaluations, 9 main effects and 36 pairs: ")
    assert "Optuna" in lines[1]
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| 20", "| 40"]
