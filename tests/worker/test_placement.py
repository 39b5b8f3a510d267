"""A study whose data lie elsewhere on the machine of a worker."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from master.study import create_run, run_master
from nas.datasets import identify
from nas.tabular import open_table, write_store
from results.reading import read_results
from results.records import Status, StudySpec
from tests.nas.datasets.made_up import own_arrays
from worker.placement import Placement
from worker.study import define_study

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(tmp_path: Path) -> StudySpec:
    """A study of one search on images of one's own, with a table on them."""
    np.savez(tmp_path / "own.npz", **own_arrays())
    provenance = identify(str(tmp_path / "own.npz")).to_provenance()
    write_store(tmp_path / "own.table", open_table("digits").data, name="own", provenance=provenance)
    return define_study(
        run_id="test", optimizer="darts", search_space="1", config_space="cs1", dataset=str(tmp_path / "own.npz"),
        table=str(tmp_path / "own.table"), min_budget=1, max_budget=1, n_iterations=1, n_workers=1,
        search_settings={"n_stacks": 1, "cells_per_stack": 1, "init_channels": 2, "threads": 1, "batch_size": 16},
    )  # fmt: skip


@pytest.fixture
def elsewhere(study: StudySpec, tmp_path: Path) -> Path:
    """A folder to which the data have been moved."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("own.npz", "own.table"):
        shutil.move(tmp_path / name, folder / name)
    return folder


def test_a_worker_finds_what_lies_elsewhere(study: StudySpec, elsewhere: Path, tmp_path: Path) -> None:
    """A real search in a worker process; the record of the trial is the study's."""
    run = create_run(tmp_path / "run", study)
    options = ["--data-dir", str(elsewhere), "--table", str(elsewhere / "own.table"), "--wait-s", "120"]
    command = [sys.executable, str(ROOT / "run_bohb.py"), "worker", str(run.path), *options]
    worker = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    killer = threading.Timer(120, worker.kill)
    killer.start()
    run_master(run)
    output, _ = worker.communicate()
    killer.cancel()
    assert worker.returncode == 0, output
    (result,) = read_results(run)
    assert result.evaluation.status is Status.OK, result.evaluation.error
    assert result.evaluation.cell_hash is not None
    entry = open_table("digits").query_hash(result.evaluation.cell_hash, 12)  # whose numbers the table has
    assert result.evaluation.validation_error == entry.mean_validation_error
    assert run.spec().table == str(tmp_path / "own.table")


def test_what_is_there_is_accepted(study: StudySpec, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(elsewhere)
    placement = Placement(data_dir=Path("."), table=Path("own.table"))
    placement.check(study)
    here = placement.of(study)
    assert (here.data_dir, here.table) == (str(elsewhere), str(elsewhere / "own.table"))
    assert Placement().of(study) == study
    Placement().check(study)  # nothing is given, so nothing is opened


def test_what_is_missing_or_another_is_refused(study: StudySpec, elsewhere: Path, tmp_path: Path) -> None:
    table = elsewhere / "own.table"
    with pytest.raises(ValueError, match=r"own\.npz, which is no file"):
        Placement(tmp_path, table).check(study)
    with pytest.raises(ValueError, match=r"no\.table, expected one of"):
        Placement(elsewhere, elsewhere / "no.table").check(study)
    with pytest.raises(ValueError, match="got a table of data set digits"):
        Placement(elsewhere, Path("digits")).check(study)
    with pytest.raises(ValueError, match=r"--data-dir: got .* but data set digits has no files"):
        Placement(data_dir=elsewhere).check(define_study(
            run_id="x", optimizer="darts", search_space="1", config_space="cs1", dataset="digits"
        ))  # fmt: skip


def test_a_table_with_other_numbers_is_refused(study: StudySpec, elsewhere: Path, tmp_path: Path) -> None:
    """One digit of one measurement; its data set is the study's."""
    data = open_table("digits").data
    accuracy = data.measurements["validation_accuracy"].copy()
    accuracy[0, 0, 0] -= 0.001
    changed = replace(data, measurements={**data.measurements, "validation_accuracy": accuracy})
    provenance = identify(str(elsewhere / "own.npz")).to_provenance()
    write_store(tmp_path / "changed.table", changed, name="own", provenance=provenance)
    with pytest.raises(ValueError, match=r"--table: got .*changed\.table, which holds other numbers than"):
        Placement(elsewhere, tmp_path / "changed.table").check(study)


def test_a_fingerprint_is_of_the_contents_alone(tmp_path: Path) -> None:
    digits = open_table("digits")
    write_store(tmp_path / "copy.table", digits.data, name="another name", provenance={})
    assert open_table(tmp_path / "copy.table").sha256 == digits.sha256
    fewer = replace(digits.data, budgets=(1, 4, 13))
    write_store(tmp_path / "other.table", fewer, name="digits", provenance={})
    assert open_table(tmp_path / "other.table").sha256 != digits.sha256
