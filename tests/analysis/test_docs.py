"""docs/results.md says what is so: its lines parse, its code runs, its tables name what exists."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.export import FORMATS
from analysis.figures.trajectory import HEADER
from analysis.report import analyze
from analysis.trajectory import Axis
from results.bohb_lines import parse_config_line, parse_result_line
from results.epoch import EpochRecord
from results.incumbents import IncumbentMode
from results.records import Evaluation, Status
from results.run_directory import RunDescription, RunDirectory

TEXT = (Path(__file__).parents[2] / "docs" / "results.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_example_lines_are_read() -> None:
    run, configs, results, epoch = blocks("json")
    assert RunDescription.from_dict(json.loads(run), "docs").spec.search_settings == {"n_stacks": 3}
    assert parse_config_line(json.loads(configs), "docs")[1].model_based
    outcomes = [parse_result_line(json.loads(line), "docs")[3] for line in results.splitlines()]
    assert [(outcome.status, outcome.loss) for outcome in outcomes] == [(Status.OK, 0.0625), (Status.DIVERGED, 1.0)]
    assert EpochRecord.from_dict(json.loads(epoch), "docs").table[4].test_error == 0.11


def test_the_example_code_runs(make_run: Callable[..., RunDirectory], monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(0)
    (run.path.parent / "runs").mkdir()
    run.path.rename(run.path.parent / "runs" / "first")
    monkeypatch.chdir(run.path.parent)
    reading, trajectory, exporting = blocks("python")
    found: dict[str, Any] = {}
    exec(reading, found)
    exec(trajectory, found)
    report = analyze("runs/first")
    assert found["best"] == report.summary.incumbents[IncumbentMode.ANY_BUDGET]
    assert found["held"] is not None
    pytest.importorskip("pandas")
    exec(exporting, found)
    assert found["lowest"].min() == found["best"].evaluation.validation_error


def test_the_tables_name_every_field_status_mode_axis_and_file(make_run: Callable[..., RunDirectory]) -> None:
    names = list(Evaluation.__struct_fields__) + [status.value for status in Status]
    names += [mode.value for mode in IncumbentMode] + [axis.value for axis in Axis]
    written = {path.name for path in analyze(make_run(0).path).files}
    files = {"summary.txt", "summary.json", "trajectory.csv", "trajectory.png", "trajectory.pdf"}
    assert files <= written
    names += sorted(files)
    names += [*FORMATS, *(form.file_name for form in FORMATS.values())]
    assert [name for name in names if f"`{name}`" not in TEXT] == []
    assert f"`{', '.join(HEADER)}`" in TEXT
