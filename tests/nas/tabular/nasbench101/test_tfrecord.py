"""The framing: every byte of a file is covered by a checksum or an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tabular_file import frame, write_file
from nas.tabular.errors import DamagedFileError, TableNotFoundError, WrongFileError
from nas.tabular.nasbench101.tfrecord import masked_crc32c, read_part, read_records

PAYLOADS = [b"first", b"", b"third " * 200, b"\0" * 40, b"last"]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.tfrecord"
    write_file(path, PAYLOADS)
    return path


def test_the_checksum_of_a_published_vector() -> None:
    # RFC 3720 gives e3069283 as the CRC-32C of the digits; rotated right by 15 bits, plus the constant.
    crc = 0xE3069283
    assert masked_crc32c(b"123456789") == ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32


@pytest.mark.parametrize("part_bytes", [1, 20, 1000, 1 << 24])
def test_records_come_whole_whatever_the_parts(small: Path, part_bytes: int) -> None:
    records = list(read_records(small, part_bytes=part_bytes))
    assert [payload for _, payload in records] == PAYLOADS
    lengths = [len(frame(payload)) for payload in PAYLOADS]
    assert [offset for offset, _ in records] == [sum(lengths[:i]) for i in range(len(lengths))]


def test_a_record_longer_than_what_is_read_ahead(tmp_path: Path) -> None:
    path = tmp_path / "long.tfrecord"
    write_file(path, [b"a", b"b" * 300_000, b"c"])
    assert [len(payload) for _, payload in read_records(path, part_bytes=10)] == [1, 300_000, 1]


def test_a_part_begins_at_the_first_record_in_it(small: Path) -> None:
    ends = [len(frame(payload)) for payload in PAYLOADS[:3]]
    part = read_part(small, 3, small.stat().st_size, at_record=False)
    assert part is not None
    assert part.first == ends[0]
    assert part.payload(0) == PAYLOADS[1]
    inside_third = ends[0] + ends[1] + 20
    part = read_part(small, inside_third, inside_third + 10, at_record=False)
    assert part is None  # no record begins there


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_any_flipped_bit_is_found_and_its_row_named(small: Path, bit: int) -> None:
    whole = small.read_bytes()
    borders = [offset for offset, _ in read_records(small)]
    for position in [*range(0, 60), *range(len(whole) - 80, len(whole))]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << bit
        small.write_bytes(damaged)
        row = max(border for border in borders if border <= position)
        if position < 12:
            with pytest.raises(WrongFileError, match=r"small\.tfrecord: its first bytes are no record of a TFRecord"):
                list(read_records(small))
        else:
            with pytest.raises(DamagedFileError, match=rf"row at byte offset {row}: .*download it again"):
                list(read_records(small))


def test_a_file_cut_short_anywhere_is_an_error_that_names_the_row(small: Path) -> None:
    whole = small.read_bytes()
    borders = [*(offset for offset, _ in read_records(small)), len(whole)]
    for size in [*range(1, 60), *range(len(whole) - 80, len(whole))]:
        small.write_bytes(whole[:size])
        row = max(border for border in borders if border <= size)
        if size == row:
            assert len(list(read_records(small))) == borders.index(row)  # only the count of rows tells
        else:
            with pytest.raises(DamagedFileError, match=rf"byte offset {row}: got {size - row} bytes .* cut short"):
                list(read_records(small))


def test_of_several_damages_the_first_is_reported(small: Path) -> None:
    whole = bytearray(small.read_bytes())
    second = len(frame(PAYLOADS[0]))
    third = second + len(frame(PAYLOADS[1]))
    whole[third + 50] ^= 1
    small.write_bytes(whole[:-1])
    with pytest.raises(DamagedFileError, match=rf"row at byte offset {third}: got checksum"):
        list(read_records(small))
    whole[second + 1] ^= 1
    small.write_bytes(whole)
    with pytest.raises(DamagedFileError, match=rf"row at byte offset {second}: got checksum .* of its length"):
        list(read_records(small))


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(TableNotFoundError, match=r"does not exist; give a file such as .*`table download`"):
        list(read_records(path))
    path.write_bytes(b"")
    with pytest.raises(WrongFileError, match="is empty; download it again"):
        list(read_records(path))
    path.write_bytes(b"PK\x03\x04 not what was asked for")
    with pytest.raises(WrongFileError, match="no record of a TFRecord file"):
        list(read_records(path))
    with pytest.raises(WrongFileError, match="is a directory; give a file"):
        list(read_records(tmp_path))
