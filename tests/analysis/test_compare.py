"""The command ``compare``: baselines by hand, defaults, what it writes, and one sentence for what it cannot use."""

from __future__ import annotations

import csv
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from msgspec import structs

import run_bohb
from analysis.aggregation import Spread
from analysis.contest import Choices, contests_of, with_defaults
from analysis.load import load_run
from analysis.regret import REGRETS, PublicChoice, Regret, course_of_run, curve_of_repeat
from analysis.trajectory import Axis
from nas.blackbox.experiment import header_of, open_problem, run_experiment
from nas.blackbox.experiment_file import ExperimentFile, ExperimentSpec
from results.incumbents import IncumbentMode
from results.records import Evaluation, Status
from spaces.config_spaces import CS1
from tests.analysis.runs import write_space_run

DOCS = Path(__file__).parents[2] / "docs"


@dataclass
class Repeat:
    """Four trainings, two at 4 epochs and two at 12, of cells with two trainings each."""

    repeat: int
    epochs: npt.NDArray[np.int64]
    validation_error: npt.NDArray[np.float64]
    end_s: npt.NDArray[np.float64]
    trainings: npt.NDArray[np.int64] | None
    test_errors: npt.NDArray[np.float64]
    queried_test_errors: npt.NDArray[np.float64]


def repeat(trainings: list[int] | None = None) -> Repeat:
    return Repeat(
        repeat=0,
        epochs=np.array([4, 4, 12, 12]),
        validation_error=np.array([0.20, 0.10, 0.30, 0.25]),
        end_s=np.array([5.0, 12.0, 30.0, 55.0]),
        trainings=None if trainings is None else np.array(trainings),
        test_errors=np.array([[0.10, 0.12], [0.20, 0.24], [0.30, 0.34], [0.16, 0.18]]),
        queried_test_errors=np.array([[0.40, 0.50], [0.60, 0.64], [0.30, 0.34], [0.16, 0.18]]),
    )


@pytest.mark.parametrize(
    ("names", "trainings", "x", "test_errors"),
    [
        # By validation error: the first, the second; then the larger epochs, and the better of these.
        (["best_mean"], None, [5, 12, 30, 55], [0.11, 0.22, 0.32, 0.17]),
        (["queried_epochs"], None, [5, 12, 30, 55], [0.45, 0.62, 0.32, 0.17]),
        (["one_training"], [0, 1, 1, 0], [5, 12, 30, 55], [0.10, 0.24, 0.34, 0.16]),
        # By test error, whatever the epochs.
        (["test_incumbent"], None, [5], [0.11]),
        (["test_incumbent", "queried_epochs"], None, [5, 30, 55], [0.45, 0.32, 0.17]),
        (["figure5"], [1, 0, 1, 1], [5, 30, 55], [0.50, 0.34, 0.18]),
    ],
)
def test_a_repeat_by_hand(
    names: list[str], trainings: list[int] | None, x: list[float], test_errors: list[float]
) -> None:
    curve = curve_of_repeat(repeat(trainings), Axis.SERIAL, Regret.named(names), 0.05)
    assert (curve.x.tolist(), curve.end) == (x, 55)
    assert curve.y == pytest.approx([error - 0.05 for error in test_errors])
    by_count = curve_of_repeat(repeat(trainings), Axis.EVALUATIONS, Regret.named(names), 0.05)
    assert [[5, 12, 30, 55][int(place) - 1] for place in by_count.x] == x


def test_a_draw_that_was_not_recorded_follows_from_the_repeat() -> None:
    regret = Regret(frozenset({PublicChoice.ONE_TRAINING}))
    first = curve_of_repeat(repeat(), Axis.SERIAL, regret, 0.0)
    assert first.y.tolist() == curve_of_repeat(repeat(), Axis.SERIAL, regret, 0.0).y.tolist()
    assert all(value in pair for value, pair in zip(first.y, repeat().test_errors.tolist(), strict=True))


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    cases = [(optimizer, seed) for optimizer in ("darts", "gdas") for seed in (0, 1)]
    return [
        write_space_run(
            tmp_path / f"{optimizer}-{seed}", CS1, n=5, budgets=(4, 8), optimizer=optimizer, seed=seed, draw=index
        ).path
        for index, (optimizer, seed) in enumerate(cases)
    ]


@pytest.fixture
def baselines(tmp_path: Path) -> Path:
    spec = ExperimentSpec(search_space="1", table="digits", evaluations=40)
    file = ExperimentFile.create_or_open(tmp_path / "baselines.jsonl", header_of(spec))
    run_experiment(file, ["random_search", "hyperband"], 3)
    return file.path


def test_the_default_configuration_is_a_method_by_itself(runs: list[Path]) -> None:
    loaded = [load_run(path) for path in runs[:2]]
    choices = Choices(axis=Axis.EVALUATIONS, mode=IncumbentMode.LARGER_PREFERRED)
    contests, _ = contests_of(loaded, choices)
    (contest,), _ = with_defaults(contests, loaded, choices)
    assert [method.name for method in contest.methods] == ["bohb-darts", "darts default"]
    for run in loaded:
        assert run.description is not None
        curve = contest.methods[1].curves[run.description.spec.seed]
        own = [result for result in run.results if result.config == dict(CS1.default)]
        # Two evaluations, at 4 and at 8 epochs; its curve goes on to the end of the study of 10 evaluations.
        assert [result.budget for result in own] == [4, 8]
        assert (curve.x.tolist(), curve.end) == ([1, 2], 10)
        best = run.best_test_error or 0.0
        assert curve.y == pytest.approx([(result.evaluation.test_error or 0.0) - best for result in own])


def test_a_study_of_the_default_alone_is_no_second_method(tmp_path: Path) -> None:
    run = load_run(write_space_run(tmp_path / "run", CS1, n=1, budgets=(4, 8)).path)
    contests, _ = contests_of([run], Choices())
    assert with_defaults(contests, [run], Choices()) == (contests, ())


def test_a_default_without_any_success_is_left_out_and_said(tmp_path: Path) -> None:
    run = load_run(write_space_run(tmp_path / "run", CS1, n=3, budgets=(4,)).path)
    first, *others = run.results
    assert first.config == dict(CS1.default)
    failed = structs.replace(first, evaluation=Evaluation(status=Status.DIVERGED, t_search_s=1.0))
    run = replace(run, results=[failed, *others])
    contests, _ = contests_of([run], Choices())
    where = "search space 1, table digits at 12 epochs"
    note = f"darts default on {where} is left out: no evaluation succeeded in its only run"
    assert with_defaults(contests, [run], Choices()) == (contests, (note,))


def test_an_evaluation_has_one_draw_in_the_study_and_in_its_default(tmp_path: Path) -> None:
    path = write_space_run(tmp_path / "run", CS1, n=4, budgets=(8,)).path
    run = load_run(path)
    space, table = run.space, run.table
    assert space is not None
    assert table is not None
    # The default is the last to end, so its place in the journal is not that of its place alone.
    found = [
        structs.replace(each, finished=100.0 - i, evaluation=structs.replace(each.evaluation, architecture_index=1000))
        for i, each in enumerate(run.results)
    ]
    choices = Choices(regret=Regret(frozenset({PublicChoice.ONE_TRAINING})), axis=Axis.EVALUATIONS)
    for seed in range(8):
        assert run.description is not None
        description = structs.replace(run.description, spec=structs.replace(run.description.spec, seed=seed))
        drawn = replace(run, results=found, description=description)
        of_study = course_of_run(drawn, found, choices.axis, choices.regret).test_errors[-1]
        (contest,), _ = with_defaults(contests_of([drawn], choices)[0], [drawn], choices)
        assert contest.methods[1].curves[seed].y[0] == of_study - run.best_test_error


def test_defaults_of_several_samplers_are_told_apart(tmp_path: Path) -> None:
    runs = [
        load_run(write_space_run(tmp_path / sampler, CS1, n=3, budgets=(4,), sampler=sampler).path)
        for sampler in ("bohb", "random")
    ]
    contests, _ = contests_of(runs, Choices())
    names = [method.name for method in with_defaults(contests, runs, Choices())[0][0].methods]
    assert names == ["bohb-darts", "random-darts", "bohb-darts default", "random-darts default"]


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = run_bohb.main(["compare", *map(str, arguments)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_studies_defaults_and_baselines_stand_on_one_axis(
    runs: list[Path], baselines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = call(capsys, *runs, "--baselines", baselines, "--output", tmp_path / "out")
    assert status == 0
    files = {f"{name}.{kind}" for name in ("trajectories", "comparison") for kind in ("csv", "png", "pdf")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files | {"comparison.txt"}
    assert out.startswith((tmp_path / "out" / "comparison.txt").read_text().rstrip("\n"))
    with (tmp_path / "out" / "trajectories.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    last = {row["method"]: row for row in table}
    assert list(last) == ["bohb-darts", "bohb-gdas", "darts default", "gdas default", "random_search", "hyperband"]
    file = ExperimentFile.open(baselines)
    for name, trajectories in file.trajectories(open_problem(file.header.experiment)).items():
        regrets = [t.mean_test_error[t.incumbents()[-1]] - file.header.best_test_error for t in trajectories]
        assert float(last[name]["center"]) == pytest.approx(np.mean(regrets))
        assert float(last[name]["upper"]) == pytest.approx(np.mean(regrets) + np.std(regrets, ddof=1))
        assert float(last[name]["x"]) == pytest.approx(max(t.end_s[-1] for t in trajectories))
    assert "No ranks: a seed of a study and a repeat of a baseline are no pair" in out


def test_it_takes_baselines_alone_and_studies_alone(
    runs: list[Path], baselines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--regret", "figure5", "--spread", "quantiles", "--axis", "evaluations")
    status, out, _ = call(capsys, "--baselines", baselines, *options, "--output", tmp_path / "a")
    assert (status, "needs three methods with two seeds" in out) == (0, True)
    status, out, _ = call(capsys, *runs, "--no-defaults", "--output", tmp_path / "b")
    assert (status, " default" in out) == (0, False)
    status, out, _ = call(capsys, *runs[:2], "--no-defaults", "--output", tmp_path / "c")
    assert status == 0
    assert "(no figure comparison: it compares methods, and all runs are of one; only their seeds differ)" in out
    assert not (tmp_path / "c" / "comparison.png").exists()


def test_baselines_of_several_files_are_told_apart(
    baselines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.jsonl"
    spec = ExperimentSpec(search_space="1", table="digits", evaluations=40, seed=1)
    run_experiment(ExperimentFile.create_or_open(other, header_of(spec)), ["random_search"], 3)
    status, _, _ = call(capsys, "--baselines", baselines, other, "--output", tmp_path / "out")
    assert status == 0
    with (tmp_path / "out" / "comparison.csv").open(newline="") as stream:
        table = {frozenset((row["first"], row["second"])): row["paired"] for row in csv.DictReader(stream)}
    second = f"random_search ({tmp_path.name}/other)"
    assert table == {
        frozenset(("random_search", "hyperband")): "1",
        frozenset(("random_search", second)): "0",
        frozenset(("hyperband", second)): "0",
    }


def test_baselines_of_folders_of_one_name_have_names_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for seed in (0, 1, 2):
        spec = ExperimentSpec(search_space="1", table="digits", evaluations=5, seed=seed)
        files.append(tmp_path / str(seed) / "runs" / "base.jsonl")
        run_experiment(ExperimentFile.create_or_open(files[-1], header_of(spec)), ["random_search"], 2)
    status, _, _ = call(capsys, "--baselines", *files, "--output", tmp_path / "out")
    assert status == 0
    with (tmp_path / "out" / "trajectories.csv").open(newline="") as stream:
        names = {row["method"]: row["runs"] for row in csv.DictReader(stream)}
    expected = ["random_search", "random_search (runs/base)", f"random_search ({files[2]})"]
    assert names == dict.fromkeys(expected, "2")


@pytest.mark.parametrize("kind", ["itself", "link", "dots", "copy"])
def test_the_same_baselines_twice_are_refused(
    kind: str, baselines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / ".." / tmp_path.name / baselines.name if kind == "dots" else tmp_path / kind
    if kind == "itself":
        other = baselines
    elif kind == "link":
        other.symlink_to(baselines)
    elif kind == "copy":
        shutil.copy(baselines, other)
    status, out, err = call(capsys, "--baselines", baselines, other, "--output", tmp_path / "out")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"--baselines: {other} has random_search of the same experiment with the same seed 0 as {baselines}; " in err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"indices": [', '"indices": [999999, ', ", line 2: architecture index: got 999999, expected 0 to 14579"),
        ('"epochs": [1, 4, 12]', '"epochs": [1, 4, 13]', ": table digits: got a budget of 13 epochs, expected one of "),
        ('"search_space": "1"', '"search_space": "9"', ": --search-space: got '9', expected one of 1, 2, 3"),
    ],
)
def test_a_damaged_file_of_baselines_is_named(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = ExperimentSpec(search_space="1", table="digits", evaluations=5)
    file = ExperimentFile.create_or_open(tmp_path / "base.jsonl", header_of(spec))
    run_experiment(file, ["random_search"], 2)
    content = file.path.read_text()
    assert old in content
    file.path.write_text(content.replace(old, new, 1))
    status, _, err = call(capsys, "--baselines", file.path, "--output", tmp_path / "out")
    assert (status, err.count("\n")) == (2, 1)
    assert f"{file.path}{message}" in err


def test_runs_without_any_success_are_said(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"optimizer": "gdas", "n": 0, "n_failed": 5, "budgets": (4, 8)}
    failed = [write_space_run(tmp_path / f"failed-{seed}", CS1, seed=seed, **options).path for seed in (2, 3)]
    status, out, _ = call(capsys, *runs, *failed, "--no-defaults", "--output", tmp_path / "out")
    assert status == 0
    sentence = (
        "(bohb-gdas on search space 1, table digits at 12 epochs: no evaluation succeeded in 2 of 4 runs, which are "
        "left out of means and intervals)"
    )
    assert sentence in out.splitlines()
    assert sentence in (tmp_path / "out" / "comparison.txt").read_text().splitlines()


def test_an_unfinished_run_that_shortens_the_comparison_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A study of the sampler ``listed`` has as many evaluations as configurations.
    configs = tuple({"learning_rate": 0.1 * i} for i in range(1, 6))
    listed: dict[str, Any] = {"sampler": "listed", "initial_configs": configs, "budgets": (8,)}
    done = write_space_run(tmp_path / "done", CS1, n=5, **listed).path
    going = write_space_run(tmp_path / "going", CS1, n=3, optimizer="gdas", **listed).path
    short = write_space_run(tmp_path / "short", CS1, n=1, optimizer="gdas", seed=1, n_iterations=1, budgets=(8,)).path
    options = ("--no-defaults", "--axis", "evaluations", "--output", tmp_path / "out")
    _, out, _ = call(capsys, done, going, *options)
    assert "after 3 evaluations, which all runs reach" in out
    assert "\n(going has 3 of 5 evaluations; it sets the place of the comparison)\n" in out
    # One iteration on a ladder of one budget is one configuration: of the short one nothing is left.
    _, out, _ = call(capsys, done, short, *options)
    assert "after 1 evaluations, which all runs reach" in out
    assert "sets the place" not in out


def test_a_file_of_baselines_that_shortens_the_comparison_is_said(
    runs: list[Path], baselines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The studies have 10 evaluations and last longer than 3 s; the repeats of the other file have 40 trainings."""

    def notes(*arguments: object) -> list[str]:
        _, out, _ = call(capsys, *arguments, "--output", tmp_path / "out")
        return [line for line in out.splitlines() if "sets the place" in line]

    limits: dict[str, dict[str, Any]] = {
        "--evaluations 4": {"evaluations": 4},
        "--time-limit-s 2.5": {"evaluations": None, "time_limit_s": 2.5},
    }
    axes = ("evaluations", "serial")
    for (limit, fields), axis in zip(limits.items(), axes, strict=True):
        path = tmp_path / f"{axis}.jsonl"
        spec = ExperimentSpec(search_space="1", table="digits", **fields)
        run_experiment(ExperimentFile.create_or_open(path, header_of(spec)), ["random_search", "reinforce"], 2)
        note = f"({path.name} ends each repeat at {limit}, before all other runs; it sets the place of the comparison)"
        assert notes(*runs[:1], "--baselines", path, baselines, "--axis", axis) == [note]
    assert notes("--baselines", tmp_path / "serial.jsonl") == []
    of_study = "(darts-0 has 10 of 23 evaluations; it sets the place of the comparison)"
    assert notes(*runs[:1], "--baselines", baselines, "--axis", "evaluations") == [of_study]


def test_an_error_says_what_is_unusual_about_the_runs(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs[0] / "results.json").unlink()
    status, out, err = call(capsys, runs[0], "--output", tmp_path / "out")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "no evaluation succeeded in its only run; darts-0: results.json is missing" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "compare: nothing was named; name the directories of runs, or files with --baselines"),
        (
            ("RUN", "--axis", "time"),
            "--axis: got 'time', expected one of evaluations, epochs, serial, parallel, ",
        ),
        (("RUN", "--mode", "best"), "--mode: got 'best', expected one of any_budget, largest_budget, larger_preferred"),
        (("RUN", "--spread", "sd"), "--spread: got 'sd', expected one of std, sem, quantiles"),
        (("RUN", "--regret", "figure9"), "--regret: got figure9, expected one of best_mean, figure2, figure5, or some"),
        (("RUN", "--baselines", "none.jsonl"), "--baselines: there is no file none.jsonl; write one with the command"),
        (("RUN", "--baselines", "FILE", "--axis", "epochs"), "--axis: got epochs, expected serial or evaluations"),
        (("RUN", "RUN"), "darts-0: this run was named twice; name each run once"),
    ],
)
def test_what_it_cannot_use_is_one_sentence(
    arguments: tuple[str, ...], message: str, runs: list[Path], baselines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {"RUN": runs[0], "FILE": baselines}
    status, out, err = call(capsys, *(paths.get(argument, argument) for argument in arguments))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_the_docs_name_every_choice_and_their_pictures_are_there() -> None:
    text = (DOCS / "comparison.md").read_text()
    names = [*REGRETS, *(each.value for names in (PublicChoice, Spread, Axis, IncumbentMode) for each in names)]
    assert [name for name in names if f"`{name}`" not in text] == []
    pictures = re.findall(r"!\[.+\]\((.+)\)", text)
    assert pictures
    assert [path for path in pictures if not 0 < (DOCS / path).stat().st_size < 150_000] == []
