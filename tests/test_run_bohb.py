"""The command line: every command's help, bad input in one line, and a study from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import run_bohb
from master.commands.study import Master, Study
from master.samplers import SAMPLERS
from nas.datasets import DATASETS
from nas.oneshot import METHODS
from nas.oneshot.checkpoint import alone_in
from nas.oneshot.commands import parse_settings
from nas.tabular import TABLES, open_table
from nas.tabular.contents import TableData
from nas.tabular.store import write_store
from results.reading import read_journals, read_results
from results.records import Status, StudySpec
from results.run_directory import RunDirectory
from results.trial_directory import read_trajectory
from spaces import CONFIG_SPACES, SEARCH_SPACES

ROOT = Path(run_bohb.__file__).parent
TINY = ("init_channels=2", "cells_per_stack=1", "n_stacks=2", "threads=1")


def call(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command, in this process."""
    try:
        status = run_bohb.main(arguments)
    except SystemExit as exit_:  # how the parser of options ends
        status = exit_.code if isinstance(exit_.code, int) else 1
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.mark.parametrize("command", run_bohb.COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call([command, "--help"], capsys)
    assert status == 0
    assert f"run_bohb.py {command}" in out


@pytest.mark.parametrize("command", ["import", "download", "info", "query", "measure"])
def test_every_table_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(["table", command, "--help"], capsys)
    assert status == 0
    assert f"run_bohb.py table {command}" in out


def test_no_help_waits_for_a_heavy_library(tmp_path: Path) -> None:
    """One process asks for the help of every command; what was loaded by then is loaded by none of them."""
    ask = (
        "import contextlib, io, sys, run_bohb\n"
        "for command in [[name] for name in run_bohb.COMMANDS] + [['table', 'measure']]:\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "        run_bohb.main([*command, '--help'])\n"
        "print(*sorted({'torch', 'Pyro4', 'hpbandster', 'matplotlib', 'ConfigSpace', 'scipy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(["--help"], capsys)
    assert status == 0
    assert all(f"  {command} " in out for command in run_bohb.COMMANDS)
    assert call([], capsys)[0] == 2


def test_the_help_of_a_study_names_all_there_is_to_choose_from(capsys: pytest.CaptureFixture[str]) -> None:
    out = " ".join(call(["study", "--help"], capsys)[1].replace("│", " ").split())
    for mapping in (METHODS, SEARCH_SPACES, CONFIG_SPACES, DATASETS, TABLES, SAMPLERS):
        assert " or ".join(mapping) in out


def test_spaces_prints_the_computed_counts_beside_the_papers(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(["spaces"], capsys)
    assert status == 0
    for count in ("14,580", "29,160", "1,312,200", "6,240", "16,632", "363,648", "3,702", "12,474", "135,900"):
        assert count in out
    for count in ("2,685", "7,773", "55,854", "paper 29,160", "paper 12,510", "paper 137,406"):
        assert count in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "got command 'nonsense', expected one of study"),
        (["study", "--search-space", "7"], "got '7', expected one of"),
        (["study", "--optimizer", "adam"], "got 'adam', expected one of"),
        (["study", "--config-space", "cs9"], "got 'cs9', expected one of"),
        (["study", "--config-space", "cs3", "--optimizer", "random_ws"], "but 'random_ws' does not use it"),
        (["study", "--dataset", "mnist"], "got 'mnist', expected one of"),
        (["study", "--sampler", "tpe"], "--sampler: got 'tpe', expected one of"),
        (["study", "--sampler", "listed"], "--sampler listed needs at least one configuration"),
        (["study", "--try", "cutout_prob"], "--try: got 'cutout_prob', expected name=value"),
        (["study", "--try", "colour=1"], "--try: configuration space cs2: got ['colour']"),
        (
            ["study", "--try", "cutout_prob=0.5", "--try", "cutout_prob=2"],
            "--try: cutout_prob: got 2, expected a number",
        ),
        (["study", "--try", "cutout_prob=high"], "--try: cutout_prob: got 'high', expected a number"),
        (["study", "--try", "batch_size=20.5", "--config-space", "cs3"], "got 20.5, expected a whole number from 16"),
        (["study", "--table", "absent"], "got absent, expected one of"),
        (["study", "--table-epochs", "5"], "got 5, expected one of"),
        (["study", "--min-budget", "20", "--max-budget", "10"], "min_budget: got 20"),
        (["study", "--eta", "1"], "eta: got 1"),
        (["study", "--workers", "0"], "n_workers: got 0"),
        (
            ["study", "--dataset", "cifar10"],
            "table nasbench101: there is nothing at data/nasbench101.table; write it with",
        ),
        (["study", "--dataset", "cifar10", "--table", "digits"], "of data set digits, expected one of cifar10"),
        (["search", "--dataset", "cifar10", "--table", "digits"], "of data set digits, expected one of cifar10"),
        (["search", "--dataset", "cifar10", "--table", "nasbench101"], "table nasbench101: there is nothing at"),
        (["search", "--data-dir", "cifar"], "--data-dir: got 'cifar', but data set digits has no files"),
        (["study", "--data-dir", "cifar"], "--data-dir: got 'cifar', but data set digits has no files"),
        (["search", "--dataset", "mnist"], "got 'mnist', expected one of"),
        (["search", "--dataset", "own.npz"], "own.npz, which is no file"),
        (["study", "--dataset", "own.npz"], "own.npz, which is no file"),
        (["search", "--dataset", "own.npz", "--table", "absent"], "own.npz, which is no file"),
        (["search", "--dataset", "own.npz", "--table", "none"], "own.npz, which is no file"),
        (["study", "--dataset", "own.npz", "--table", "digits"], "own.npz, which is no file"),
        (["study", "--search", "colour=red"], "got 'colour=red', expected name=value"),
        (["study", "--search", "threads=many"], "got threads=many"),
        (["study", "--search", "seed=1"], "which the study itself sets"),
        (["study", "--search", "momentum=0.5", "--config-space", "cs3"], "got ['momentum'], which configuration space"),
        (["study", "--search", "split=plain"], "got ['split'], which the study itself sets"),
        (["study", "--search", "warm_start_epochs=3", "--min-budget", "3"], "expected fewer than the 3 epochs"),
        (["study", "--search", "kernels=native", "precision=bf16"], "got 'native' with precision 'bf16'"),
        (["study", "--search", "learning_rate_min=0.02"], "--config-space cs2: learning_rate may be 0.001"),
        (["study", "--try", "learning_rate=0.01", "--search", "learning_rate_min=0.02"], "learning_rate may be 0.001"),
        (["study", "--search", "init_channels=0"], "init_channels: got 0"),
        (["study", "--search", "device=foo"], "device: got 'foo', expected 'cpu'"),
        (["study", "--search", "n_stacks=5"], "n_stacks: got 5, expected at least one pixel left of the 8"),
        (["study", "--optimizer", "pc_darts", "--search", "init_channels=6"], "expected a multiple of 4"),
        (["search", "--device", "cuda:99"], "device: got 'cuda:99'"),
        (["search", "--n-stacks", "5"], "n_stacks: got 5"),
        (["study", "--search", "precision=double"], "expected one of ['float32', 'tf32', 'bf16']"),
        (["study", "--search", "compile=perhaps"], "got compile=perhaps, expected a value of type bool"),
        (["study", "--host", "203.0.113.7"], "--host: got '203.0.113.7', expected an address of this machine"),
        (["study", "--table-epochs", "0"], "got 0, expected one of [1, 4, 12]"),
        (["study", "--min-budget", "0"], "min_budget: got 0"),
        (["search", "--optimizer", "adam"], "got 'adam', expected one of"),
        (["search", "--epochs", "0"], "epochs: got 0, expected at least 1"),
        (["search", "--table", "absent"], "got absent, expected one of"),
        (["analyze", "absent"], "absent"),
        (["analyze"], "no run was named"),
        (["analyze", "absent", "absent", "--output", "x"], "absent: this run was named twice; name each run once"),
        (["importance"], "no run was named"),
        (["importance", "absent", "./absent"], "absent: this run was named twice; name each run once"),
        (["importance", "absent", "--pairs", "-1"], "--pairs: got -1"),
        (["importance", "absent"], "absent"),
        (["table", "info", "absent"], "got absent"),
        (["table", "query", "digits"], "give exactly one of"),
        (["table", "query", "digits", "--index", "14580"], "architecture index: got 14580, expected 0 to 14579"),
        (["table", "query", "digits", "--hash", "abc"], "got 'abc', expected 32 hexadecimal digits"),
        (["table", "query", "digits", "--hash", "0" * 32], "is none of its 2685 cells"),
        (["table", "query", "digits", "--index", "3", "--budget", "5"], "got a budget of 5 epochs"),
        (["table", "query", "digits", "--search-space", "2", "--index", "7777"], "is none of its 2685 cells"),
        (["table", "query", "digits", "--adjacency", "01", "--operations"], "adjacency"),
        (["table", "query", "digits", "--adjacency", "0x", "00"], "got row '0x'"),
        (
            ["table", "measure", "x.table", "--network.image-channels", "3"],
            "--network.image-channels, --network.n-classes: got 3 and",
        ),
        (["table", "import", "absent.tfrecord", "x.table"], "absent.tfrecord does not exist"),
        (["table", "measure", "x.table", "--dataset", "absent.npz"], "absent.npz, which is no file"),
        (["table", "measure", "x.table", "--search-space", "4"], "got '4', expected one of"),
    ],
)
def test_bad_input_gives_one_line_and_leaves_nothing(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = call(arguments, capsys)
    assert status == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_never_overwritten(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    status, _, err = call(["study", "--run-dir", str(tmp_path / "run")], capsys)
    assert status == 2
    assert "exists already" in err
    assert list((tmp_path / "run").iterdir()) == []


def test_a_table_that_lacks_cells_of_the_space_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A cut of the digits table that does not say how it was measured, so that nothing can be added."""
    data = open_table("digits").data
    few = TableData(
        data.budgets,
        data.cell_hashes[:100],
        data.cell_keys[:100],
        data.trainable_parameters[:100],
        {name: values[:, :100] for name, values in data.measurements.items()},
    )
    write_store(tmp_path / "few.table", few, name="few", provenance={"dataset": "digits"})
    arguments = ["study", "--table", str(tmp_path / "few.table"), "--run-dir", str(tmp_path / "run")]
    status, _, err = call(arguments, capsys)
    assert status == 2
    assert "of the 14,580 architectures of search space 1" in err
    assert not (tmp_path / "run").exists()


def test_query_prints_all_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    table = open_table("digits")
    cell = table.cells()[5]
    status, out, _ = call(["table", "query", "digits", "--hash", cell.hash], capsys)
    assert status == 0
    for budget in table.budgets:
        entry = table.query(cell, budget)
        assert f"at {budget} epochs" in out
        assert ", ".join(f"{value:.4f}" for value in entry.test_error) in out
    rows = [arg for row in cell.adjacency for arg in ["".join(map(str, row))]]
    by_graph = ["table", "query", "--adjacency", *rows, "--operations", *cell.operations[1:-1]]
    assert call(by_graph, capsys)[1] == out


def test_info_says_where_the_embedded_table_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(["table", "info", "digits"], capsys)
    assert status == 0
    assert "2,685 cells, budgets [1, 4, 12] epochs, 3 repeats" in out
    assert "command: run_bohb.py table measure" in out
    assert "between repeats" in out
    assert "search space 1: every architecture; lowest mean test error" in out
    assert "search space 2: 0 of 29,160 architectures\n" in out
    assert "search space 3: 264,627 of 1,312,200 architectures" in out  # a fifth, as the help of `search` says


def test_measuring_a_table_by_command_goes_on_where_it_was(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "own.table"
    options = ["--budgets", "1", "--n-repeats", "1", "--network.stem-channels", "4", "--network.image-channels", "1"]
    options += ["--processes", "1", "--journal", str(tmp_path / "journal.jsonl")]
    measure = ["table", "measure", str(target), *options]
    assert call([*measure, "--limit", "2"], capsys)[0] == 0
    first = (tmp_path / "journal.jsonl").read_text()
    target.rename(tmp_path / "two.table")
    status, out, _ = call([*measure, "--limit", "3"], capsys)
    assert status == 0
    assert (tmp_path / "journal.jsonl").read_text().startswith(first)
    assert len(open_table(target)) == 3
    assert "3 cells, budgets [1] epochs, 1 repeats" in out
    assert "between cells" in out
    assert "between repeats" not in out  # of one there is none


def test_search_reports_each_epoch_and_goes_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    settings = ["--init-channels", "2", "--cells-per-stack", "1", "--n-stacks", "2", "--epochs", "2"]
    search = ["search", *settings, "--directory", str(tmp_path / "search")]
    status, out, _ = call(search, capsys)
    assert status == 0
    assert out.count("epoch ") == 2
    assert "table digits at 12 epochs: validation error" in out
    again = call(search, capsys)
    assert again[0] == 0
    assert "epoch " not in again[1]
    assert again[1].startswith(f"{tmp_path / 'search'}: already finished, with all 2 epochs\n")
    assert again[1].splitlines()[-1] == out.splitlines()[-1]


def test_a_search_is_alone_in_a_directory_of_searches(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "run.json").touch()
    status, _, err = call(["search", "--directory", str(tmp_path)], capsys)
    assert status == 2
    assert "holds run.json, and no search" in err
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    for path in (tmp_path / "run.json", tmp_path / "run.json" / "below"):
        status, _, err = call(["search", "--directory", str(path)], capsys)
        assert status == 2
        assert err.endswith(f"got {path}, but {tmp_path / 'run.json'} is a file; expected a directory or a new path\n")
    with alone_in(tmp_path / "search"):
        status, _, err = call(["search", "--directory", str(tmp_path / "search")], capsys)
        assert status == 2
        assert "another process is searching here" in err
    assert not (tmp_path / "search").exists()
    with pytest.raises(ValueError, match="no end"), alone_in(tmp_path / "search"):
        raise ValueError("no end")
    with alone_in(tmp_path / "search"):  # free again
        pass


def test_settings_of_the_searches_are_typed_by_their_fields() -> None:
    pairs = ["precision=bf16", "compile=true", "batch_size=none", "threads=2", "learning_rate=1e-2", "device=cuda:1"]
    assert parse_settings(pairs) == {
        "precision": "bf16",
        "compile": True,
        "batch_size": None,
        "threads": 2,
        "learning_rate": 0.01,
        "device": "cuda:1",
    }


def test_the_settings_of_a_small_study_give_way_to_ones_own() -> None:
    spec = Study(search=("init_channels=4", "n_stacks=2")).spec("x")
    assert spec.search_settings == {
        "init_channels": 4,
        "cells_per_stack": 1,
        "batch_size": 32,
        "threads": 1,
        "n_stacks": 2,
    }


def test_a_masters_defaults_are_the_papers_study() -> None:
    """Section 5 of the paper: 280 evaluations of 25, 50 and 100 epochs by BOHB with eta 2, 16 workers."""
    master = Master()
    spec = StudySpec(
        run_id="x", optimizer="darts", search_space="1", config_space="cs2", dataset="cifar10", data_dir=None,
        table="nasbench101", table_epochs=108,
    )  # fmt: skip
    paper = (25, 100, 2, 64, 16, "bohb")
    assert (
        master.min_budget,
        master.max_budget,
        master.eta,
        master.iterations,
        master.workers,
        master.sampler,
    ) == paper
    assert (spec.min_budget, spec.max_budget, spec.eta, spec.n_iterations, spec.n_workers, spec.sampler) == paper
    assert (master.dataset, master.settings, master.search) == ("cifar10", (), ())


def test_a_study_starts_from_the_defaults_of_its_optimizer() -> None:
    """Those of ENAS, but for what lies outside of the space: a clip of 0.25 and an L2 of 0 for the controller."""
    assert Study(config_space="cs3").spec("x").default_config == CONFIG_SPACES["cs3"].default
    own = {"weight_decay": 1e-4, "batch_size": 64, "arch_learning_rate": 3.5e-4}
    found = Study(config_space="cs3", optimizer="enas").spec("x").default_config
    assert found == CONFIG_SPACES["cs3"].default | own


def test_a_study_names_tables_so_that_workers_anywhere_find_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that happens to be called like an embedded table does not hide it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert Study().spec("x").table == "digits"
    write_store(tmp_path / "own.table", open_table("digits").data, name="own", provenance={})
    assert Study(table="own.table").spec("x").table == str(tmp_path / "own.table")


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run_bohb.py"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_a_study_from_end_to_end(tmp_path: Path) -> None:
    """Real Pyro, two worker processes, real searches, the embedded table; then the report by itself."""
    budgets = ["--min-budget", "1", "--max-budget", "2", "--iterations", "2"]
    given = ["--try", "cutout_prob=0.5", "learning_rate=0.1"]
    done = run("study", "--run-dir", "my run@home", *budgets, *given, "--search", *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Evaluations: 5 (2 at 1, 3 at 2 search epochs), proposed by bohb" in done.stdout
    run_dir = RunDirectory.open(tmp_path / "my run@home")
    first, second, *_ = read_journals(run_dir).configs.values()
    default = CONFIG_SPACES["cs2"].default
    assert (first.config, second.config) == (default | {"cutout_prob": 0.5, "learning_rate": 0.1}, default)
    results = read_results(run_dir)
    assert [r.evaluation.status for r in results] == [Status.OK] * len(results)
    assert sorted(r.budget for r in results) == [1, 1, 2, 2, 2]  # brackets [2, 1] and [2]
    assert len({r.evaluation.worker for r in results}) == 2
    table = open_table("digits")
    for result in results:
        directory = run_dir.trial_directory(result.config_id, result.budget)
        trajectory = read_trajectory(directory)
        assert [record.epoch for record in trajectory] == list(range(1, result.budget + 1))
        found = json.loads((directory / "architecture.json").read_text())
        assert found["architecture_index"] == result.evaluation.architecture_index == trajectory[-1].architecture_index
        assert result.evaluation.cell_hash is not None
        entry = table.query_hash(result.evaluation.cell_hash, 12)
        assert result.evaluation.validation_error == entry.mean_validation_error
        assert result.evaluation.test_error == entry.mean_test_error
        assert result.evaluation.t_train_s == entry.mean_training_time_s
    assert list(run_dir.credentials.iterdir()) == []
    assert (run_dir.credentials.stat().st_mode & 0o777) == 0o700
    for name in ("trajectory.png", "trajectory.csv", "summary.json", "summary.txt"):
        assert (run_dir.report / name).stat().st_size > 0
    assert "Incumbent test error" in done.stdout
    for log in sorted((run_dir.path / "workers").iterdir()):
        assert log.read_text().splitlines()[-1] == "worker ended: the study has ended"
    report = run("analyze", "my run@home", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert report.stdout in done.stdout


def test_a_study_in_which_nothing_succeeds_says_so(tmp_path: Path) -> None:
    arguments = ["--config-space", "cs1", "--min-budget", "1", "--max-budget", "1", "--iterations", "1"]
    diverges = ["learning_rate=1e8", "learning_rate_min=0"]
    done = run("study", "--run-dir", "run", "--workers", "1", *arguments, "--search", *TINY, *diverges, cwd=tmp_path)
    assert done.returncode == 1
    assert "none of 1 evaluations succeeded" in done.stderr
    (result,) = read_results(RunDirectory.open(tmp_path / "run"))
    assert result.evaluation.status is Status.DIVERGED


def test_the_same_study_twice_with_one_worker_gives_the_same(tmp_path: Path) -> None:
    arguments = ["--min-budget", "1", "--max-budget", "1", "--iterations", "3", "--workers", "1", "--search", *TINY]
    found = []
    for name in ("first", "second"):
        done = run("study", "--run-dir", name, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        results = read_results(RunDirectory.open(tmp_path / name))
        found.append([(r.config_id, r.config, r.evaluation.architecture_index, r.evaluation.seed) for r in results])
    assert found[0] == found[1]
    assert len(found[0]) == 3
