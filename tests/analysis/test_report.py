"""The report of a run: before it began, while it goes on, after it ended."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from analysis.figures.trajectory import HEADER
from analysis.load import UnknownBestError, find_best_test_error, load_run
from analysis.report import Report, analyze, report_on, write_figures
from analysis.trajectory import Axis
from nas.tabular import TableError, open_table
from nas.tabular.errors import WrongDatasetError
from results.incumbents import IncumbentMode
from results.reading import read_results
from results.records import Status
from results.run_directory import RunDirectory, RunNotFoundError
from spaces import SEARCH_SPACES, SearchSpace
from spaces.config_spaces import CS1
from tests.analysis.runs import study_spec, write_space_run


def names_of(report: Report) -> list[str]:
    """The files of a report: the summary, and three for each figure that applies."""
    figures = [f"{name}.{kind}" for name in report.figures for kind in ("csv", "png", "pdf")]
    return ["summary.txt", "summary.json", *figures]


@dataclass
class TableWithBest:
    """Stands for a table, of which the regret asks two questions."""

    best: float
    name: str = "mine"
    held: float = 1.0
    asked: tuple[str | None, int | None] = (None, None)

    def coverage(self, space: SearchSpace) -> tuple[int, int]:
        return int(self.held * space.size), space.size

    def best_test_error(self, space: SearchSpace | None, budget: int | None = None) -> float:
        self.asked = (space and space.name, budget)
        return self.best


def test_a_report_is_written_beside_the_results(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run(0)
    before = {path: path.read_bytes() for path in (run.run_json, run.configs_json, run.results_json)}
    report = analyze(run.path)
    assert list(report.files) == [run.report / name for name in names_of(report)]
    assert {"trajectory", "marginals"} <= set(report.figures)
    assert sorted(path.name for path in run.report.iterdir()) == sorted(names_of(report))
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


def test_the_regret_is_measured_from_the_best_cell_of_the_space_at_the_tables_budget() -> None:
    table: Any = TableWithBest(best=0.015)
    assert find_best_test_error(study_spec(table_epochs=4), table) == 0.015
    assert table.asked == ("1", 4)
    half: Any = TableWithBest(best=0.015, held=0.5)
    with pytest.raises(UnknownBestError, match="table mine holds 7,290 of the 14,580 architectures of search space 1"):
        find_best_test_error(study_spec(), half)


def test_the_regret_is_from_the_studys_table(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run(0)
    report = analyze(run.path)
    best = open_table("digits").best_test_error(SEARCH_SPACES["1"], 12)
    assert report.run.best_test_error == best
    for trajectory in report.figures["trajectory"].trajectories:
        for timed in trajectory.incumbents:
            assert timed.test_regret == pytest.approx(timed.result.evaluation.test_error - best)
    assert "test regret" in report.text


def test_a_missing_table_costs_the_regret_alone(make_run: Callable[..., RunDirectory], tmp_path: Path) -> None:
    run = make_run(0, table=str(tmp_path / "absent"))
    report = analyze(run.path)
    assert report.run.best_test_error is None
    assert "(no test regret: " in report.text
    assert ", test regret" not in report.text
    with pytest.raises(TableError):
        analyze(run.path, table=str(tmp_path / "other"))


def test_epochs_that_the_table_has_not_cost_the_regret_alone(make_run: Callable[..., RunDirectory]) -> None:
    report = analyze(make_run(0, table_epochs=7).path)
    assert "(no test regret: " in report.text
    assert report.files


def test_a_table_of_another_data_set_measures_no_regret(make_run: Callable[..., RunDirectory]) -> None:
    with pytest.raises(WrongDatasetError, match="digits"):
        analyze(make_run(0, dataset="cifar10").path, table="digits")


def test_the_table_of_trajectories_holds_every_axis_and_mode(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run(0)
    report = analyze(run.path)
    with (run.report / "trajectory.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == HEADER
    assert {(row["axis"], row["mode"]) for row in rows} == {(a.value, m.value) for a in Axis for m in IncumbentMode}
    serial = [row for row in rows if (row["axis"], row["mode"]) == ("serial", "any_budget")]
    trajectories = {(t.axis, t.mode): t for t in report.figures["trajectory"].trajectories}
    expected = trajectories[Axis.SERIAL, IncumbentMode.ANY_BUDGET].incumbents
    assert [float(row["x"]) for row in serial] == [timed.end for timed in expected]
    assert [float(row["test_regret"]) for row in serial] == [timed.test_regret for timed in expected]
    errors = [float(row["validation_error"]) for row in serial]
    assert errors == sorted(errors, reverse=True)


def test_an_empty_run_says_so(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run(0, n_iterations=0)
    report = analyze(run.path)
    assert "No evaluation has ended yet." in report.text
    assert (run.report / "trajectory.csv").read_text() == ",".join(HEADER) + "\n"
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
    assert sorted(path.name for path in run.report.iterdir()) == sorted(names_of(report))


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


def test_a_space_that_this_version_does_not_have_is_named(make_run: Callable[..., RunDirectory]) -> None:
    report = analyze(make_run(0, search_space="9").path)
    assert "(no test regret: run.json names the search space '9', which this version does not have (it has 1" in (
        report.text
    )
    assert "cell:" not in report.text
    assert report.files


def test_a_run_that_cannot_be_written_to_is_reported_all_the_same(
    make_run: Callable[..., RunDirectory], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(0)
    run.report.rmdir()
    run.report.write_text("in the way, as root may write to any folder")
    report = analyze(run.path)
    assert report.files == ()
    assert report.text.endswith("Report: not written")
    assert "--output" in caplog.text
    written = analyze(run.path, output=tmp_path / "new" / "folder")
    assert [path.name for path in written.files] == names_of(written)
    assert all(path.parent == tmp_path / "new" / "folder" for path in written.files)
    with pytest.raises(OSError, match="report"):
        analyze(run.path, output=run.report)


@pytest.mark.parametrize("name", ["configs.json", "results.json"])
def test_a_missing_journal_is_said(make_run: Callable[..., RunDirectory], name: str) -> None:
    run = make_run(0)
    (run.path / name).unlink()
    text = analyze(run.path).text
    assert f"No evaluation is known: {name} missing." in text
    assert f"({name} is missing)" in text


def test_lines_that_cannot_be_used_are_left_out_with_their_number(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run(0)
    whole = analyze(run.path).summary.n_evaluations
    lines = run.results_json.read_text().splitlines()
    run.results_json.write_text("\n".join([lines[0], "", *lines[1:]]) + "\n")
    lost = json.loads(run.configs_json.read_text().splitlines()[0])[0]
    run.configs_json.write_text("".join(run.configs_json.read_text().splitlines(keepends=True)[1:]))
    n_lost = sum(json.loads(line)[0] == lost for line in lines)
    assert n_lost > 0
    report = analyze(run.path)
    assert report.summary.n_evaluations == whole - n_lost
    assert (
        f"(lines that cannot be used are left out: {n_lost + 1}: results.json, line 2: got a blank line" in report.text
    )


def write_log(folder: Path, lines: list[list[Any]]) -> Path:
    """A log as hpbandster's own logger writes it, without a description of the study."""
    folder.mkdir()
    ids = list(dict.fromkeys(tuple(line[0]) for line in lines))
    configs = [[list(config_id), {"x": 0.5}, {"model_based_pick": False}] for config_id in ids]
    for name, content in (("configs.json", configs), ("results.json", lines)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in content))
    return folder


def log_line(config_id: list[int], budget: float, started: float, took: float, loss: float | None) -> list[Any]:
    times = {"submitted": started, "started": started, "finished": started + took}
    return [config_id, budget, times, None if loss is None else {"loss": loss, "info": {}}, None]


def test_a_log_of_hpbandster_is_analysed(tmp_path: Path) -> None:
    log = write_log(
        tmp_path / "log",
        [
            log_line([0, 0, 0], 12.5, 1e9, 10.0, 0.5),
            log_line([0, 0, 1], 12.5, 1e9 + 5, 15.0, 0.25),
            log_line([0, 0, 1], 37.5, 1e9 + 20, 30.0, 0.125),
            log_line([1, 0, 0], 12.5, 1e9 + 20, 4.0, None),
        ],
    )
    report = analyze(log)
    run = report.run
    assert (run.description, run.n_workers, run.largest_budget, run.best_test_error) == (None, 2, 37.5, None)
    assert report.summary.counts == {12.5: {Status.OK: 2, Status.BUG: 1}, 37.5: {Status.OK: 1}}
    assert report.summary.times is not None
    assert report.summary.times.t_search_s == 10 + 15 + 30 + 4
    ends = {trajectory.axis: trajectory.end for trajectory in report.figures["trajectory"].trajectories}
    assert (ends[Axis.SERIAL], ends[Axis.EVALUATIONS], ends[Axis.EPOCHS]) == (59, 4, 75)
    incumbent = report.summary.incumbents[IncumbentMode.LARGEST_BUDGET]
    assert incumbent is not None
    assert (incumbent.config_id, incumbent.budget) == ((0, 0, 1), 37.5)
    assert report.text.startswith("Log of hpbandster log\n")
    assert "configuration (0, 0, 1) at 37.5 epochs" in report.text
    assert "(there is no run.json" in report.text
    assert "default" not in report.text
    assert "Workers: 2 workers for 50.0 s, busy 59% of that\n" in report.text
    assert "losses outside" not in report.text
    assert [path.name for path in report.files] == names_of(report)
    assert not {"importances", "marginals"} & set(report.figures)
    assert "(no figure importances: the bounds of the hyperparameters are not known" in report.text


def test_evaluations_of_a_warm_start_are_apart(tmp_path: Path) -> None:
    """Their times are of another clock, or begin at 0: together they would span decades."""
    lines = [log_line([-1, 0, 0], 9, 0.0, 5.0, 0.01), log_line([0, 0, 0], 9, 1e9, 10.0, 0.5)]
    report = analyze(write_log(tmp_path / "log", lines))
    assert report.summary.n_evaluations == 1
    assert report.summary.n_pending == 0
    assert report.summary.utilisation is not None
    assert report.summary.utilisation.span_s == 10
    assert "from an earlier run, are left out: 1)" in report.text


def test_losses_that_are_no_error_fractions_are_said(tmp_path: Path) -> None:
    lines = [log_line([0, 0, i], 9, 1e9 + i, 10.0, loss) for i, loss in enumerate([-3.5, 0.5, 120.0])]
    report = analyze(write_log(tmp_path / "log", lines))
    assert "(losses outside [0, 1] are no error fractions: 2, from -3.5 to 120)" in report.text


def test_a_report_needs_no_file_once_a_run_is_read(make_run: Callable[..., RunDirectory]) -> None:
    run = load_run(make_run(0).path)
    for path in (run.path / "run.json", run.path / "configs.json", run.path / "results.json"):
        path.unlink()
    assert report_on(run).summary.n_evaluations == len(run.results)


def test_one_figure_is_written_alone(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run(0)
    written = write_figures([run.path], figure="trajectory")
    assert [path.name for path in written.files] == ["trajectory.csv", "trajectory.png", "trajectory.pdf"]
    assert sorted(run.report.iterdir()) == sorted(written.files)
    assert written.text.splitlines() == [
        load_run(run.path).title,
        *(f"Written: {path}" for path in written.files),
    ]


def test_several_runs_are_compared_in_a_folder_of_their_own(tmp_path: Path) -> None:
    runs = [write_space_run(tmp_path / name, CS1, n=10, budgets=(8,)).path for name in ("a", "b")]
    written = write_figures(runs, output=tmp_path / "both")
    assert list(written.figures) == ["maps_by_budget", "error_distributions"]
    assert sorted((tmp_path / "both").iterdir()) == sorted(written.files)
    assert "(no figure trajectory: it shows one run, and there are 2)" in written.text


def test_figures_that_cannot_be_written_are_named(make_run: Callable[..., RunDirectory], tmp_path: Path) -> None:
    run = make_run(0).path
    with pytest.raises(ValueError, match="--figure: got 'pie', expected one of trajectory, trajectories, "):
        write_figures([run], figure="pie")
    with pytest.raises(ValueError, match="no figure pairs: the configuration space has fewer than two"):
        write_figures([run], figure="pairs")
    with pytest.raises(ValueError, match="2 runs have no common folder for the figures; name one with --output"):
        write_figures([run, run])
    link = tmp_path / "link"
    link.symlink_to(run)
    with pytest.raises(ValueError, match="link: this run was named twice; name each run once"):
        write_figures([link, run], output=tmp_path / "figures")
    assert not (tmp_path / "figures").exists()
