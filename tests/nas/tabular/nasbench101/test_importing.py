"""A TFRecord becomes a store that says exactly what the reference reader says, or nothing at all."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.tabular_file import frame, masked_checksum, metrics, payload, payloads, write_file
from benchmarks.tabular_readers import PlainReader
from nas.tabular import open_table
from nas.tabular.errors import (
    DamagedFileError,
    IncompleteTableError,
    NoSpaceError,
    TableError,
    TableExistsError,
    TableNotFoundError,
    WrongFileError,
)
from nas.tabular.nasbench101 import fast_rows, importing
from nas.tabular.nasbench101.assembling import _group_by_hash
from nas.tabular.nasbench101.importing import import_tfrecord
from nas.tabular.nasbench101.rows import parse_row
from nas.tabular.nasbench101.tfrecord import read_part
from nas.tabular.table import Table
from spaces import SEARCH_SPACES, Cell
from spaces.enumeration import enumerate_space
from spaces.hashing import hash_cells

pytestmark = pytest.mark.usefixtures("space_1_only")

KEYS = enumerate_space(SEARCH_SPACES["1"]).keys[np.unique(enumerate_space(SEARCH_SPACES["1"]).hash_of_key[:40])]


def check_against_reference(table: Table, expected: dict[str, Any]) -> None:
    """Compares every number that the reference API reads, bit for bit."""
    row_of = {cell.hash: row for row, cell in enumerate(table.cells())}
    for cell_hash, facts in expected.items():
        cell = Cell.from_matrix(facts["adjacency"], facts["operations"])
        assert table.cells()[row_of[cell_hash]] == cell
        for epochs, repeats in facts["metrics"].items():
            entry = table.query(cell, int(epochs))
            assert entry.cell_hash == cell_hash
            assert entry.trainable_parameters == facts["trainable_parameters"]
            assert entry.validation_error == tuple(1 - r["final_validation_accuracy"] for r in repeats)
            assert entry.test_error == tuple(1 - r["final_test_accuracy"] for r in repeats)
            assert entry.training_time_s == tuple(r["final_training_time"] for r in repeats)
            for name, array in table.data.measurements.items():
                name = name if name.startswith("halfway") else f"final_{name}"
                read = array[table.budgets.index(int(epochs)), row_of[cell_hash]].tolist()
                assert read == [r[name.removesuffix("_s")] for r in repeats]


def test_the_sample_is_read_as_the_reference_reads_it(
    sample: Path, sample_expected: dict[str, Any], tmp_path: Path
) -> None:
    report = import_tfrecord(sample, tmp_path / "sample.table")
    assert (report.rows, report.cells, report.budgets, report.repeats) == (192, 16, (4, 12, 36, 108), 3)
    table = open_table(tmp_path / "sample.table")
    assert table.name == "sample"
    assert table.provenance["source"] == "nasbench101_sample.tfrecord"
    assert len(table) == len(sample_expected) == 16
    check_against_reference(table, sample_expected)


def test_the_whole_shared_sample(tmp_path: Path) -> None:
    shared = Path(__file__).parents[5] / "shared" / "data" / "nasbench101"
    if not shared.exists():
        pytest.skip("the shared sample is not beside the repository (../shared/data/nasbench101)")
    import_tfrecord(shared / "sample_full.tfrecord", tmp_path / "t.table")
    table = open_table(tmp_path / "t.table")
    assert len(table) == 150
    check_against_reference(table, json.loads((shared / "sample_full.expected.json").read_text()))


def test_the_plain_reader_of_the_benchmark_agrees(sample: Path, tmp_path: Path) -> None:
    import_tfrecord(sample, tmp_path / "t.table")
    table, plain = open_table(tmp_path / "t.table"), PlainReader(sample)
    assert {cell.hash for cell in table.cells()} == set(plain.results)
    for cell in table.cells():
        repeats = plain.query(cell)
        assert table.query(cell).test_error == tuple(1 - repeat["test_accuracy"] for repeat in repeats)
        assert table.query(cell).training_time_s == tuple(repeat["training_time"] for repeat in repeats)
        assert table.query(cell).trainable_parameters == plain.parameters[cell.hash]


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name != "table.json"}


@pytest.mark.parametrize("part_bytes", [100, 5_000, 1 << 20])
def test_parts_and_processes_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_bytes: int
) -> None:
    source = tmp_path / "source.tfrecord"
    rows = list(payloads(KEYS, budgets=(4, 108)))
    random.Random(0).shuffle(rows)  # repeats of a cell are far apart
    write_file(source, rows)
    import_tfrecord(source, tmp_path / "whole.table", n_processes=1)
    monkeypatch.setattr(importing, "_PART_BYTES", part_bytes)
    done: list[tuple[int, int]] = []
    import_tfrecord(source, tmp_path / "parts.table", n_processes=2, progress=lambda *progress: done.append(progress))
    assert contents(tmp_path / "whole.table") == contents(tmp_path / "parts.table")
    size = source.stat().st_size
    assert done == sorted(set(done))
    assert done[-1] == (size, size)


def test_repeats_keep_their_order_of_appearance(tmp_path: Path) -> None:
    cells = [Cell.from_key(key) for key in KEYS[:3].tolist()]
    seconds = {cell.hash: [] for cell in cells}
    rows = []
    for i, which in enumerate([0, 1, 1, 2, 0, 2, 2, 1, 0]):
        cell = cells[which]
        rows.append(payload(cell.hash, 108, cell, metrics(108, float(i), 0.9, 0.9, 0.9, 100 + i)))
        seconds[cell.hash].append(float(i))
    write_file(tmp_path / "source", rows)
    import_tfrecord(tmp_path / "source", tmp_path / "t.table")
    table = open_table(tmp_path / "t.table")
    for cell in cells:
        assert list(table.query(cell).training_time_s) == seconds[cell.hash]
        assert table.query(cell).trainable_parameters == 100 + seconds[cell.hash][0]  # that of the first row


def test_a_false_row_across_two_true_ones_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that begins inside the first finds the false one with both checksums right, and has to be read again."""
    true_row, false_row = (next(payloads(KEYS[i : i + 1], repeats=1)) for i in range(2))
    begin, rest, start, end = b"a" * 300, b" " * 60, b"b" * 100, b" " * 200
    length = struct.pack("<Q", len(rest) + 4 + 12 + len(start))
    first = begin + length + masked_checksum(length) + rest
    header_of_second = frame(start + bytes(4) + end)[:12]
    false = rest + masked_checksum(first) + header_of_second + start
    second = start + masked_checksum(false) + end
    known = {first: true_row, second: true_row, false: false_row}
    monkeypatch.setattr(fast_rows, "parse_row", lambda row: parse_row(known[row]))
    monkeypatch.setattr(importing, "_PART_BYTES", 250)  # the second part begins before the false row and ends in it
    write_file(tmp_path / "source", [first, second])
    part = read_part(tmp_path / "source", 250, 500, at_record=False)
    assert part is not None
    assert part.payload(0) == false
    report = import_tfrecord(tmp_path / "source", tmp_path / "t.table", n_processes=1)
    assert (report.rows, report.cells) == (2, 1)
    assert open_table(tmp_path / "t.table").cells() == [Cell.from_key(int(KEYS[0]))]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A good file; the tests make it bad."""
    path = tmp_path / "source.tfrecord"
    write_file(path, payloads(KEYS))
    return path


def check_refused(source: Path, error: type[TableError], message: str, **options: Any) -> None:
    """The import fails with one line, and leaves nothing behind."""
    before = sorted(source.parent.iterdir())
    with pytest.raises(error, match=message) as raised:
        import_tfrecord(source, source.parent / "t.table", **options)
    assert "\n" not in str(raised.value)
    assert sorted(source.parent.iterdir()) == before


@pytest.mark.parametrize("n_processes", [1, 2])
def test_a_damaged_row_is_named_by_its_offset(source: Path, monkeypatch: pytest.MonkeyPatch, n_processes: int) -> None:
    monkeypatch.setattr(importing, "_PART_BYTES", 4_000)
    offsets = write_file(source, payloads(KEYS))
    whole = source.read_bytes()
    row = 37
    for position in (0, 9, 12, 200, offsets[row + 1] - offsets[row] - 1):  # length, its checksum, contents, theirs
        damaged = bytearray(whole)
        damaged[offsets[row] + position] ^= 0x10
        damaged[offsets[-2] + 50] ^= 1  # a later row is damaged too, and not the one to name
        source.write_bytes(damaged)
        check_refused(
            source, DamagedFileError, rf"source\.tfrecord, row at byte offset {offsets[row]}: ", n_processes=n_processes
        )


def test_a_truncated_file_names_the_row_that_is_cut(source: Path) -> None:
    offsets = write_file(source, payloads(KEYS))
    source.write_bytes(source.read_bytes()[: offsets[-1] - 5])
    check_refused(source, DamagedFileError, rf"row at byte offset {offsets[-2]}: .* cut short, download it again")


def test_a_file_cut_between_rows_is_incomplete(source: Path) -> None:
    offsets = write_file(source, payloads(KEYS))
    source.write_bytes(source.read_bytes()[: offsets[-2]])
    check_refused(source, IncompleteTableError, r"at 108 epochs: got 2 repeats, expected 3 .* download it again")


def test_a_cell_without_one_of_the_budgets(source: Path) -> None:
    rows = [*payloads(KEYS[:3], budgets=(4, 108)), *payloads(KEYS[3:4], budgets=(108,))]
    write_file(source, rows)
    missing = hash_cells(KEYS[3:4]).tobytes().hex()
    check_refused(source, IncompleteTableError, rf"cell {missing} at 4 epochs: got 0 repeats, expected 3")


def test_other_files_are_refused(source: Path, tmp_path: Path) -> None:
    source.write_bytes(b"not a TFRecord at all, but long enough to hold a header")
    check_refused(source, WrongFileError, "no record of a TFRecord file")
    write_file(source, [b"\x0a\x10some tf.Example"])
    check_refused(source, WrongFileError, "row at byte offset 0: .*expected a row of NAS-Bench-101")
    source.unlink()
    check_refused(source, TableNotFoundError, "does not exist")


def test_hashes_have_to_be_those_of_the_graphs(source: Path) -> None:
    cell = Cell.from_key(int(KEYS[0]))
    write_file(source, [payload("ab" * 16, 108, cell, metrics(108, 1, 1, 1, 1, 1))])
    check_refused(source, WrongFileError, rf"cell {'ab' * 16}: its graph has another hash, {cell.hash}")


def test_an_existing_target_is_never_touched(source: Path) -> None:
    target = source.parent / "t.table"
    target.mkdir()
    check_refused(source, TableExistsError, r"t\.table exists already; remove it")


def test_a_target_needs_its_directory(source: Path) -> None:
    with pytest.raises(TableNotFoundError, match="create it first"):
        import_tfrecord(source, source.parent / "missing" / "t.table")


def test_a_disk_with_too_little_room_is_noticed_before_reading(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(source.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5_000_000))
    monkeypatch.setattr(importing, "read_part", lambda *_, **__: pytest.fail("the file was read"))
    check_refused(source, NoSpaceError, "5 MB are free, table t.table needs 10 MB; .*nothing was written")


def test_a_process_that_is_killed_ends_the_import() -> None:
    with (
        pytest.raises(TableError, match=r"one of 2 processes was killed.* try again with fewer --processes"),
        importing._processes(2) as submit,
    ):
        submit(os._exit, 1)()


def test_hashes_with_the_same_first_half_stay_apart() -> None:
    """Grouping looks at half a hash first."""
    texts = [b"A" * 8 + b"2" * 8, b"A" * 8 + b"1" * 8, b"B" * 16, b"A" * 8 + b"2" * 8, b"A" * 15 + b"\0"]
    order, cell_of_row, distinct = _group_by_hash(np.array(texts, dtype="S16"))
    assert distinct.tolist() == [text.rstrip(b"\0") for text in sorted(set(texts))]
    assert cell_of_row.tolist() == [sorted(set(texts)).index(text) for text in texts]
    assert order.tolist() == sorted(range(5), key=lambda i: (texts[i], i))


def test_cells_with_loose_ends_are_stored_pruned(tmp_path: Path) -> None:
    pruned = Cell.from_matrix([[0, 1], [0, 0]], ["input", "output"])
    loose = Cell.from_matrix([[0, 1, 1], [0, 0, 0], [0, 0, 0]], ["input", "maxpool3x3", "output"])
    write_file(tmp_path / "s", [payload(loose.hash, 108, loose, metrics(108, 1, 1, 1, 1, 1))])
    import_tfrecord(tmp_path / "s", tmp_path / "t.table")
    assert open_table(tmp_path / "t.table").cells() == [pruned]
