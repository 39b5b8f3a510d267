"""Our reader beside TensorFlow's own, where the extra ``tensorflow`` is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tabular_file import payloads, write_file
from nas.tabular.nasbench101.importing import import_tfrecord
from nas.tabular.nasbench101.tfrecord import read_records
from spaces import SEARCH_SPACES
from spaces.enumeration import enumerate_space

tensorflow = pytest.importorskip(
    "tensorflow", reason="TensorFlow is not installed; pip install '.[tensorflow]' to compare readers"
)

ROWS = list(payloads(enumerate_space(SEARCH_SPACES["1"]).keys[:1], budgets=(4, 108)))


@pytest.mark.usefixtures("space_1_only")
def test_we_read_what_tensorflow_writes(tmp_path: Path) -> None:
    source = tmp_path / "tensorflow.tfrecord"
    with tensorflow.io.TFRecordWriter(str(source)) as writer:
        for row in [*ROWS, b"", b"\0" * 70_000]:
            writer.write(row)
    assert [payload for _, payload in read_records(source)] == [*ROWS, b"", b"\0" * 70_000]
    with tensorflow.io.TFRecordWriter(str(tmp_path / "rows.tfrecord")) as writer:
        for row in ROWS:
            writer.write(row)
    assert import_tfrecord(tmp_path / "rows.tfrecord", tmp_path / "t.table").rows == len(ROWS)


def test_both_read_the_sample_alike(sample: Path) -> None:
    theirs = [record.numpy() for record in tensorflow.data.TFRecordDataset(str(sample))]
    assert [payload for _, payload in read_records(sample)] == theirs
    assert len(theirs) == 192


def test_tensorflow_reads_what_the_benchmark_writes(tmp_path: Path) -> None:
    write_file(tmp_path / "file", ROWS)
    assert [record.numpy() for record in tensorflow.data.TFRecordDataset(str(tmp_path / "file"))] == ROWS


def test_both_refuse_the_same_damage(sample: Path, tmp_path: Path) -> None:
    damaged = bytearray(sample.read_bytes())
    damaged[5000] ^= 1
    (tmp_path / "file").write_bytes(damaged)
    with pytest.raises(tensorflow.errors.DataLossError):
        list(tensorflow.data.TFRecordDataset(str(tmp_path / "file")))
    with pytest.raises(ValueError, match="row at byte offset"):
        list(read_records(tmp_path / "file"))
