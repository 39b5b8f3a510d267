"""Rows are read as JSON and protocol buffers say; reading many at once gives the same, whatever their form."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tabular_file import bytes_field, double_field, evaluation, metrics, payload, varint, write_file
from nas.tabular.contents import hash_text
from nas.tabular.errors import WrongFileError
from nas.tabular.nasbench101 import fast_rows
from nas.tabular.nasbench101.fast_rows import parse_records
from nas.tabular.nasbench101.rows import METRICS, Row, Rows, parse_row
from nas.tabular.nasbench101.tfrecord import read_part
from spaces import OPERATIONS, Cell
from spaces.cell import CONV3X3, INPUT, OUTPUT

CELL = Cell.from_matrix([[0, 1, 0], [0, 0, 1], [0, 0, 0]], [INPUT, CONV3X3, OUTPUT])
#: A path and four edges more: one edge too many.
DENSE = "".join(str(int(y == x + 1 or (x == 0 and 2 <= y <= 5))) for x in range(7) for y in range(7))
MESSAGE = metrics(108, 1500.0, 0.99, 0.93, 0.92, 2_694_282)
FINAL = (1500.0, 0.99, 0.93, 0.92)
HALFWAY = tuple(value / 2 for value in FINAL)


def row_of(message: bytes, cell: Cell = CELL) -> bytes:
    return payload(cell.hash, 108, cell, message)


def read_together(path: Path, payloads: list[bytes]) -> Rows:
    write_file(path, payloads)
    records = read_part(path, 0, path.stat().st_size, at_record=True)
    assert records is not None
    return parse_records(records)


def as_rows(rows: Rows) -> list[Row]:
    return [
        Row(bytes.fromhex(hash_text(rows.hashes[i])), *(int(c[i]) for c in (rows.epochs, rows.keys)), int(p), tuple(m))
        for i, (p, m) in enumerate(zip(rows.trainable_parameters, rows.metrics.tolist(), strict=True))
    ]


@pytest.fixture
def slow_rows(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The payloads that were not of the usual form."""
    seen: list[bytes] = []
    monkeypatch.setattr(fast_rows, "parse_row", lambda payload: seen.append(payload) or parse_row(payload))
    return seen


def test_a_row_worked_by_hand() -> None:
    assert METRICS[4:] == ("training_time_s", "train_accuracy", "validation_accuracy", "test_accuracy")
    assert METRICS[0] == "halfway_training_time_s"
    row = parse_row(row_of(MESSAGE))
    # Edges 0->1 (bit 0) and 1->2 (bit 2) are 5; three vertices; conv3x3 is digit 0.
    assert row == Row(bytes.fromhex(CELL.hash), 108, (3 << 40) + (5 << 10), 2_694_282, (*HALFWAY, *FINAL))


def test_fields_may_come_in_any_order_be_unknown_or_repeated() -> None:
    body = [double_field(5, 0.92), double_field(2, 1500.0), double_field(4, 0.5), bytes_field(9, b"?"), b"\x38\x05"]
    body += [b"\x5d" + bytes(4), double_field(4, 0.93), double_field(3, 0.99), b"\x10\x07"]  # of field 4 the last
    message = b"\x10" + varint(5) + evaluation(0, 0, 0, 0, 0) + evaluation(54, *HALFWAY)
    message += bytes_field(1, b"".join(body)) + b"\x10" + varint(2_694_282)
    assert parse_row(row_of(message)).metrics == (*HALFWAY, *FINAL)
    assert parse_row(row_of(message)).trainable_parameters == 2_694_282


def test_what_is_left_out_is_zero() -> None:
    message = bytes_field(1, b"") + bytes_field(1, double_field(3, 0.5)) + bytes_field(1, b"")
    row = parse_row(row_of(message))
    assert row.metrics == (0, 0.5, 0, 0, 0, 0, 0, 0)
    assert row.trainable_parameters == 0


def test_a_negative_number_is_ten_bytes_long() -> None:
    assert parse_row(row_of(MESSAGE + b"\x10" + varint(2**64 - 3))).trainable_parameters == -3


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (evaluation(0, 0, 0, 0, 0) * 2, "metrics of 2 evaluations, expected 3"),
        (MESSAGE[:-1], "ends at .*, expected at most"),
        (MESSAGE + b"\x0b", "wire type 3"),
        (MESSAGE + b"\x10\xff", "endless number"),
        (MESSAGE + b"\x10" + b"\xff" * 12, "endless number"),
    ],
)
def test_malformed_messages_say_why(message: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_row(row_of(message))


def altered(**fields: Any) -> bytes:
    row = dict(zip(("hash", "epochs", "adjacency", "operations", "metrics"), json.loads(row_of(MESSAGE)), strict=True))
    return json.dumps(list((row | fields).values())).encode()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"\x0a\x05hello", "expected a row of NAS-Bench-101 in JSON"),
        (b"\xff\xfe", "expected a row of NAS-Bench-101 in JSON"),
        (b'{"a": 1}', r"expected \[hash, epochs"),
        (b'["00", 108, "01", "input,output"]', r"expected \[hash, epochs"),
        (altered(epochs="108"), r"expected \[hash, epochs"),
        (altered(epochs=True), r"expected \[hash, epochs"),
        (altered(epochs=0), "got 0 epochs"),
        (altered(hash="00ff"), "expected 32 hexadecimal digits"),
        (altered(hash="g" * 32), "expected 32 hexadecimal digits"),
        (altered(adjacency="01000100"), "of a square matrix"),
        (altered(adjacency="010002000"), "the digits 0 and 1"),
        (altered(adjacency="010101000"), "right of the diagonal"),
        (altered(adjacency="000001000"), "no path leads from the input to the output"),
        (altered(adjacency=DENSE, operations="input" + ",maxpool3x3" * 5 + ",output"), "7 vertices and 10 edges"),
        (altered(operations="input,conv7x7,output"), "conv7x7"),
        (altered(operations="input,output"), "expected 2 rows of 2"),
        (altered(metrics="?"), "0 evaluations"),
        (altered(metrics="AAAA="), "expected a protocol buffer"),
        (altered(metrics="\u00e9"), "base64"),
    ],
)
def test_what_is_no_row_is_refused_with_its_offset(tmp_path: Path, row: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_row(row)
    path = tmp_path / "file.tfrecord"
    good = row_of(MESSAGE)
    offset = write_file(path, [good, good, row])[2]
    with pytest.raises(WrongFileError, match=rf"file\.tfrecord, row at byte offset {offset}: .*({reason})"):
        read_together(path, [good, good, row, good])


def test_the_sample_is_of_the_usual_form(sample: Path, slow_rows: list[bytes]) -> None:
    records = read_part(sample, 0, sample.stat().st_size, at_record=True)
    assert records is not None
    rows = as_rows(parse_records(records))
    assert len(rows) == 192
    assert not slow_rows
    assert rows == [parse_row(records.payload(i)) for i in range(len(rows))]


def test_every_size_of_cell_and_message_has_the_usual_form(tmp_path: Path, slow_rows: list[bytes]) -> None:
    payloads = []
    for n in range(2, 8):
        for code in range(3 ** (n - 2)):
            labels = [code // 3**k % 3 for k in range(n - 2)]
            cell = Cell.from_matrix(
                np.eye(n, k=1, dtype=int), [INPUT, *(OPERATIONS[label] for label in labels), OUTPUT]
            )
            message = metrics(4 * 27 ** (code % 2), 1.5 * code, 0.5, 0.25, 0.125, 10 ** (code % 8))
            payloads.append(payload(cell.hash, 10 ** (code % 4), cell, message))
    random.Random(0).shuffle(payloads)
    rows = as_rows(read_together(tmp_path / "file", payloads))
    assert not slow_rows
    assert rows == [parse_row(row) for row in payloads]


def test_unusual_rows_among_usual_ones_are_read_one_at_a_time(tmp_path: Path, slow_rows: list[bytes]) -> None:
    usual = row_of(MESSAGE)
    compact = json.dumps(json.loads(usual), separators=(",", ":")).encode()
    loose = Cell.from_matrix([[0, 0, 1], [0, 0, 0], [0, 0, 0]], [INPUT, CONV3X3, OUTPUT])
    unusual = [
        compact,
        altered(hash=CELL.hash.upper()),
        altered(epochs=10_800),
        altered(metrics=base64.b64encode(MESSAGE).decode().rstrip("=") + "=" * (-len(MESSAGE) % 3) + "\n"),
        usual.replace(b"input", b"\\u0069nput"),
        usual + b" ",
    ]
    several_shapes = [row_of(MESSAGE + bytes_field(7, b"x" * k)) for k in range(40)]
    payloads = [usual, *unusual, row_of(metrics(108, 1, 1, 1, 1, 5), loose), usual, *several_shapes, usual]
    rows = as_rows(read_together(tmp_path / "file", payloads))
    assert slow_rows == unusual
    for row, text in zip(rows, payloads, strict=True):
        expected = parse_row(text)
        assert (row.hash, row.epochs, row.metrics) == (expected.hash, expected.epochs, expected.metrics)
        assert row.trainable_parameters == expected.trainable_parameters
        assert Cell.from_key(row.key).key == expected.key


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_byte_anywhere_reads_the_same_together_as_alone(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    usual = row_of(MESSAGE)
    position, byte = data.draw(st.integers(0, len(usual) - 1)), data.draw(st.integers(0, 255))
    changed = usual[:position] + bytes([byte]) + usual[position + 1 :]
    path = tmp_path_factory.mktemp("rows") / "file"
    try:
        expected = parse_row(changed)
    except ValueError:
        with pytest.raises(WrongFileError):
            read_together(path, [usual, changed])
        return
    together = as_rows(read_together(path, [usual, changed]))[1]
    assert repr(together) == repr(expected)  # as text, since a changed double may be no number
