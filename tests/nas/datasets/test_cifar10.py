"""CIFAR-10 is read without trust, split as NAS-Bench-101 did, and made whole from its archive."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

import run_bohb
from nas.datasets import DatasetError, cifar10, load_dataset
from nas.datasets.cifar10 import download, read_batch
from tests.nas.datasets.made_up import write_batches


def numbers(pixels: np.ndarray) -> list[int]:
    """The batch of each image."""
    return pixels[:, 0, 0, 0].tolist()


def test_constants_of_the_paper() -> None:
    """As DARTS and NAS-Bench-1Shot1 publish them: moments to four places, 4 pixels of border, mirrored images."""
    assert [round(value, 4) for value in cifar10.MEAN] == [0.4914, 0.4822, 0.4465]
    assert [round(value, 4) for value in cifar10.STD] == [0.2470, 0.2435, 0.2616]
    assert cifar10.ARCHIVE_MD5 == "c58f30108f718f92721af3b95e74349a"


def test_a_search_is_told_the_papers_constants(tmp_path: Path) -> None:
    write_batches(tmp_path)
    data = load_dataset("cifar10", tmp_path)
    assert (data.crop_padding, data.flip, data.n_classes) == (4, True, 10)
    assert (data.mean, data.std) == (cifar10.MEAN, cifar10.STD)


def test_each_part_has_its_batches(tmp_path: Path) -> None:
    write_batches(tmp_path)
    parts = load_dataset("cifar10", tmp_path).parts
    assert numbers(parts["train"].pixels) == [1] * 6 + [2] * 6 + [3] * 6 + [4] * 6
    assert numbers(parts["validation"].pixels) == [5] * 6
    assert numbers(parts["test"].pixels) == [6] * 6


def test_a_part_that_is_not_asked_for_is_not_even_read(tmp_path: Path) -> None:
    write_batches(tmp_path, names=cifar10.FILES["train"])
    assert set(load_dataset("cifar10", tmp_path, parts=["train"]).parts) == {"train"}
    with pytest.raises(DatasetError, match="data_batch_5 is missing"):
        load_dataset("cifar10", tmp_path, parts=["train", "validation"])


def test_the_folder_is_data_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DatasetError, match=r"--data-dir: got 'data', expected a folder that contains cifar-10-batches-py"
    ):
        load_dataset("cifar10")
    write_batches(tmp_path / "data")
    assert len(load_dataset("cifar10").parts["test"]) == 6


def test_pixels_are_put_where_they_belong(tmp_path: Path) -> None:
    """CIFAR-10 stores 1,024 red, 1,024 green, then 1,024 blue values, row by row."""
    values = (np.arange(3072) % 251).astype(np.uint8)
    (tmp_path / "b").write_bytes(pickle.dumps({b"data": values[None], b"labels": [3]}, protocol=2))
    images, labels = read_batch(tmp_path / "b")
    assert images[0, 2, 4, 5] == values[2 * 1024 + 4 * 32 + 5]
    assert labels.tolist() == [3]


def test_a_batch_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return (open, (str(tmp_path / "written"), "w"))

    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps({b"data": Malicious(), b"labels": []}))
    with pytest.raises(DatasetError, match=r"data_batch_1 cannot be read \(it refers to _?io.open"):
        read_batch(path)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]})[:-20], "cannot be read"),
        (pickle.dumps([1, 2]), "holds no 'data' and 'labels'"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.int32), b"labels": [0, 1]}), "expected uint8"),
        (pickle.dumps({b"data": np.zeros((2, 100), np.uint8), b"labels": [0, 1]}), r"shape \(2, 100\)"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}), "expected 2 integers"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]}), "expected 0 to 9"),
    ],
)
def test_a_damaged_batch_is_refused_with_its_name(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "data_batch_2"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=f"data_batch_2.*{message}"):
        read_batch(path)


def test_a_missing_folder_or_batch_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"--data-dir: got .*expected a folder that contains cifar-10-batches-py"):
        load_dataset("cifar10", tmp_path)
    folder = write_batches(tmp_path, names=cifar10.FILES["train"][:2])
    with pytest.raises(DatasetError, match=r"data_batch_3 is missing.* --download fetches what is missing"):
        load_dataset("cifar10", tmp_path)
    with pytest.raises(DatasetError, match=r"holds the batches themselves.*give its parent"):
        load_dataset("cifar10", folder)
    with pytest.raises(DatasetError, match="give its parent"):
        load_dataset("cifar10", folder, download=True)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small archive in place of the published one, with a member that would leave its folder."""
    write_batches(tmp_path / "source")
    path = tmp_path / "published" / cifar10.ARCHIVE
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tmp_path / "source" / cifar10.BATCHES, cifar10.BATCHES)
        (tmp_path / "evil").write_text("x")
        tar.add(tmp_path / "evil", "../outside")
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(cifar10, "ARCHIVE_MD5", digest)
    return path


def test_download_unpacks_an_archive_with_the_right_checksum(tmp_path: Path, archive: Path) -> None:
    target = tmp_path / "data"
    assert download(target, archive.as_uri()) == target / cifar10.BATCHES
    assert len(load_dataset("cifar10", target).parts["train"]) == 24
    assert [path.name for path in target.iterdir()] == [cifar10.BATCHES]
    assert not (tmp_path / "outside").exists()
    # What is there already is not fetched again.
    assert download(target, "file:///nowhere") == target / cifar10.BATCHES


@pytest.mark.parametrize("trouble", ["missing", "truncated", "both"])
def test_download_mends_a_folder_and_leaves_whole_batches_alone(tmp_path: Path, archive: Path, trouble: str) -> None:
    target = tmp_path / "data"
    folder = write_batches(target, per_batch=3, names=(*cifar10.FILES["train"], *cifar10.FILES["validation"]))
    write_batches(target, per_batch=3)
    if trouble in ("missing", "both"):
        (folder / "data_batch_3").unlink()
    if trouble in ("truncated", "both"):
        (folder / "data_batch_4").write_bytes((folder / "data_batch_4").read_bytes()[:-30])
    with pytest.raises(DatasetError, match="--download"):
        load_dataset("cifar10", target)
    download(target, archive.as_uri())
    n_mended = 2 if trouble == "both" else 1
    assert len(load_dataset("cifar10", target).parts["train"]) == 12 + 3 * n_mended
    assert [path.name for path in target.iterdir()] == [cifar10.BATCHES]


def test_an_archive_that_lies_in_the_folder_is_taken(tmp_path: Path, archive: Path) -> None:
    target = tmp_path / "data"
    target.mkdir()
    archive.rename(target / cifar10.ARCHIVE)
    assert len(load_dataset("cifar10", target).parts["test"]) == 6
    (target / cifar10.BATCHES / "data_batch_1").unlink()
    assert len(load_dataset("cifar10", target).parts["train"]) == 24
    (target / cifar10.BATCHES / "test_batch").write_bytes(b"")
    download(target, "file:///nowhere")
    assert len(load_dataset("cifar10", target).parts["test"]) == 6


def test_a_local_archive_is_verified(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / cifar10.ARCHIVE).write_bytes(archive.read_bytes()[:-1])
    for download_too in (False, True):
        with pytest.raises(DatasetError, match=r"tar.gz has MD5 [0-9a-f]{32}, expected [0-9a-f]{32}; remove it"):
            load_dataset("cifar10", tmp_path / "data", download=download_too)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [cifar10.ARCHIVE]


def test_a_download_that_fails_leaves_nothing(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "data"
    with pytest.raises(DatasetError, match="could not be downloaded"):
        download(target, (tmp_path / "missing").as_uri())
    monkeypatch.setattr(cifar10, "ARCHIVE_MD5", "0000")
    with pytest.raises(DatasetError, match=r"has MD5 [0-9a-f]{32}, expected 0000; try again"):
        download(target, archive.as_uri())
    assert list(target.iterdir()) == []


def test_a_search_fetches_the_images_before_there_is_a_table(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """README's first command on a cluster; the archive lies in the folder already."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    archive.rename(tmp_path / "data" / cifar10.ARCHIVE)
    tiny = ["--n-stacks", "1", "--cells-per-stack", "1", "--init-channels", "2", "--threads", "1"]
    assert run_bohb.main(["search", "--dataset", "cifar10", "--download", "--epochs", "1", *tiny]) == 0
    assert "cells are not looked up: table nasbench101: there is nothing at data/nasbench101.table" in caplog.text
