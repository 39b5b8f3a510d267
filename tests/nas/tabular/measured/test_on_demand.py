"""Cells that a measured table lacks are trained once and kept for every process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas.datasets import DatasetError, DatasetId, load_dataset
from nas.tabular.errors import TableError, UnknownBudgetError
from nas.tabular.measured.measure import measure_cell, provenance, table_data
from nas.tabular.measured.on_demand import MeasuringTable, measuring
from nas.tabular.measured.training import LabelledImages
from nas.tabular.measured.training_spec import NetworkSize, TrainingSpec
from nas.tabular.table import Table
from results.journal import read_shared
from spaces import SEARCH_SPACES, Cell
from tests.nas.datasets.made_up import own_arrays

SPEC = TrainingSpec(budgets=(1, 2), n_repeats=2, network=NetworkSize(1, 10, 4, 2, 1, 1))


def cell(index: int) -> Cell:
    space = SEARCH_SPACES["2"]
    return space.cell_of(index)


@pytest.fixture(scope="module")
def table() -> Table:
    """One measured cell."""
    measurements = [measure_cell(cell(0), LabelledImages.of(load_dataset("digits")), SPEC)]
    return Table(
        "small",
        table_data(measurements, SPEC.budgets),
        provenance=provenance(DatasetId("digits"), SPEC, measurements, ""),
    )


def test_what_the_table_holds_is_looked_up(table: Table, tmp_path: Path) -> None:
    assert MeasuringTable(table, tmp_path).query(cell(0), 1) == table.query(cell(0), 1)
    assert not list(tmp_path.iterdir())


def test_what_it_lacks_is_measured_as_the_table_was(table: Table, tmp_path: Path) -> None:
    assert cell(7777) not in table
    entry = MeasuringTable(table, tmp_path).query(cell(7777))
    expected = measure_cell(cell(7777), LabelledImages.of(load_dataset("digits")), SPEC)
    assert entry.validation_error == expected.results[2].validation_error
    assert entry.test_error == expected.results[2].test_error
    assert entry.trainable_parameters == expected.trainable_parameters
    assert (entry.budget, entry.cell_hash) == (2, cell(7777).hash)


def test_a_measured_cell_is_kept_for_every_process(table: Table, tmp_path: Path) -> None:
    first, second = MeasuringTable(table, tmp_path), MeasuringTable(table, tmp_path)
    entry = first.query(cell(7777), 1)
    assert second.query(cell(7777), 1) == entry  # the training time is kept too, so it was not measured again
    assert [record["hash"] for record in read_shared(first.journal).records] == [cell(7777).hash]


def test_a_line_that_another_process_is_writing_is_read_later(table: Table, tmp_path: Path) -> None:
    first, second = MeasuringTable(table, tmp_path), MeasuringTable(table, tmp_path)
    entry, other = first.query(cell(7777), 1), first.query(cell(7000), 1)
    whole = first.journal.read_bytes()
    first.journal.write_bytes(whole[:-100])  # of the second line
    assert second.query(cell(7777), 1) == entry
    first.journal.write_bytes(whole)
    assert second.query(cell(7000), 1) == other


def test_a_torn_line_that_stays_spoils_nothing(table: Table, tmp_path: Path) -> None:
    first = MeasuringTable(table, tmp_path)
    first.journal.write_bytes(b'{"hash": "torn')
    entry = first.query(cell(7777), 1)
    again = MeasuringTable(table, tmp_path)
    assert again.query(cell(7777), 1) == entry
    assert first.journal.read_bytes().count(b'"budgets"') == 1


def test_an_unknown_budget_measures_nothing(table: Table, tmp_path: Path) -> None:
    with pytest.raises(UnknownBudgetError, match=r"\[1, 2\]"):
        MeasuringTable(table, tmp_path).query(cell(7777), 3)
    assert not list(tmp_path.iterdir())


def test_only_a_measured_table_can_measure(table: Table, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NASBOHB_CACHE", str(tmp_path))
    assert isinstance(measuring(table), MeasuringTable)
    imported = Table("imported", table.data)
    assert measuring(imported) is imported


@pytest.mark.parametrize("obstacle", ["folder", "journal"])
def test_a_cell_that_cannot_be_kept_is_answered_all_the_same(
    obstacle: str, table: Table, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = MeasuringTable(table, tmp_path / "cache")
    if obstacle == "folder":
        (tmp_path / "cache").write_text("a file where the folder should be")
    else:
        source.journal.mkdir(parents=True)  # neither read nor written, whoever tries
    entry = source.query(cell(7777))
    assert entry == source.query(cell(7777))  # remembered: the training time is that of the first time
    assert caplog.text.count("was measured but cannot be kept") == 1


def measured_on(path: Path, spec: TrainingSpec) -> Table:
    """A table of one cell measured on a file."""
    dataset = load_dataset(str(path))
    measurements = [measure_cell(cell(0), LabelledImages.of(dataset), spec)]
    return Table("own", table_data(measurements, (1,)), provenance=provenance(dataset.id, spec, measurements, ""))


def test_a_table_of_images_of_ones_own_measures_where_they_are_now(tmp_path: Path) -> None:
    spec = TrainingSpec(budgets=(1,), n_repeats=1, network=NetworkSize(1, 2, 4, 1, 1, 1), batch_size=16)
    old, new = tmp_path / "own.npz", tmp_path / "moved.npz"
    np.savez(old, **own_arrays())
    table = measured_on(old, spec)
    entry = MeasuringTable(table, tmp_path / "first").query(cell(7777))
    old.rename(new)
    with pytest.raises(DatasetError, match="is no file"):
        MeasuringTable(table, tmp_path / "second").query(cell(7777))
    moved = MeasuringTable(table, tmp_path / "second", str(new))
    assert moved.query(cell(7777)).validation_error == entry.validation_error
    np.savez(new, **own_arrays(seed=1))
    with pytest.raises(TableError, match="got a table of data set"):
        MeasuringTable(table, tmp_path / "third", str(new)).query(cell(7777))
