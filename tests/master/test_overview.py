"""The state of a study from its files: counted by hand, and as the commands print it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import run_bohb
from master.overview import duration, overview_text, read_overview
from results import journal
from results.bohb_lines import config_line, result_line
from results.master_status import Ending, MasterStatus, WorkerStatus, write_status
from results.records import Evaluation, Proposal, Status, TrialResult
from results.run_directory import RunDirectory

from .conftest import MakeRun

START = 1_000_000.0
MASTER = MasterStatus(
    host="login", process_id=7, started=START, updated=START + 60, interval_s=5.0,
    workers=(
        WorkerStatus(name="a.1.x", config_id=(0, 0, 3), budget=25, epochs=5, since=START + 40, n_done=2),
        WorkerStatus(name="b.2.y", n_done=1),
    ),
    problems=("worker c.3.z wants to join, but does not answer at PYRO:c@10.0.0.1:1; see its --host",),
)  # fmt: skip


def result(index: int, status: Status, error: float | None, seconds: float) -> TrialResult:
    return TrialResult(
        config_id=(0, 0, index),
        config={"learning_rate": 0.5},
        model_based=False,
        budget=25,
        submitted=START,
        started=START + 10,
        finished=START + 10 + seconds,
        evaluation=Evaluation(status=status, validation_error=error),
    )


@pytest.fixture
def run(make_run: MakeRun) -> RunDirectory:
    """One iteration: 4 evaluations at 25 epochs, 2 at 50, 1 at 100; three at 25 are there, one of them twice."""
    run = make_run(n_iterations=1)
    for index in range(4):
        proposal = Proposal(config={"learning_rate": 0.5}, model_based=index == 3)
        journal.append(run.configs_json, config_line((0, 0, index), proposal))
    results = [
        result(0, Status.OK, 0.25, 10.0),
        result(1, Status.DIVERGED, None, 20.0),
        result(2, Status.OK, 0.125, 30.0),
        result(2, Status.OK, 0.0, 31.0),
    ]
    journal.append(run.results_json, *map(result_line, results))
    return run


def test_a_running_study_by_hand(run: RunDirectory) -> None:
    write_status(run, MASTER)
    overview = read_overview(run, now=START + 62)
    assert overview.is_running
    assert (len(overview.results), overview.n_configs, overview.model_based_share) == (3, 4, 0.25)
    assert overview.incumbent is not None
    assert overview.incumbent.evaluation.loss == 0.125  # the first result of a trial counts
    assert overview.rate_per_min == 3.0
    # 60 s for 75 epochs: the missing trials take 20 s, twice 40 s and 80 s, on two workers.
    assert overview.left_s == pytest.approx((20 + 2 * 40 + 80) / 2)
    text = overview_text(overview)
    for part in (
        "Running: master process 7 on login, for 60 s.",
        "Evaluations: 3 of 7 (3 of 4 at 25, 0 of 2 at 50, 0 of 1 at 100 search epochs), 3.0 per minute, ",
        "per minute, about 90 s left\n",
        "Failures: 1 diverged\n",
        "Configurations: 4, 25% proposed by the model",
        "Incumbent: (0, 0, 2) at 25 epochs, validation error 0.1250; learning_rate = 0.5",
        "Workers: 2 of 2\n",
        "2 done   (0, 0, 3), epoch 5 of 25 saved, for 20 s",
        "1 done   idle",
        "Problem: worker c.3.z wants to join, but does not answer",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("status", "now", "sentence"),
    [
        (None, START, "No master has started yet."),
        (MASTER, START + 1000, "Standing still: master process 7 on login has written nothing for 16 min; unless it"),
        (msgspec.structs.replace(MASTER, ending=Ending.FINISHED), START + 1000, "Finished."),
        (
            msgspec.structs.replace(MASTER, ending=Ending.FAILED, message="the same bug\nTraceback"),
            START + 1000,
            "Ended (failed: the same bug); `run_bohb.py master --resume RUN`, or `study --resume RUN`, goes on with",
        ),
        (
            msgspec.structs.replace(MASTER, ending=Ending.SUSPENDED),
            START + 1000,
            "Suspended: its scheduler starts the master again; if it does not, `run_bohb.py master --resume RUN`",
        ),
    ],
)
def test_a_study_at_rest_says_what_to_do(
    run: RunDirectory, status: MasterStatus | None, now: float, sentence: str
) -> None:
    if status is not None:
        write_status(run, status)
    overview = read_overview(run, now=now)
    assert not overview.is_running
    assert sentence in overview_text(overview)
    assert "Workers:" not in overview_text(overview)


def test_the_command_reads_and_writes_nothing(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    write_status(run, msgspec.structs.replace(MASTER, ending=Ending.FINISHED))
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    assert run_bohb.main(["status", str(run.path), "--watch"]) == 0
    assert "Finished." in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_durations_have_the_unit_that_fits() -> None:
    assert [duration(s) for s in (0.4, 119, 150, 7200, 200_000)] == ["0 s", "119 s", "2 min", "2.0 h", "2.3 days"]


def test_the_doctor_finds_this_machine_able(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = run_bohb.main(["doctor", "--runs", str(tmp_path), "--host", "127.0.0.1"])
    out = capsys.readouterr().out
    assert status == 0
    for what in ("versions", "interface", "ports", "name", "descriptors", "locks", "disk", "data and table", "GPU"):
        assert f" {what}: " in out
    assert "for a cluster, name another one by --host" in out


def test_the_doctor_says_what_to_do_about_what_is_missing(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    arguments = ["--host", "203.0.113.7", "--dataset", "mnist", "--workers", "100000000", "--run", str(run.path)]
    assert run_bohb.main(["doctor", *arguments]) == 1
    out = capsys.readouterr().out
    assert out.count("FAILED") == 4
    for remedy in (
        "name an address of this machine by --host",
        "raise the hard limit",
        "see docs/tables",
        "start it: ",
    ):
        assert f"-> {remedy}" in out
