"""The framing of TFRecord files; both checksums of every record are verified.

A record has four fields: a little-endian 64-bit length, the masked CRC-32C of these eight bytes, the
payload, and the masked CRC-32C of the payload.

Source: TensorFlow, ``tensorflow/core/lib/io/record_writer.h``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import BinaryIO

import google_crc32c
import numpy as np
import numpy.typing as npt

from nas.tabular.errors import DamagedFileError, TableError, TableNotFoundError, WrongFileError

_HEADER = Struct("<QI")  # length, its checksum
_LENGTH_BYTES = 8
HEADER_BYTES = _HEADER.size
FOOTER_BYTES = 4
_READ_AHEAD = 1 << 16  # more than any record of NAS-Bench-101, so that a part's last record is read with the part
#: The high bytes of the length of a record below 64 KiB; our payloads are text, which has no such run.
_ZEROS = bytes(6)

_MASK_DELTA = 0xA282EAD8


def masked_crc32c(data: bytes) -> int:
    """Computes the checksum as TFRecord stores it: rotated and shifted, so that data may contain checksums."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


@dataclass(frozen=True)
class Records:
    """Consecutive records of a file.

    Attributes:
        source: Name of the file.
        buffer: Bytes of the file.
        buffer_offset: Offset of the buffer in the file.
        starts: [m] int64, offset of each payload in the buffer.
        lengths: [m] int64, lengths of the payloads in bytes.
        end: File offset after the last record.
    """

    source: str
    buffer: bytes
    buffer_offset: int
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    end: int

    @property
    def first(self) -> int:
        """File offset of the first record; ``end`` if there is none."""
        return self.offset(0) if len(self.starts) else self.end

    def offset(self, i: int) -> int:
        """Computes the file offset at which the header of record i begins."""
        return self.buffer_offset + int(self.starts[i]) - HEADER_BYTES

    def place(self, i: int) -> str:
        """Names record i for messages."""
        return _place(self.source, self.offset(i))

    def payload(self, i: int) -> bytes:
        """Cuts the payload of record i out of the buffer."""
        return self.buffer[self.starts[i] : self.starts[i] + self.lengths[i]]


def _place(source: str, offset: int) -> str:
    return f"{source}, row at byte offset {offset}"


def file_size(path: Path) -> int:
    """Returns the size in bytes of a file that should be a TFRecord.

    Raises:
        TableNotFoundError: The file does not exist.
        WrongFileError: The path is a directory, or the file is empty.
    """
    if path.is_dir():
        raise WrongFileError(f"TFRecord: {path} is a directory; give a file such as nasbench_only108.tfrecord")
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise TableNotFoundError(
            f"TFRecord: {path} does not exist; give a file such as nasbench_only108.tfrecord, "
            "which `table download` fetches"
        ) from None
    if size == 0:
        raise WrongFileError(f"TFRecord: {path} is empty; download it again")
    return size


def read_part(path: Path, start: int, stop: int, *, at_record: bool) -> Records | None:
    """Reads the records that begin in [start, stop) of a file and verifies their checksums.

    Args:
        path: The file.
        start: File offset of the first byte.
        stop: File offset after the last byte.
        at_record: True if a record is known to begin at ``start``.  Otherwise the first place that looks like
            the beginning of a record is searched, and the caller has to confirm it.

    Returns:
        The records; None if ``at_record`` is false and nothing looked like the beginning of a record.

    Raises:
        DamagedFileError: A checksum is wrong, or the file ends inside a record.
        WrongFileError: The file does not begin with a record.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(start)
        buffer = file.read(min(stop, size) - start + _READ_AHEAD)
        first = 0 if at_record else _find_record(buffer)
        if first is None or start + first >= stop:
            return None
        buffer, lengths, trouble = _walk(file, buffer, start, first, min(stop, size) - start)
    payloads = np.array(lengths, dtype=np.int64)
    ends = first + np.cumsum(HEADER_BYTES + payloads + FOOTER_BYTES)
    end = start + int(ends[-1]) if lengths else start + first
    records = Records(path.name, buffer, start, ends - FOOTER_BYTES - payloads, payloads, end)
    if lengths:
        _check_payloads(records)
    if trouble is not None:
        raise trouble
    return records


def _walk(
    file: BinaryIO, buffer: bytes, offset: int, position: int, stop: int
) -> tuple[bytes, list[int], TableError | None]:
    """Goes from record to record, from ``position`` to ``stop`` in the buffer that begins at ``offset`` of the file.

    Returns:
        The buffer, with more of the file if the last record needs it; the lengths of the payloads; and the error
        that ended the walk early, or None.  An earlier record may be damaged too and must be reported first.
    """
    lengths: list[int] = []
    known: dict[int, int] = {}  # lengths whose checksum was computed
    unpack, available = _HEADER.unpack_from, len(buffer)
    try:
        while position < stop:
            if position + HEADER_BYTES > available:
                buffer = _read_on(file, buffer, offset, position, HEADER_BYTES)
                available = len(buffer)
            length, checksum = unpack(buffer, position)
            if known.get(length) != checksum:
                length_bytes = buffer[position : position + _LENGTH_BYTES]
                _check_length(Path(file.name), offset + position, length_bytes, checksum)
                known[length] = checksum
            record_bytes = HEADER_BYTES + length + FOOTER_BYTES
            if position + record_bytes > available:
                buffer = _read_on(file, buffer, offset, position, record_bytes)
                available = len(buffer)
            lengths.append(length)
            position += record_bytes
    except TableError as error:
        return buffer, lengths, error
    return buffer, lengths, None


def read_records(path: Path, *, part_bytes: int = 1 << 24) -> Iterator[tuple[int, bytes]]:
    """Yields the file offset and the payload of every record of any TFRecord file.

    Raises:
        TableError: The file is missing, empty, damaged or no TFRecord; see ``file_size`` and ``read_part``.
    """
    size, position = file_size(path), 0
    while position < size:
        records = read_part(path, position, position + part_bytes, at_record=True)
        assert records is not None  # only a search can come back with nothing
        for i in range(len(records.starts)):
            yield records.offset(i), records.payload(i)
        position = records.end


def _find_record(buffer: bytes) -> int | None:
    """Finds the first position with a length whose checksum is right; None if there is none."""
    zeros = buffer.find(_ZEROS)
    while zeros >= 0:
        position = zeros - (_LENGTH_BYTES - len(_ZEROS))
        if position >= 0 and position + HEADER_BYTES <= len(buffer):
            _, checksum = _HEADER.unpack_from(buffer, position)
            if checksum == masked_crc32c(buffer[position : position + _LENGTH_BYTES]):
                return position
        zeros = buffer.find(_ZEROS, zeros + 1)
    return None


def _read_on(file: BinaryIO, buffer: bytes, offset: int, position: int, needed: int) -> bytes:
    """Extends the buffer so that it has at least ``needed`` bytes from ``position``."""
    left = os.fstat(file.fileno()).st_size - offset - position
    if needed > left:
        raise DamagedFileError(
            f"{_place(Path(file.name).name, offset + position)}: got {left} bytes up to the end of the file, "
            f"expected {needed}; the file is cut short, download it again (a download goes on where it stopped)"
        )
    return buffer + file.read(position + needed - len(buffer) + _READ_AHEAD)


def _check_length(path: Path, offset: int, length: bytes, checksum: int) -> None:
    expected = masked_crc32c(length)
    if checksum == expected:
        return
    if offset == 0:
        raise WrongFileError(
            f"{path}: its first bytes are no record of a TFRecord file (a length and its checksum); "
            "give a file such as nasbench_only108.tfrecord, or download this one again"
        )
    raise DamagedFileError(
        f"{_place(path.name, offset)}: got checksum {checksum:08x} of its length, expected {expected:08x}; "
        "the file is damaged, download it again"
    )


def _check_payloads(records: Records) -> None:
    buffer, starts, value = records.buffer, records.starts, google_crc32c.value
    ends = starts + records.lengths
    spans = zip(starts.tolist(), ends.tolist(), strict=True)
    crc = np.array([value(buffer[start:end]) for start, end in spans], dtype=np.uint32)
    expected = (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(_MASK_DELTA)
    windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(buffer, dtype=np.uint8), FOOTER_BYTES)
    stored = windows[ends].view("<u4").reshape(-1)
    wrong = np.flatnonzero(stored != expected)
    if len(wrong):
        raise DamagedFileError(
            f"{records.place(wrong[0])}: got checksum {stored[wrong[0]]:08x} of its contents, "
            f"expected {expected[wrong[0]]:08x}; the file is damaged, download it again"
        )
