"""The readers that benchmarks.tabular compares; each runs in its own process.

``PlainReader`` reads NAS-Bench-101 row by row into dictionaries, like google-research/nasbench, but without
TensorFlow and without the protobuf library.
"""

from __future__ import annotations

import base64
import json
import resource
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter
from types import ModuleType
from typing import Any, TypeVar

import google_crc32c
import numpy as np

from nas.tabular import Table, open_table
from nas.tabular.nasbench101.importing import import_tfrecord
from spaces import SEARCH_SPACES, Cell

T = TypeVar("T")

QUERIES = 20_000
BATCH = 1_000_000
REPEATS = 5


class PlainReader:
    """The whole file as dictionaries: hash -> epochs -> repeats -> name -> number."""

    def __init__(self, path: Path) -> None:
        self.parameters: dict[str, int] = {}
        self.results: dict[str, dict[int, list[dict[str, float]]]] = {}
        for payload in _records(path):
            cell_hash, epochs, adjacency, operations, metrics = json.loads(payload)
            evaluations, parameters = _decode_metrics(base64.b64decode(metrics))
            size = int(len(adjacency) ** 0.5)
            _ = np.array([int(digit) for digit in adjacency], dtype=np.int8).reshape(size, size), operations.split(",")
            self.parameters.setdefault(cell_hash, parameters)
            point = {f"halfway_{k}": v for k, v in evaluations[1].items()} | evaluations[2]
            self.results.setdefault(cell_hash, {}).setdefault(epochs, []).append(point)

    def query(self, cell: Cell) -> list[dict[str, float]]:
        """Looks up all repeats at 108 epochs."""
        return self.results[cell.hash][108]


def _records(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while header := file.read(12):
            length, length_checksum = struct.unpack("<QI", header)
            payload = file.read(length)
            (checksum,) = struct.unpack("<I", file.read(4))
            assert (length_checksum, checksum) == (_masked(header[:8]), _masked(payload))
            yield payload


def _masked(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


_NAMES = {1: "epoch", 2: "training_time", 3: "train_accuracy", 4: "validation_accuracy", 5: "test_accuracy"}


def _decode_metrics(message: bytes) -> tuple[list[dict[str, float]], int]:
    evaluations, parameters, at = [], 0, 0
    while at < len(message):
        tag, at = message[at], at + 1
        if tag == 0x0A:
            length, at = _decode_varint(message, at)
            evaluations.append(_decode_evaluation(message[at : at + length]))
            at += length
        elif tag == 0x10:
            parameters, at = _decode_varint(message, at)
        else:
            at += 8
    return evaluations, parameters


def _decode_evaluation(message: bytes) -> dict[str, float]:
    values, at = {}, 0
    while at < len(message):
        field, wire = message[at] >> 3, message[at] & 7
        if wire == 1:
            values[_NAMES[field]] = struct.unpack_from("<d", message, at + 1)[0]
            at += 9
        else:
            at += 2 + message[at + 1]
    return values


def _decode_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while message[at] & 0x80:
        value |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | message[at] << shift, at + 1


def fresh_cells(seed: int) -> list[Cell]:
    """Draws cells of the three spaces that have not been hashed yet."""
    rng = np.random.default_rng(seed)
    cells = []
    for space in SEARCH_SPACES.values():
        for index in space.sample_indices(rng, QUERIES // len(SEARCH_SPACES)).tolist():
            cells.append(space.cell_of(index))
    return cells


def single_rates(query: Callable[[Cell], Any]) -> dict[str, float]:
    """Measures queries per second from cell objects.

    Returns:
        ``queries_cold``: rate of the first thousands, with cold caches; ``queries``: median rate;
        ``queries_built``: median rate with the building of the objects, which validates them.
    """
    rates, with_building = [], []
    for seed in range(REPEATS):
        cells = fresh_cells(seed)
        begin = perf_counter()
        for cell in cells:
            query(cell)
        rates.append(len(cells) / (perf_counter() - begin))
        graphs = [(cell.adjacency, cell.operations) for cell in cells]
        begin = perf_counter()
        for adjacency, operations in graphs:
            query(Cell(adjacency, operations))
        with_building.append(len(cells) / (perf_counter() - begin))
    return {"queries_cold": rates[0], "queries": median(rates), "queries_built": median(with_building)}


def batch_rate(table: Table) -> float:
    """Measures architectures per second in batches of encoded indices, in the slowest of the spaces."""
    slowest = float("inf")
    for space in SEARCH_SPACES.values():
        rates = []
        for seed in range(REPEATS):
            indices = space.sample_indices(np.random.default_rng(seed), BATCH)
            begin = perf_counter()
            table.query_indices(space, indices)
            rates.append(BATCH / (perf_counter() - begin))
        slowest = min(slowest, median(rates))
    return slowest


def timed(read: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Calls ``read``; returns its result, with wall-clock seconds and processor seconds, ended children included."""
    begin, cpu_begin = perf_counter(), _cpu_s()
    result = read()
    return result, {"read_s": perf_counter() - begin, "read_cpu_s": _cpu_s() - cpu_begin}


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def private_mb() -> float:
    """Measures this process's private memory; a mapped file counts unless another process maps it too."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1e3


def measure_import(source: str, target: str) -> dict[str, float]:
    """Measures the import into a store."""
    report, times = timed(lambda: import_tfrecord(source, target))
    return {**times, "rows": report.rows, "store_mb": report.store_bytes / 1e6}


def measure_store(target: str) -> dict[str, float]:
    """Measures the opening of a store, and queries."""
    begin = perf_counter()
    table = open_table(target)
    open_s = perf_counter() - begin
    with _another_process(target):
        for cell in table_cells(table):
            table.query(cell)
        private = private_mb()
    return {"open_s": open_s, "private_mb": private, **single_rates(table.query), "batch": batch_rate(table)}


@contextmanager
def _another_process(target: str) -> Iterator[None]:
    """Runs another process, like a second worker, that has the store open and has read all of it."""
    code = (
        "import sys; from nas.tabular import open_table; arrays = open_table(sys.argv[1]).data.arrays();"
        "[array.tobytes() for array in arrays.values()]; print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate()


def table_cells(table: Table) -> list[Cell]:
    """Picks about a thousand cells that the table holds."""
    keys = table.data.cell_keys[:: max(1, len(table) // 1000)]
    return [Cell.from_key(key) for key in keys.tolist()]


def measure_plain(source: str) -> dict[str, float]:
    """Measures reading with ``PlainReader``, and queries."""
    reader, times = timed(lambda: PlainReader(Path(source)))
    return {**times, "private_mb": private_mb(), **single_rates(reader.query)}


def measure_floor(source: str) -> dict[str, float]:
    """Measures framing and checksums alone, on one processor; every reader needs these."""
    return timed(lambda: sum(1 for _ in _records(Path(source))))[1]


def measure_nasbench(source: str, checkout: str) -> dict[str, float]:
    """Measures google-research/nasbench itself, under a Python with TensorFlow and protobuf for it.

    Only reading and querying are used.  Therefore the module that trains networks is replaced by an empty one, and
    TensorFlow gives its version 1 interface.
    """
    sys.modules["tensorflow"] = import_module("tensorflow").compat.v1
    sys.modules["nasbench.lib.evaluate"] = ModuleType("nasbench.lib.evaluate")
    sys.path.insert(0, checkout)
    api = import_module("nasbench.api")

    nasbench, times = timed(lambda: api.NASBench(source))
    private = private_mb()

    def query(cell: Cell) -> Any:
        return nasbench.query(api.ModelSpec(np.array(cell.adjacency), list(cell.operations)))

    return {**times, "private_mb": private, **single_rates(query)}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
