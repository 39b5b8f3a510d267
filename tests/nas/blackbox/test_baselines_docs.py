"""docs/baselines.md is what is so: it lists every baseline, its script runs, and its example is a baseline."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import run_bohb
from nas.blackbox import BASELINES
from nas.blackbox.experiment import open_problem
from nas.blackbox.experiment_file import ExperimentFile

TEXT = (Path(__file__).parents[3] / "docs" / "baselines.md").read_text(encoding="utf-8")
SCRIPT, FILE, LINE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_every_baseline_is_described() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE) == list(BASELINES)


def test_a_file_and_a_line_are_a_baseline_and_the_script_reads_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, place = re.findall(r'"([^"]+)"', LINE)
    module = ModuleType(place.partition(":")[0])
    exec(compile(FILE, "docs/baselines.md", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("nas.blackbox.hill_climbing", module, raising=False)
    monkeypatch.setitem(BASELINES, name, place)
    monkeypatch.chdir(tmp_path)
    options = ["--repeats", "40", "--evaluations", "100", "--processes", "1"]
    assert run_bohb.main(["baselines", "--methods", name, "random_search", *options]) == 0
    capsys.readouterr()
    exec(compile(SCRIPT, "docs/baselines.md", "exec"), {})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines] == [[name, "40"], ["random_search", "40"]]
    file = ExperimentFile.open(Path("runs/baselines-digits-1.jsonl"))
    found = file.trajectories(open_problem(file.header.experiment))
    late = {method: np.mean([t.validation_error[50:].mean() for t in of]) for method, of in found.items()}
    assert late[name] < late["random_search"]
