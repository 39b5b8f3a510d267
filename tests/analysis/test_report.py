"""The report of a run: before it began, while it goes on, after it ended."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from analysis.report import CSV_HEADER, analyze
from analysis.trajectory import IncumbentMode, TimeAxis
from results.reading import read_results
from results.records import Status
from results.run_directory import RunDirectory, RunNotFoundError
from spaces import SearchSpace

NAMES = ["summary.txt", "summary.json", "trajectory.csv", "trajectory.png", "trajectory.pdf"]


@dataclass
class TableWithBest:
    """Stands for a table, of which a report asks one question."""

    best: float
    asked: tuple[str | None, int | None] = (None, None)

    def best_test_error(self, space: SearchSpace | None, budget: int | None = None) -> float:
        self.asked = (space and space.name, budget)
        return self.best


def analyze_with(run: RunDirectory, table: Any = None) -> Any:
    return analyze(run.path, table)


def test_a_report_is_written_beside_the_results(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run(0)
    before = {path: path.read_bytes() for path in (run.run_json, run.configs_json, run.results_json)}
    report = analyze(run.path)
    assert list(report.files) == [run.report / name for name in NAMES]
    assert sorted(path.name for path in run.report.iterdir()) == sorted(NAMES)
    assert {path: path.read_bytes() for path in before} == before
    assert (run.report / "summary.txt").read_text() == report.text + "\n"
    assert report.text.splitlines()[-2:] == [f"Run:    {run.path}", f"Report: {run.report}"]


def test_the_summary_agrees_with_a_plain_scan_of_the_results(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run(0)
    analyze(run.path)
    content = json.loads((run.report / "summary.json").read_text())
    lines = [json.loads(line) for line in run.results_json.read_text().splitlines()]
    succeeded = [line for line in lines if line[3]["info"]["status"] == "ok"]
    best = min(succeeded, key=lambda line: line[3]["loss"])
    incumbent = content["incumbents"]["any_budget"]
    assert incumbent["config_id"] == best[0]
    assert incumbent["budget"] == best[1]
    assert incumbent["evaluation"]["test_error"] == best[3]["info"]["test_error"]
    assert content["n_evaluations"] == len(lines) == sum(sum(c.values()) for c in content["counts"].values())
    assert content["counts"]["16"] == {"ok": 14, "diverged": 1}
    default = min((line for line in succeeded if line[0] == [0, 0, 0]), key=lambda line: line[3]["loss"])
    over_any = content["comparisons"][0]
    assert over_any["default"]["evaluation"]["test_error"] == default[3]["info"]["test_error"]
    is_better = best[3]["info"]["test_error"] < default[3]["info"]["test_error"]
    assert over_any["verdict"] == ("better" if is_better else "NOT better")
    assert content["times"]["t_search_s"] == pytest.approx(sum(line[3]["info"]["t_search_s"] for line in lines))
    assert content["study"]["spec"]["optimizer"] == "darts"


def test_the_regret_is_measured_from_the_best_cell_of_the_space_at_the_tables_budget(
    make_run: Callable[..., RunDirectory],
) -> None:
    run = make_run(0)
    table = TableWithBest(best=0.015)
    report = analyze_with(run, table)
    assert table.asked == ("1", 12)
    for trajectory in report.trajectories:
        for timed in trajectory.incumbents:
            assert timed.test_regret == pytest.approx(timed.result.evaluation.test_error - 0.015)
    assert "test regret" in report.text
    assert "test regret" not in analyze_with(run).text


def test_the_table_of_trajectories_holds_every_axis_and_mode(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run(0)
    report = analyze_with(run, TableWithBest(best=0.015))
    with (run.report / "trajectory.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == CSV_HEADER
    assert {(row["axis"], row["mode"]) for row in rows} == {(a.value, m.value) for a in TimeAxis for m in IncumbentMode}
    serial = [row for row in rows if (row["axis"], row["mode"]) == ("serial", "any_budget")]
    expected = report.trajectories[0].incumbents
    assert [float(row["time_s"]) for row in serial] == [timed.end_s for timed in expected]
    assert [float(row["test_regret"]) for row in serial] == [timed.test_regret for timed in expected]
    errors = [float(row["validation_error"]) for row in serial]
    assert errors == sorted(errors, reverse=True)


def test_an_empty_run_says_so(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run(0, n_iterations=0)
    report = analyze(run.path)
    assert "No evaluation has ended yet." in report.text
    assert (run.report / "trajectory.csv").read_text() == ",".join(CSV_HEADER) + "\n"
    assert json.loads((run.report / "summary.json").read_text())["times"] is None
    assert (run.report / "trajectory.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("share", [0.05, 0.6])
def test_a_run_can_be_reported_while_a_line_is_being_written(
    make_run: Callable[..., RunDirectory], share: float
) -> None:
    run = make_run(0)
    content = run.results_json.read_bytes()
    content = content[: int(len(content) * share)]
    run.results_json.write_bytes(content)
    report = analyze(run.path)
    assert report.summary.n_evaluations == content.count(b"\n") > 0
    assert "Configurations without a result: " in report.text


def test_a_report_replaces_the_one_before(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run(0)
    whole = run.results_json.read_bytes()
    run.results_json.write_bytes(whole[:5000])
    analyze(run.path)
    run.results_json.write_bytes(whole)
    report = analyze(run.path)
    assert report.summary.n_evaluations == len(read_results(run)) == whole.count(b"\n")
    assert sorted(path.name for path in run.report.iterdir()) == sorted(NAMES)


def test_a_run_in_which_everything_failed_is_reported(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run(0)
    lines = [json.loads(line) for line in run.results_json.read_text().splitlines()]
    for line in lines:
        line[3] = {"loss": 1.0, "info": {"status": "out_of_memory", "t_search_s": 1.0, "state": "CRASHED"}}
    run.results_json.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = analyze(run.path)
    assert report.summary.counts[4] == {Status.OUT_OF_MEMORY: 12}
    assert "Incumbent: none, as no evaluation succeeded" in report.text


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError):
        analyze(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_space_that_this_version_does_not_know_is_named(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run(0, search_space="9")
    with pytest.raises(ValueError, match=r"search_space: got '9', expected one of \['1', '2', '3'\]"):
        analyze_with(run, TableWithBest(best=0.01))
    assert "cell:" not in analyze_with(run).text
