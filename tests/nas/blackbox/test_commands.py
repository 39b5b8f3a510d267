"""The command ``baselines``: what it prints, and one sentence for each input that it cannot use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import run_bohb
from nas.blackbox.experiment import open_problem
from nas.blackbox.experiment_file import ExperimentFile
from nas.tabular import open_table, write_store


@pytest.fixture
def holey_table(tmp_path: Path) -> Path:
    """The digits table without its last cell."""
    data = open_table("digits").data
    fewer = replace(
        data,
        cell_hashes=data.cell_hashes[:-1],
        cell_keys=data.cell_keys[:-1],
        trainable_parameters=data.trainable_parameters[:-1],
        measurements={name: array[:, :-1] for name, array in data.measurements.items()},
    )
    write_store(tmp_path / "holey.table", fewer, name="holey", provenance={})
    return tmp_path / "holey.table"


def call(arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = run_bohb.main(["baselines", "--processes", "1", *arguments.split()])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_it_prints_means_and_standard_deviations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "x.jsonl"
    status, out, _ = call(f"--repeats 7 --evaluations 30 --methods reinforce random_search --output {path}", capsys)
    assert status == 0
    file = ExperimentFile.open(path)
    found = file.trajectories(open_problem(file.header.experiment))
    for method in ("reinforce", "random_search"):
        last = [(t, t.incumbents()[-1]) for t in found[method]]
        of_validation = np.array([t.mean_validation_error[i] for t, i in last]) - file.header.best_validation_error
        of_test = np.array([t.mean_test_error[i] for t, i in last]) - file.header.best_test_error
        (line,) = [line for line in out.splitlines() if line.startswith(method)]
        hours = np.mean([t.end_s[-1] for t in found[method]]) / 3600
        assert line.split()[1:4] == ["7", "30.0", f"{hours:.2f}"]
        regrets = [f"{regret.mean():.5f} ± {regret.std():.5f}" for regret in (of_validation, of_test)]
        assert line.endswith("  ".join(regrets))
    assert call(f"--repeats 7 --evaluations 30 --methods reinforce --output {path}", capsys)[1] == out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--repeats 0", "--repeats: got 0, expected at least 1"),
        ("--processes 0 --repeats 1", "--processes: got 0, expected at least 1"),
        ("--evaluations 0", "--evaluations: got 0, expected at least 1"),
        ("--time-limit-s 0.5", "--time-limit-s: got 0.5 s, expected at least"),
        ("--time-limit-s nan", "--time-limit-s: got nan s, expected at least"),
        ("--time-limit-s 9 --evaluations 9", "--evaluations and --time-limit-s: expected exactly one of them"),
        ("--methods", "--methods: no baseline was named; name some of random_search, "),
        ("--methods annealing", "--methods: got 'annealing', expected some of random_search, "),
        ("--search-space 2", "--table: digits holds 0 of the 29,160 architectures"),
        ("--search-space 4", "--search-space: got '4', expected one of 1, 2, 3"),
        ("--table nowhere", "nowhere, expected one of"),
    ],
)
def test_one_sentence_for_what_it_cannot_use(
    arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = call(f"--output {tmp_path / 'x.jsonl'} {arguments}", capsys)
    assert status == 2
    assert len(err.strip().splitlines()) == 1
    assert message in err
    assert not (tmp_path / "x.jsonl").exists()


def test_a_table_with_missing_cells_is_refused(
    holey_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = call(f"--table {holey_table} --output {tmp_path / 'x.jsonl'}", capsys)
    assert status == 2
    assert "--table: holey holds 14," in err
    assert "of the 14,580 architectures of search space 1" in err


def test_a_file_of_another_experiment_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.jsonl"
    call(f"--repeats 1 --evaluations 3 --output {path}", capsys)
    content = path.read_bytes()
    for arguments, message in (
        ("--evaluations 4", "got evaluations 3, expected 4"),
        ("--evaluations 3 --seed 5", "got seed 0, expected 5"),
        ("--evaluations 3 --drawn", "got is_drawn False, expected True"),
        ("--time-limit-s 9", "got time_limit_s None, expected 9.0"),
    ):
        status, _, err = call(f"--repeats 1 --output {path} {arguments}", capsys)
        assert status == 2
        assert message in err
    assert path.read_bytes() == content
    path.write_text("[1]\n")
    assert "the first line of an experiment's file" in call(f"--repeats 1 --output {path}", capsys)[2]


@pytest.mark.parametrize(("method", "package"), [("smac", "smac"), ("tpe", "optuna")])
def test_a_missing_extra_is_named(
    method: str, package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("nas.blackbox.baseline.find_spec", lambda name: None)
    status, _, err = call(f"--methods {method} --output {tmp_path / 'x.jsonl'}", capsys)
    assert status == 2
    assert f"{method} needs the package {package}, which is not installed; install nasbohb[baselines]" in err
