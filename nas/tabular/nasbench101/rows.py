"""Rows of NAS-Bench-101, JSON around a protocol buffer, read one at a time as the formats prescribe.

The payload of a record is ``[hash, epochs, adjacency, operations, metrics]``.  The metrics are a
``ModelMetrics`` message in base64:

    message ModelMetrics { repeated EvaluationData = 1; int32 trainable_parameters = 2; double total_time = 3; }
    message EvaluationData { double current_epoch = 1, training_time = 2, train_accuracy = 3,
                             validation_accuracy = 4, test_accuracy = 5; string checkpoint_path = 6; }

The evaluations happen at the start, halfway and at the end of a training.

Source: google-research/nasbench, ``api.py`` and ``lib/model_metrics.proto``; the wire format is
protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt
from struct import unpack_from
from typing import Any

import numpy as np
import numpy.typing as npt

from spaces import Cell

_EVALUATIONS, _PARAMETERS = 1, 2
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
_FIXED_BYTES = {_DOUBLE: 8, _FLOAT: 4}
_N_EVALUATIONS = 3  # start, halfway, end

#: Metrics that are kept of a row, in this order: the fields of the halfway and of the final evaluation.
_FIELDS = {2: "training_time_s", 3: "train_accuracy", 4: "validation_accuracy", 5: "test_accuracy"}
METRICS = (*(f"halfway_{name}" for name in _FIELDS.values()), *_FIELDS.values())


@dataclass(frozen=True)
class Rows:
    """m rows as columns.

    Attributes:
        hashes: [m] S16, bytes of the hashes.
        epochs: [m] int64, budgets.
        keys: [m] int64, keys of the cells as in ``spaces.Cell.key``, but perhaps with loose ends.
        trainable_parameters: [m] int64, numbers of parameters.
        metrics: [m, len(METRICS)] float64, values in the order of ``METRICS``.
    """

    hashes: npt.NDArray[np.bytes_]
    epochs: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]
    trainable_parameters: npt.NDArray[np.int64]
    metrics: npt.NDArray[np.float64]

    @classmethod
    def empty(cls, n: int) -> Rows:
        """Makes room for n rows."""
        return cls(
            np.zeros(n, dtype="S16"),
            np.zeros(n, dtype=np.int64),
            np.zeros(n, dtype=np.int64),
            np.zeros(n, dtype=np.int64),
            np.zeros((n, len(METRICS))),
        )


@dataclass(frozen=True)
class Row:
    """One row; ``metrics`` are in the order of ``METRICS``."""

    hash: bytes
    epochs: int
    key: int
    trainable_parameters: int
    metrics: tuple[float, ...]


@dataclass(frozen=True)
class MessageShape:
    """The positions of the fields in a ``ModelMetrics`` message; messages of one shape can be read together.

    Attributes:
        mask: [bytes] uint8, mask of the bits that belong to the structure and not to the values.
        structure: [bytes] uint8, values of these bits.
        positions: [len(METRICS)] Offset of each double, -1 for a field that was left out and therefore is 0.
        parameters: Offsets at which the number of parameters begins and ends; equal if it was left out.
    """

    mask: npt.NDArray[np.uint8]
    structure: npt.NDArray[np.uint8]
    positions: tuple[int, ...]
    parameters: tuple[int, int]


def parse_row(payload: bytes) -> Row:
    """Reads one row.

    Raises:
        ValueError: The payload is no row of NAS-Bench-101; the message says why.
    """
    cell_hash, epochs, adjacency, operations, metrics = _parse_json(payload)
    size = isqrt(len(adjacency))
    if size**2 != len(adjacency) or set(adjacency) - {"0", "1"}:
        raise ValueError(f"got adjacency {adjacency!r}, expected the digits 0 and 1 of a square matrix")
    matrix = [[int(digit) for digit in adjacency[size * x : size * (x + 1)]] for x in range(size)]
    cell = Cell.from_matrix(matrix, operations.split(","))
    try:
        message = binascii.a2b_base64(metrics.encode("ascii"))
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"got metrics that are not base64: {error}") from None
    shape = message_shape(message)
    start, end = shape.parameters
    return Row(
        hash=cell_hash,
        epochs=epochs,
        key=cell.key,
        trainable_parameters=_signed(read_varint(message, start)[0]) if end > start else 0,
        metrics=tuple(unpack_from("<d", message, at)[0] if at >= 0 else 0.0 for at in shape.positions),
    )


def _parse_json(payload: bytes) -> tuple[bytes, int, str, str, str]:
    try:
        fields: Any = json.loads(payload.decode("utf-8"))
    except ValueError:
        raise ValueError(
            f"got a payload that begins with {payload[:24]!r}, expected a row of NAS-Bench-101 in JSON"
        ) from None
    if not isinstance(fields, list) or [type(field) for field in fields] != [str, int, str, str, str]:
        raise ValueError(
            f"got JSON that begins with {payload[:24]!r}, expected [hash, epochs, adjacency, operations, metrics]"
        )
    try:
        cell_hash = binascii.unhexlify(fields[0])
    except ValueError:
        cell_hash = b""
    if len(cell_hash) != 16:
        raise ValueError(f"got hash {fields[0]!r}, expected 32 hexadecimal digits")
    if fields[1] < 1:
        raise ValueError(f"got {fields[1]} epochs, expected at least 1")
    return (cell_hash, *fields[1:])


def message_shape(message: bytes) -> MessageShape:
    """Finds the shape of a ``ModelMetrics`` message.

    Raises:
        ValueError: The message is not well-formed, or has fewer than three evaluations.
    """
    mask, structure = np.zeros(len(message), dtype=np.uint8), np.frombuffer(message, dtype=np.uint8)
    evaluations: list[dict[int, int]] = []
    parameters = (0, 0)
    for number, wire, tag, start, end in _fields(message, 0, len(message)):
        _mark(mask, wire, tag, start, end)
        if (number, wire) == (_EVALUATIONS, _BYTES):
            positions = {}
            for inner, inner_wire, *span in _fields(message, start, end):
                _mark(mask, inner_wire, *span)
                if inner_wire == _DOUBLE:
                    positions[inner] = span[1]  # the last occurrence of a repeated field counts
            evaluations.append(positions)
        elif (number, wire) == (_PARAMETERS, _VARINT):
            parameters = (start, end)
    if len(evaluations) < _N_EVALUATIONS:
        raise ValueError(f"got metrics of {len(evaluations)} evaluations, expected {_N_EVALUATIONS}: start, half, end")
    kept = evaluations[1:_N_EVALUATIONS]
    return MessageShape(
        mask=mask,
        structure=structure & mask,
        positions=tuple(evaluation.get(field, -1) for evaluation in kept for field in _FIELDS),
        parameters=parameters,
    )


def _mark(mask: npt.NDArray[np.uint8], wire: int, tag: int, start: int, end: int) -> None:
    mask[tag:start] = 0xFF  # tag and length
    if wire == _VARINT:
        mask[start:end] = 0x80  # whether another byte follows


def _fields(message: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Yields the fields of a message: number, wire type, and the offsets of tag, value and end."""
    while start < end:
        tag_at = start
        tag, start = read_varint(message, start)
        wire = tag & 7
        if wire == _VARINT:
            stop = read_varint(message, start)[1]
        elif wire == _BYTES:
            length, start = read_varint(message, start)
            stop = start + length
        elif wire in _FIXED_BYTES:
            stop = start + _FIXED_BYTES[wire]
        else:
            raise ValueError(f"got metrics with wire type {wire} at byte {tag_at}, expected a protocol buffer")
        if stop > end:
            raise ValueError(f"got metrics whose field at byte {tag_at} ends at {stop}, expected at most {end}")
        yield tag >> 3, wire, tag_at, start, stop
        start = stop


def read_varint(message: bytes, start: int) -> tuple[int, int]:
    """Reads an unsigned varint; returns it with the offset after it, and raises ``ValueError`` if it does not end."""
    value = 0
    for i, byte in enumerate(message[start : start + 10]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, start + i + 1
    raise ValueError(f"got metrics with an endless number at byte {start}, expected a protocol buffer")


def _signed(value: int) -> int:
    """Converts an int32 of the wire, where negative numbers are 64 bits long."""
    return value - (1 << 64) if value >> 63 else value
