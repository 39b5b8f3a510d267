"""Made-up files of NAS-Bench-101's layout: its real cells and hashes, with made-up numbers.

The two published files are not available everywhere.  Files from here serve to test and to time reading; never
report a result from one.  They follow the formats and use no code of ``nas.tabular``.

    python -m benchmarks.tabular_file only108.tfrecord                      # 1,270,872 rows, 0.5 GB.
    python -m benchmarks.tabular_file full.tfrecord --budgets 4 12 36 108   # 5,083,488 rows, 2 GB.
"""

from __future__ import annotations

import argparse
import base64
import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import google_crc32c
import numpy as np
import numpy.typing as npt

from spaces import OPERATIONS, Cell
from spaces.cell import MAX_EDGES, MAX_VERTICES, pack_key
from spaces.enumeration import on_a_path
from spaces.hashing import hash_cells

_PARAMETERS = (227_274, 49_979_275)  # the smallest and the largest network of NAS-Bench-101


def masked_checksum(data: bytes) -> bytes:
    """Computes the masked CRC-32C of TFRecord."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def frame(payload: bytes) -> bytes:
    """Frames a payload as a record of a TFRecord file."""
    length = struct.pack("<Q", len(payload))
    return length + masked_checksum(length) + payload + masked_checksum(payload)


def varint(value: int) -> bytes:
    """Encodes an unsigned varint of a protocol buffer."""
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def double_field(number: int, value: float) -> bytes:
    """Encodes a field of type double."""
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def bytes_field(number: int, value: bytes) -> bytes:
    """Encodes a field that is a text or another message."""
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def evaluation(
    epoch: float, seconds: float, train: float, validation: float, test: float, checkpoint: str = ""
) -> bytes:
    """Encodes an ``EvaluationData`` as a field of ``ModelMetrics``."""
    body = b"".join(double_field(i, v) for i, v in enumerate((epoch, seconds, train, validation, test), start=1))
    return bytes_field(1, body + (bytes_field(6, checkpoint.encode()) if checkpoint else b""))


def metrics(epochs: int, seconds: float, train: float, validation: float, test: float, parameters: int) -> bytes:
    """Encodes a ``ModelMetrics`` with evaluations at the start, halfway (half of each value) and at the end."""
    return (
        evaluation(0, 0, 0.1, 0.1, 0.1)
        + evaluation(epochs / 2, seconds / 2, train / 2, validation / 2, test / 2)
        + evaluation(epochs, seconds, train, validation, test)
        + b"\x10"
        + varint(parameters)
        + double_field(3, 1.05 * seconds)
    )


def payload(cell_hash: str, epochs: int, cell: Cell, message: bytes) -> bytes:
    """Encodes a row."""
    adjacency = "".join(str(bit) for row in cell.adjacency for bit in row)
    row = [cell_hash, epochs, adjacency, ",".join(cell.operations), base64.b64encode(message).decode()]
    return json.dumps(row).encode()


def all_cells() -> npt.NDArray[np.int64]:
    """[423624] Keys of all cells of NAS-Bench-101, in ascending order of their hashes."""
    keys = []
    for n_vertices in range(2, MAX_VERTICES + 1):
        any_edges = np.arange(1 << (n_vertices * (n_vertices - 1) // 2), dtype=np.int64)
        few_edges = any_edges[np.bitwise_count(any_edges) <= MAX_EDGES]
        edges = few_edges[on_a_path(few_edges, n_vertices).all(axis=0)]
        same_operations = pack_key(np.full_like(edges, n_vertices), edges, np.zeros_like(edges))
        graphs = same_operations[np.unique(hash_cells(same_operations), return_index=True)[1]]
        keys.append((graphs[:, None] + np.arange(len(OPERATIONS) ** (n_vertices - 2))).reshape(-1))
    joined = np.concatenate(keys)
    return joined[np.unique(hash_cells(joined), return_index=True)[1]]


def payloads(
    keys: npt.NDArray[np.int64], budgets: Sequence[int] = (108,), repeats: int = 3, seed: int = 0
) -> Iterator[bytes]:
    """The rows of some cells with made-up numbers, in the order of the published files: cell by cell."""
    rng = np.random.default_rng(seed)
    hashes = hash_cells(keys)
    for i, key in enumerate(keys.tolist()):
        cell, cell_hash = Cell.from_key(key), hashes[i : i + 1].tobytes().hex()
        parameters, skill = int(rng.integers(*_PARAMETERS)), rng.uniform(0.8, 0.95)
        for epochs in budgets:
            for _ in range(repeats):
                noise = rng.normal(0, 0.002, 4).tolist()
                test = skill * epochs / (epochs + 4) + noise[0]
                seconds = (600 + parameters / 2.2e4) * epochs / 108 * (1 + noise[3])
                message = metrics(epochs, seconds, test + 0.04, test + 0.006 + noise[1], test, parameters)
                yield payload(cell_hash, epochs, cell, message)


def write_file(path: Path, rows: Iterable[bytes]) -> list[int]:
    """Writes payloads as a TFRecord; returns the byte offsets of each row and of the end."""
    offsets = [0]
    with path.open("wb") as file:
        for row in rows:
            offsets.append(offsets[-1] + file.write(frame(row)))
    return offsets


def main() -> None:
    """Parses the command line and writes a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--budgets", type=int, nargs="+", default=[108], help="epochs; each cell has three rows per budget"
    )
    parser.add_argument("--cells", type=int, default=None, help="number of cells to write (default: all 423,624)")
    options = parser.parse_args()
    rows = len(write_file(options.out, payloads(all_cells()[: options.cells], options.budgets))) - 1
    print(f"{options.out}: {rows:,} rows, {options.out.stat().st_size / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
