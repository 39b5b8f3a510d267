"""Reading results, also those of a run that goes on, was cut short, or is hpbandster's own."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from results import journal
from results.bohb_lines import config_line, result_line
from results.reading import read_journals, read_results
from results.records import Proposal, Status, TrialResult
from results.run_directory import RunDirectory


def record(run: RunDirectory, *results: TrialResult) -> None:
    for result in results:
        proposal = Proposal(config=result.config, model_based=result.model_based)
        journal.append(run.configs_json, config_line(result.config_id, proposal))
        journal.append(run.results_json, result_line(result))


def test_results_are_read_back_as_they_were_recorded(
    run: RunDirectory, succeeded: TrialResult, diverged: TrialResult
) -> None:
    assert read_results(run) == []
    record(run, succeeded, diverged)
    assert read_results(run) == read_results(run.path) == read_results(str(run.path)) == [succeeded, diverged]


def test_every_attempt_at_a_trial_is_read(run: RunDirectory, succeeded: TrialResult) -> None:
    lost = replace(succeeded, evaluation=replace(succeeded.evaluation, status=Status.WORKER_LOST))
    record(run, lost, succeeded)
    assert [result.evaluation.status for result in read_results(run)] == [Status.WORKER_LOST, Status.OK]


def test_configurations_are_read_before_they_have_results(run: RunDirectory, succeeded: TrialResult) -> None:
    journal.append(run.configs_json, config_line((0, 0, 0), Proposal(config={"x": 1}, model_based=False)))
    record(run, succeeded)
    assert list(read_journals(run).configs.items()) == [
        ((0, 0, 0), Proposal(config={"x": 1}, model_based=False)),
        ((3, 0, 1), Proposal(config=succeeded.config, model_based=True)),
    ]


def test_a_line_that_is_just_being_written_is_left_out(
    run: RunDirectory, succeeded: TrialResult, diverged: TrialResult
) -> None:
    record(run, succeeded, diverged)
    content = run.results_json.read_bytes()
    run.results_json.write_bytes(content[:-20])
    assert read_results(run) == [succeeded]


def test_a_run_that_grows_between_reading_its_two_files_is_read(
    run: RunDirectory, succeeded: TrialResult, diverged: TrialResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(run, succeeded)
    plain_read = journal.read_lines

    def read_while_it_grows(path: Path) -> list[tuple[int, bytes]]:
        lines = plain_read(path)
        monkeypatch.setattr(journal, "read_lines", plain_read)
        record(run, diverged)
        return lines

    monkeypatch.setattr(journal, "read_lines", read_while_it_grows)
    assert read_results(run) == [succeeded]
    assert read_results(run) == [succeeded, diverged]


def test_what_cannot_be_used_is_left_out_and_named(
    run: RunDirectory, succeeded: TrialResult, diverged: TrialResult, caplog: pytest.LogCaptureFixture
) -> None:
    record(run, succeeded)
    with run.results_json.open("a") as file:
        file.write("\n{torn}\n[[0, 0, 0], 4.0]\n")
    journal.append(run.results_json, result_line(replace(succeeded, config_id=(9, 0, 0))))
    with run.configs_json.open("a") as file:
        file.write("   \n")
    record(run, diverged)
    journals = read_journals(run)
    assert list(journals.results) == read_results(run) == [succeeded, diverged]
    assert [message.partition(": got ")[0] for message in journals.left_out] == [
        "configs.json, line 2",
        "results.json, line 2",
        "results.json, line 3",
        "results.json, line 4",
        "results.json, line 5",
    ]
    assert "[9, 0, 0], expected one from configs.json" in journals.left_out[-1]
    assert "left out 5 lines, the first: configs.json, line 2: got a blank line" in caplog.text


@pytest.mark.parametrize("name", ["configs.json", "results.json"])
def test_a_missing_file_is_named(run: RunDirectory, succeeded: TrialResult, name: str) -> None:
    record(run, succeeded)
    (run.path / name).unlink()
    journals = read_journals(run)
    assert journals.results == []
    assert journals.missing == [name]


def test_the_log_of_hpbandster_itself_is_read_without_a_description(tmp_path: Path) -> None:
    (tmp_path / "configs.json").write_text('[[0, 0, 0], {"x": 0.5}, {"model_based_pick": false}]\n')
    times = {"submitted": 1.0, "started": 2.0, "finished": 3.0}
    lines = [
        [[0, 0, 0], 3.0, times, {"loss": 0.25, "info": {"note": "mine"}}, None],
        [[0, 0, 0], 9.0, times, None, "Traceback"],
        [[0, 0, 0], 27.0, times, {"loss": float("nan"), "info": {}}, None],
        [[0, 0, 0], 12.5, times, {"loss": 0.5, "info": {}}, None],
    ]
    (tmp_path / "results.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_results(tmp_path)
    assert [(r.budget, r.evaluation.status, r.evaluation.loss) for r in found] == [
        (3, Status.OK, 0.25),
        (9, Status.BUG, 1.0),
        (27, Status.BUG, 1.0),
        (12.5, Status.OK, 0.5),
    ]
    assert [r.evaluation.t_search_s for r in found] == [1.0] * 4
    assert [type(r.budget) for r in found] == [int, int, int, float]
