"""The command ``simulate`` on a run that was itself made in virtual time, the plan of a study, and what they refuse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import run_bohb
from master.recorder import Recorder
from master.samplers import make_sampler
from master.tuner import Tuner
from master.virtual import Answer, Fleet, simulate
from results.records import TrialSpec
from results.run_directory import RunDirectory

from .conftest import MakeRun, smooth_objective


def hours(trial: TrialSpec) -> Answer:
    """An hour for each epoch, and up to one more."""
    return Answer(smooth_objective(trial, Path()), 3600.0 * (trial.budget + trial.seed % 997 / 997))


@pytest.fixture
def recorded(make_run: MakeRun) -> RunDirectory:
    """A run of two workers, written as a master writes it."""
    run = make_run(n_iterations=9, n_workers=2, seed=1)
    tuner = Tuner(run.spec(), make_sampler(run.spec()))
    done = simulate(tuner, hours, Fleet(n_workers=2))
    with Recorder(run) as recorder:
        for config_id, proposal in tuner.proposals.items():
            recorder.take_config(config_id, proposal)
        for result in done.results:
            recorder.take_result(result)
        recorder.commit()
    return run


def call(run: Path, arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], str]:
    status = run_bohb.main(["simulate", str(run), *arguments.split()])
    printed = capsys.readouterr()
    return status, printed.out.splitlines(), printed.err


def test_a_line_for_each_number_of_workers(recorded: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    status, (first, head, *lines), _ = call(recorded.path, "--workers 2 1 50", capsys)
    assert status == 0
    two, one, fifty = (line.split() for line in lines)
    assert [fields[:2] for fields in (two, one, fifty)] == [["2", "39"], ["1", "39"], ["50", "39"]]
    assert f"on 2 workers in {two[2]} h" in first
    assert two[-1] == "100%"  # as recorded: the same number of workers is the same study
    assert first.endswith(f"{two[5]} of the configurations model-based")
    assert (one[3], one[4]) == ("1.0", "0%")
    assert float(fifty[2]) < float(two[2]) < float(one[2])
    assert int(fifty[4].rstrip("%")) > 50
    assert call(recorded.path, "--workers 2 1 50", capsys)[1] == [first, head, *lines]


def test_losses_preemption_and_limits(recorded: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    (plain,) = call(recorded.path, "--workers 2", capsys)[1][2:]
    (preempted,) = call(recorded.path, "--workers 2 --preempt-every-h 150 --replace-s 600", capsys)[1][2:]
    (lost,) = call(recorded.path, "--workers 2 --lose-every-h 200", capsys)[1][2:]
    (limited,) = call(recorded.path, "--workers 2 --limit-h 300", capsys)[1][2:]
    assert float(preempted.split()[2]) > float(plain.split()[2])
    assert int(preempted.split()[7]) > 0
    assert int(lost.split()[6]) > 0
    assert limited.split()[2] == "300.000"
    assert int(limited.split()[1]) < 39


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--workers 0", "--workers: got 0, expected at least 1"),
        ("--limit-h 0", "--limit-h: got 0.0, expected a number of hours above 0"),
        ("--preempt-every-h nan", "--preempt-every-h: got nan, expected a number of hours above 0"),
        ("--preempt-every-h 50", "which would never end"),
    ],
)
def test_one_sentence_for_what_it_cannot_simulate(
    recorded: RunDirectory, arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = call(recorded.path, arguments, capsys)
    assert status == 2
    assert len(err.strip().splitlines()) == 1
    assert message in err


def test_a_run_without_results_is_refused(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = call(make_run().path, "", capsys)
    assert status == 2
    assert "got a run without results" in err


def test_a_plan_starts_nothing_and_adds_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand: 2 iterations over 3, 6, 12 make 4 at 3, 4 at 6, 2 at 12 epochs, 60 epochs of a minute each: one hour."""
    run_dir = tmp_path / "run"
    options = f"study --run-dir {run_dir} --iterations 2 --workers 4 --sampler random"
    assert run_bohb.main([*options.split(), "--plan", "60"]) == 0
    schedule, note, _, one, four, eight = capsys.readouterr().out.splitlines()
    assert schedule == "Evaluations: 10 (4 at 3, 4 at 6, 2 at 12 search epochs), proposed by random"
    assert note == "Nothing is started. At 60 s per search epoch:"
    assert one.split()[:5] == ["1", "10", "1.000", "1.0", "0%"]
    assert [four.split()[0], eight.split()[0]] == ["4", "8"]
    assert 1 > float(four.split()[2]) >= float(eight.split()[2])
    assert not run_dir.exists()
    assert run_bohb.main([*options.split(), "--plan", "0"]) == 2
    assert "--plan: got 0.0, expected the seconds of one search epoch, above 0" in capsys.readouterr().err


#: Searches of a tiny network, so that an epoch takes a fraction of a second.
_TINY = "--search init_channels=2 cells_per_stack=1 n_stacks=1"


@pytest.mark.parametrize("command", ["study", "master --dataset digits --min-budget 3 --max-budget 12"])
def test_a_plan_measures_an_epoch_of_the_default_search(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One worker takes the epochs of the printed schedule, each as long as the printed seconds."""
    run_dir = tmp_path / "run"
    options = f"{command} --run-dir {run_dir} --iterations 60 --sampler random {_TINY} warm_start_epochs=1"
    assert run_bohb.main([*options.split(), "--plan", "measure"]) == 0
    schedule, measuring, note, _, one, *_ = capsys.readouterr().out.splitlines()
    assert measuring == "Measuring an epoch of the default configuration's search."
    found = re.fullmatch(r"Nothing is started\. At (\S+) s per search epoch, as measured for one search alone:", note)
    assert found is not None
    seconds = float(found[1])
    assert seconds > 0
    counts = re.search(r"\((\d+) at 3, (\d+) at 6, (\d+) at 12 search epochs\)", schedule)
    assert counts is not None
    epochs = 3 * int(counts[1]) + 6 * int(counts[2]) + 12 * int(counts[3])
    assert float(one.split()[2]) == pytest.approx(epochs * seconds / 3600, rel=0.01, abs=0.001)
    assert not run_dir.exists()


def test_a_plan_says_why_it_could_not_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = f"study --run-dir {tmp_path / 'run'} {_TINY} arch_learning_rate=1e30"
    assert run_bohb.main([*options.split(), "--plan", "measure"]) == 2
    (message,) = capsys.readouterr().err.strip().splitlines()
    assert "--plan measure: the search of the default configuration ended as diverged (the training loss is" in message
    assert message.endswith("; give the seconds of one search epoch")
