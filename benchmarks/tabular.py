"""Times of reading, opening and querying a table, beside a plain reader and, optionally, google-research/nasbench.

    python -m benchmarks.tabular                        # A made-up file with the cells of the three spaces.
    python -m benchmarks.tabular --cells all            # A made-up file as large as nasbench_only108.tfrecord.
    python -m benchmarks.tabular --tfrecord FILE        # Any other file.
    python -m benchmarks.tabular --nasbench CHECKOUT --nasbench-python PYTHON

Each reader runs in its own process, one reader after the other.  Its memory is the sum over that process and
all its children, sampled ten times per second.  On a machine that does other work too, compare processor times.
PYTHON is an interpreter with TensorFlow, NumPy, google-crc32c and a protobuf that suits the checkout's
``model_metrics_pb2.py``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.tabular_file import all_cells, payloads, write_file
from spaces import SEARCH_SPACES
from spaces.enumeration import enumerate_space

_SAMPLE_S = 0.1
_PAGE_MB = 4096 / 1e6

_ROWS = {
    "read_s": "reading the file, s",
    "read_cpu_s": "processor time of all its processes, s",
    "peak_mb": "peak memory of all its processes, MB",
    "open_s": "opening afterwards, s",
    "private_mb": "private memory of a process that asks, MB",
    "queries_cold": "queries/s from cells, first 20,000",
    "queries": "queries/s from cells, later",
    "queries_built": "queries/s, building the cells included",
    "batch": "architectures/s in batches of indices",
}


@dataclass(frozen=True)
class Reader:
    """A reader to measure.

    Attributes:
        name: Name of the reader in the printed table.
        functions: Functions of ``benchmarks.tabular_readers`` with their arguments, run one after the other.
        python: Path of the interpreter.
    """

    name: str
    functions: Sequence[tuple[str, Sequence[str]]]
    python: str = sys.executable


def main() -> None:
    """Parses the command line, measures, and prints."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        source = options.tfrecord
        if source is None:
            source = Path(directory) / "made_up.tfrecord"
            rows = len(write_file(source, payloads(all_cells() if options.cells == "all" else _cells_of_spaces()))) - 1
            print(f"wrote {rows:,} rows, {source.stat().st_size / 1e6:,.0f} MB")
        results = {reader.name: measure(reader) for reader in _readers(options, source, Path(directory) / "t.table")}
    print_results(results)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tfrecord", type=Path, help="a file of NAS-Bench-101's layout that holds the spaces' cells")
    parser.add_argument("--cells", choices=["spaces", "all"], default="spaces", help="cells of a made-up file")
    parser.add_argument("--directory", type=Path, help="folder with room for it and the store (default: temporary)")
    parser.add_argument("--no-plain", action="store_true", help="leave out the plain reader, which needs much memory")
    parser.add_argument("--nasbench", type=Path, help="a checkout of google-research/nasbench")
    parser.add_argument("--nasbench-python", default=sys.executable, help="interpreter that can run nasbench")
    parser.add_argument("--json", type=Path, help="file for the figures, which are printed in any case")
    return parser.parse_args()


def _readers(options: argparse.Namespace, source: Path, target: Path) -> list[Reader]:
    ours = [("measure_import", [str(source), str(target)]), ("measure_store", [str(target)])]
    readers = [Reader("nasbohb", ours), Reader("checksums alone", [("measure_floor", [str(source)])])]
    if not options.no_plain:
        readers.append(Reader("plain reader", [("measure_plain", [str(source)])]))
    if options.nasbench is not None:
        theirs = [("measure_nasbench", [str(source), str(options.nasbench)])]
        readers.append(Reader("nasbench", theirs, options.nasbench_python))
    return readers


def _cells_of_spaces() -> npt.NDArray[np.int64]:
    """Lists one key per cell of the three spaces."""
    keys, hashes = [], []
    for space in SEARCH_SPACES.values():
        enumeration = enumerate_space(space)
        keys.append(enumeration.keys)
        hashes.append(enumeration.hash_bytes[enumeration.hash_of_key])
    _, first = np.unique(np.concatenate(hashes), return_index=True)
    return np.concatenate(keys)[first]


def measure(reader: Reader) -> dict[str, float]:
    """Runs a reader's functions and joins their figures; the peak memory is that of the first function."""
    results: dict[str, float] = {}
    for function, arguments in reader.functions:
        command = [reader.python, "-m", "benchmarks.tabular_readers", function, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _memory_mb(process.pid))
            time.sleep(_SAMPLE_S)
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{reader.name}: {function} ended with status {process.returncode}")
        results = {"peak_mb": peak} | results | json.loads(output.splitlines()[-1])
    return results


def _memory_mb(pid: int) -> float:
    """Sums the resident memory of a process and of all that it started."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_MB
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            resident += sum(_memory_mb(int(child)) for child in children.read_text(encoding="ascii").split())
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # the process has just ended
    return resident


def print_results(results: dict[str, dict[str, Any]]) -> None:
    """Prints one row per figure and one column per reader, with the ratio to ours."""
    ours = results["nasbohb"]
    print(f"{'':45}" + "".join(f"{name:>26}" for name in results))
    for figure, title in _ROWS.items():
        line = f"{title:45}"
        for name, measured in results.items():
            value = measured.get(figure)
            text = "-" if value is None else f"{value:,.3f}" if value < 10 else f"{value:,.0f}"
            if value is not None and name != "nasbohb" and ours.get(figure):
                text += f" ({value / ours[figure]:.3g} x)"
            line += f"{text:>26}"
        print(line)


if __name__ == "__main__":
    main()
