"""A table belongs to a data set, and is refused for any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from nas.datasets import DATASETS, DatasetError, identify
from nas.tabular import TABLES, Table, TableError, TableSource, open_table, write_store
from nas.tabular.errors import TableNotFoundError, WrongDatasetError
from nas.tabular.matching import check_table_fits, default_table, table_to_look_up
from nas.tabular.nasbench101.importing import import_tfrecord
from tests.nas.datasets.made_up import own_arrays


def own_file(path: Path, seed: int = 0) -> str:
    np.savez(path, **own_arrays(seed))
    return str(path)


def table_on(dataset: str, tmp_path: Path) -> Table:
    """The digits table's numbers, as if they had been measured on something else."""
    target = tmp_path / "made_up.table"
    write_store(target, open_table("digits").data, name="made up", provenance=identify(dataset).to_provenance())
    return open_table(target)


def test_the_embedded_table_belongs_to_the_digits() -> None:
    table = open_table("digits")
    assert str(table.dataset) == "digits"
    check_table_fits(table, "digits")
    with pytest.raises(
        WrongDatasetError, match="of data set digits, expected one of cifar10; give --table nasbench101"
    ):
        check_table_fits(table, "cifar10")


@pytest.mark.usefixtures("space_1_only")
def test_an_imported_table_belongs_to_cifar10(sample: Path, tmp_path: Path) -> None:
    import_tfrecord(sample, tmp_path / "t.table", n_processes=1)
    table = open_table(tmp_path / "t.table")
    assert str(table.dataset) == "cifar10"
    check_table_fits(table, "cifar10")
    with pytest.raises(WrongDatasetError, match=r"of data set cifar10, expected one of digits; give --table digits"):
        check_table_fits(table, "digits")


def test_a_table_on_images_of_ones_own_follows_them(tmp_path: Path) -> None:
    own, other = own_file(tmp_path / "own.npz"), own_file(tmp_path / "other.npz", seed=1)
    table = table_on(own, tmp_path)
    check_table_fits(table, own)
    moved = str(shutil.move(own, tmp_path / "moved.npz"))
    check_table_fits(table, moved)
    for wrong in (other, "digits"):
        with pytest.raises(WrongDatasetError, match=r"got a table of data set .*own.npz \(SHA-256 .*expected one of"):
            check_table_fits(table, wrong)
    with pytest.raises(DatasetError, match="is no file"):
        check_table_fits(table, own)
    own_file(tmp_path / "own.npz", seed=2)
    with pytest.raises(WrongDatasetError, match="the file has changed since: restore it, or measure the table again"):
        check_table_fits(table, own)


def test_a_table_that_states_no_data_set_fits_none() -> None:
    with pytest.raises(WrongDatasetError, match="it states no data set, expected digits"):
        check_table_fits(Table("silent", open_table("digits").data), "digits")


def test_the_table_follows_the_data_set(tmp_path: Path) -> None:
    assert {name: default_table(name) for name in ("digits", "cifar10")} == {
        "digits": "digits",
        "cifar10": "nasbench101",
    }
    with pytest.raises(
        TableNotFoundError, match=r"data set .*own.npz needs a table.*`table measure own.table --dataset"
    ):
        default_table(own_file(tmp_path / "own.npz"))


@pytest.mark.parametrize("name", DATASETS)
def test_the_table_of_every_data_set_has_a_name(name: str) -> None:
    assert DATASETS[name].table is None or DATASETS[name].table in TABLES


def test_a_search_does_without_a_table_that_is_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(TABLES, "nasbench101", TableSource("made up", lambda: tmp_path / "absent", "write it first"))
    assert table_to_look_up(None, "cifar10") is None
    assert "cells are not looked up: table nasbench101: there is nothing at" in caplog.text
    with pytest.raises(TableNotFoundError, match="write it first"):
        table_to_look_up("nasbench101", "cifar10")
    assert table_to_look_up("none", "cifar10") is None


def test_a_search_looks_up_in_a_table_of_its_images_alone(tmp_path: Path) -> None:
    own = own_file(tmp_path / "own.npz")
    table_on(own, tmp_path)
    table = table_to_look_up(str(tmp_path / "made_up.table"), own)
    assert table is not None
    assert table.name == "made up"
    found = table_to_look_up(None, "digits")
    assert found is not None
    assert found.name == "digits"
    with pytest.raises(TableError, match="expected one of cifar10"):
        table_to_look_up("digits", "cifar10")
    with pytest.raises(TableError, match="`table measure"):
        table_to_look_up(None, own)
