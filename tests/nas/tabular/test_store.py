"""The store: what is written is what is opened, by any number of processes, and never half of it."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nas.tabular import TableData, open_table, store, write_store
from nas.tabular.contents import MEASUREMENTS
from nas.tabular.errors import (
    DamagedFileError,
    IncompleteTableError,
    NoSpaceError,
    TableError,
    TableExistsError,
    TableNotFoundError,
    WrongFileError,
)
from nas.tabular.store import open_store
from spaces import SEARCH_SPACES, Cell
from spaces.enumeration import enumerate_space

SPACE = SEARCH_SPACES["1"]


def some_data(n_cells: int = 20) -> TableData:
    """Made-up results of cells of space 1."""
    rng = np.random.default_rng(0)
    cells = enumerate_space(SPACE).distinct_cells()[:n_cells]
    return TableData.of_cells(
        [cells[i] for i in rng.permutation(n_cells)],
        budgets=(1, 4),
        trainable_parameters=np.arange(n_cells),
        measurements={name: rng.random((2, n_cells, 3)) for name in (*MEASUREMENTS, "extra")},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "made_up.table"
    write_store(target, some_data(), name="made up", provenance={"command": "none", "seconds": 1.5}, index=[SPACE])
    return target


def test_what_is_opened_is_what_was_written(path: Path) -> None:
    table, data = open_store(path), some_data()
    assert table.name == "made up"
    assert table.provenance == {"command": "none", "seconds": 1.5}
    assert table.budgets == data.budgets
    for name, array in data.arrays().items():
        assert table.data.arrays()[name].tobytes() == array.tobytes()
    assert "extra" in table.data.measurements


def test_the_files_are_plain_numpy(path: Path) -> None:
    assert json.loads((path / "table.json").read_text())["cells"] == 20
    accuracy = np.load(path / "test_accuracy.npy", allow_pickle=False)
    assert accuracy.shape == (2, 20, 3)
    assert (accuracy == some_data().measurements["test_accuracy"]).all()


def test_the_arrays_are_mapped_and_cannot_be_changed(path: Path) -> None:
    accuracy = open_store(path).data.measurements["test_accuracy"]
    assert isinstance(accuracy.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        accuracy[0, 0, 0] = 1.0


def test_cells_in_any_order_become_rows_in_order_of_hashes() -> None:
    cells = enumerate_space(SPACE).distinct_cells()[:3][::-1]
    measurements = {name: np.arange(3.0).reshape(1, 3, 1) for name in MEASUREMENTS}
    data = TableData.of_cells(cells, (4,), [10, 11, 12], measurements)
    assert [Cell.from_key(int(key)).hash for key in data.cell_keys] == sorted(cell.hash for cell in cells)
    assert data.trainable_parameters.tolist() == [12, 11, 10]
    assert data.measurements["test_accuracy"].tolist() == [[[2.0], [1.0], [0.0]]]


def test_contents_that_do_not_fit_together_are_refused() -> None:
    cells = enumerate_space(SPACE).distinct_cells()[:2]
    good = {name: np.zeros((1, 2, 3)) for name in MEASUREMENTS}
    with pytest.raises(IncompleteTableError, match=f"got {cells[0].hash} twice"):
        TableData.of_cells([cells[0], cells[0].pruned], (4,), [1, 1], good)
    with pytest.raises(IncompleteTableError, match=r"shape \(1, 2, 3\), expected \[2 budgets, 2 cells, repeats\]"):
        TableData.of_cells(cells, (4, 12), [1, 1], good)
    with pytest.raises(IncompleteTableError, match=r"got \(12, 4\), expected ascending"):
        TableData.of_cells(cells, (12, 4), [1, 1], {name: np.zeros((2, 2, 3)) for name in MEASUREMENTS})
    with pytest.raises(IncompleteTableError, match=r"expected \['training_time_s'\] too"):
        TableData.of_cells(cells, (4,), [1, 1], {name: good[name] for name in MEASUREMENTS[:3]})
    with pytest.raises(IncompleteTableError, match=r"extra: got float64 \(1, 2, 2\)"):
        TableData.of_cells(cells, (4,), [1, 1], good | {"extra": np.zeros((1, 2, 2))})


def _validation_errors(path: str) -> list[float]:
    table = open_store(path)
    indices = np.arange(0, SPACE.size, 500)
    indices = indices[[SPACE.cell(SPACE.decode(int(i))) in table for i in indices]]
    return table.query_indices(SPACE, indices).mean_validation_error.tolist()


def test_two_processes_open_it_at_once(path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        answers = list(pool.map(_validation_errors, [str(path)] * 4))
    assert answers == [_validation_errors(str(path))] * 4


def test_a_read_only_store_is_fine(path: Path) -> None:
    before = sorted(path.iterdir())
    path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        table = open_store(path)
        table.coverage(SEARCH_SPACES["2"])  # which the store has no index of
        assert sorted(path.iterdir()) == before
    finally:
        path.chmod(stat.S_IRWXU)


def test_an_existing_target_is_not_overwritten(path: Path) -> None:
    before = {file: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(TableExistsError, match="exists already"):
        write_store(path, some_data(5), name="other", provenance={})
    assert {file: file.read_bytes() for file in path.iterdir()} == before


def test_a_target_that_appears_meanwhile_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "t.table"
    rename = os.rename

    def late(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "theirs").touch()
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(TableExistsError, match="another process has written the target"):
        write_store(target, some_data(), name="ours", provenance={})
    assert [file.name for file in tmp_path.rglob("*")] == ["t.table", "theirs"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def full(path: Path, array: np.ndarray) -> None:
        path.write_bytes(b"half")
        if path.name == "test_accuracy.npy":
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(store, "_write_array", full)
    with pytest.raises(NoSpaceError, match=r"disk full while writing table .*nothing was kept; free some space"):
        write_store(tmp_path / "t.table", some_data(), name="t", provenance={})
    assert not list(tmp_path.iterdir())


def test_a_disk_with_too_little_room_is_noticed_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(NoSpaceError, match="0 MB are free"):
        write_store(tmp_path / "t.table", some_data(), name="t", provenance={})
    assert not list(tmp_path.iterdir())


def test_any_other_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_store(tmp_path / "t.table", some_data(), name="t", provenance={"when": object()})
    assert not list(tmp_path.iterdir())


def replace_json(path: Path, **fields: object) -> None:
    description = json.loads((path / "table.json").read_text())
    (path / "table.json").write_text(json.dumps(description | fields))


def test_a_damaged_store_is_refused(path: Path) -> None:
    file = path / "test_accuracy.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(
        DamagedFileError, match=rf"{len(whole) - 1} bytes, expected {len(whole)}; import or measure the table"
    ):
        open_store(path)
    file.unlink()
    with pytest.raises(DamagedFileError, match="has 0 bytes"):
        open_store(path)
    (path / "table.json").write_text('{"format": ')
    with pytest.raises(DamagedFileError, match="not JSON"):
        open_store(path)


def test_what_is_no_store_is_refused(path: Path, tmp_path: Path) -> None:
    replace_json(path, version=99)
    with pytest.raises(WrongFileError, match="format version 99, expected 1; import or measure"):
        open_store(path)
    replace_json(path, format="something else")
    with pytest.raises(WrongFileError, match="is not of the format"):
        open_store(path)
    with pytest.raises(WrongFileError, match=r"a directory without table\.json"):
        open_store(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(WrongFileError, match="is a file, and no table's directory; turn a TFRecord into a table"):
        open_store(tmp_path / "file")
    with pytest.raises(TableNotFoundError, match="does not exist; `table import` and `table measure` write"):
        open_store(tmp_path / "nothing")


def test_unknown_names_list_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        TableNotFoundError, match=r"got nasbench, expected one of \['digits', 'nasbench101'\] or the path"
    ):
        open_table("nasbench")
    with pytest.raises(TableNotFoundError, match=r"nothing at data/nasbench101\.table; write it with `table download`"):
        open_table("nasbench101")


def test_table_errors_are_value_errors() -> None:
    assert issubclass(TableError, ValueError)
