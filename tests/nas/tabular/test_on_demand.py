"""Cells that a measured table lacks are trained once and kept for every process."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.tabular.cache import cache_folder
from nas.tabular.datasets import load_labelled_images
from nas.tabular.errors import UnknownBudgetError
from nas.tabular.measure import measure_cell, provenance, read_journal, table_data
from nas.tabular.on_demand import MeasuringTable, measuring
from nas.tabular.table import Table
from nas.tabular.training_spec import NetworkSize, TrainingSpec
from spaces import SEARCH_SPACES, Cell

SPEC = TrainingSpec(budgets=(1, 2), n_repeats=2, network=NetworkSize(1, 10, 4, 2, 1, 1))


def cell(index: int) -> Cell:
    space = SEARCH_SPACES["2"]
    return space.cell_of(index)


@pytest.fixture(scope="module")
def table() -> Table:
    """One measured cell."""
    measurements = [measure_cell(cell(0), load_labelled_images("digits"), SPEC)]
    return Table(
        "small", table_data(measurements, SPEC.budgets), provenance=provenance("digits", SPEC, measurements, "")
    )


def test_what_the_table_holds_is_looked_up(table: Table, tmp_path: Path) -> None:
    assert MeasuringTable(table, tmp_path).query(cell(0), 1) == table.query(cell(0), 1)
    assert not list(tmp_path.iterdir())


def test_what_it_lacks_is_measured_as_the_table_was(table: Table, tmp_path: Path) -> None:
    assert cell(7777) not in table
    entry = MeasuringTable(table, tmp_path).query(cell(7777))
    expected = measure_cell(cell(7777), load_labelled_images("digits"), SPEC)
    assert entry.validation_error == expected.results[2].validation_error
    assert entry.test_error == expected.results[2].test_error
    assert entry.trainable_parameters == expected.trainable_parameters
    assert (entry.budget, entry.cell_hash) == (2, cell(7777).hash)


def test_a_measured_cell_is_kept_for_every_process(table: Table, tmp_path: Path) -> None:
    first, second = MeasuringTable(table, tmp_path), MeasuringTable(table, tmp_path)
    entry = first.query(cell(7777), 1)
    assert second.query(cell(7777), 1) == entry  # the training time is kept too, so it was not measured again
    assert [m.cell.hash for m in read_journal(first.journal)] == [cell(7777).hash]


def test_a_torn_line_of_another_process_is_passed_over(table: Table, tmp_path: Path) -> None:
    first, second = MeasuringTable(table, tmp_path), MeasuringTable(table, tmp_path)
    entry = first.query(cell(7777), 1)
    whole = first.journal.read_bytes()
    first.journal.write_bytes(whole[:100])
    second._read_new()
    first.journal.write_bytes(whole)
    assert second.query(cell(7777), 1) == entry


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


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NASBOHB_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NASBOHB_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NASBOHB_CACHE", "here")
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setenv("NASBOHB_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "nasbohb"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == tmp_path / ".cache" / "nasbohb"


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
