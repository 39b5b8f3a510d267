import hashlib
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from nas.oneshot import SearchSpec, cifar10
from nas.oneshot.cifar10 import DatasetError, download, read_batch
from nas.oneshot.data import load_data
from nas.tabular.digits import load_digits_split

NAMES = [f"data_batch_{i}" for i in range(1, 6)]


def write_batches(folder, per_batch=6, names=NAMES):
    """Batches whose every pixel is the number of the batch."""
    folder = folder / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for number, name in enumerate(names, start=1):
        batch = {
            b"data": np.full((per_batch, 3072), number, np.uint8),
            b"labels": [(number + i) % 10 for i in range(per_batch)],
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return folder


def rows(half, images):
    """Where each image of a half is among ``images`` [n, 1, 8, 8]."""
    return [int(np.flatnonzero((images[:, 0] == image[..., 0].numpy()).all((1, 2)))[0]) for image in half.images]


def test_digits_leave_the_tables_validation_and_test_images_alone():
    digits = load_digits_split()
    data = load_data(SearchSpec(dataset="digits"))
    used = digits.images[digits.train]
    assert rows(data.weights, used) == list(range(400))
    assert rows(data.architecture, used) == list(range(400, 800))
    assert np.array_equal(data.weights.labels, digits.labels[digits.train[:400]])
    assert not data.flip


def test_plain_split_of_digits_adds_the_validation_images_and_never_the_test_images():
    digits = load_digits_split()
    data = load_data(SearchSpec(dataset="digits", split="plain"))
    assert (len(data.weights), len(data.architecture)) == (648, 649)
    allowed = digits.images[np.concatenate([digits.train, digits.validation])]
    assert rows(data.weights, allowed) + rows(data.architecture, allowed) == list(range(1297))


def test_cifar10_tuning_split_does_not_even_read_the_validation_batch(tmp_path):
    folder = write_batches(tmp_path)
    (folder / "data_batch_5").unlink()
    data = load_data(SearchSpec(dataset="cifar10", data_dir=str(tmp_path)))
    assert data.weights.images.shape == (12, 32, 32, 3)
    assert data.weights.images[:, 0, 0, 0].tolist() == [1] * 6 + [2] * 6
    assert data.architecture.images[:, 5, 7, 2].tolist() == [3] * 6 + [4] * 6
    assert data.architecture.labels.tolist() == [*range(3, 9), *range(4, 10)]


def test_cifar10_plain_split_halves_all_five_batches(tmp_path):
    write_batches(tmp_path)
    data = load_data(SearchSpec(dataset="cifar10", data_dir=str(tmp_path), split="plain"))
    assert (len(data.weights), len(data.architecture)) == (15, 15)
    assert data.architecture.images[-1, 0, 0, 0] == 5


def test_pixels_are_put_where_they_belong(tmp_path):
    """CIFAR-10 stores 1,024 red, 1,024 green, then 1,024 blue values, row by row."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    values = (np.arange(3072) % 251).astype(np.uint8)
    (folder / "b").write_bytes(pickle.dumps({b"data": values[None], b"labels": [3]}, protocol=2))
    images, labels = read_batch(folder / "b")
    assert images[0, 2, 4, 5] == values[2 * 1024 + 4 * 32 + 5]
    assert labels.tolist() == [3]


def test_a_batch_that_would_run_code_is_refused(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps({b"data": Malicious(), b"labels": []}))
    with pytest.raises(DatasetError, match=r"data_batch_1 cannot be read \(it refers to io.open"):
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
def test_a_damaged_batch_is_refused_with_its_name(content, message, tmp_path):
    path = tmp_path / "data_batch_2"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=f"data_batch_2.*{message}"):
        read_batch(path)


def test_a_missing_batch_or_folder_says_what_is_expected(tmp_path):
    with pytest.raises(DatasetError, match=r"data_dir: got .*expected a folder that contains cifar-10-batches-py"):
        load_data(SearchSpec(dataset="cifar10", data_dir=str(tmp_path)))
    with pytest.raises(DatasetError, match="data_dir: got None"):
        load_data(SearchSpec(dataset="cifar10"))
    write_batches(tmp_path, names=NAMES[:2])
    with pytest.raises(DatasetError, match="data_batch_3 is missing"):
        load_data(SearchSpec(dataset="cifar10", data_dir=str(tmp_path)))
    with pytest.raises(DatasetError, match=r"dataset: got 'mnist', expected one of \['cifar10', 'digits'\]"):
        load_data(SearchSpec(dataset="mnist"))


def archive(tmp_path, *, extra=None):
    write_batches(tmp_path / "source")
    path = tmp_path / "archive.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tmp_path / "source" / "cifar-10-batches-py", "cifar-10-batches-py")
        if extra:
            (tmp_path / "evil").write_text("x")
            tar.add(tmp_path / "evil", extra)
    return path.as_uri(), hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_download_unpacks_an_archive_with_the_right_checksum(tmp_path):
    url, md5 = archive(tmp_path, extra="../outside")
    target = tmp_path / "data"
    assert download(target, url, md5) == target / "cifar-10-batches-py"
    assert len(load_data(SearchSpec(dataset="cifar10", data_dir=str(target))).weights) == 12
    assert [p.name for p in target.iterdir()] == ["cifar-10-batches-py"]
    assert not (tmp_path / "outside").exists()
    # What is there already is not fetched again.
    assert download(target, "file:///nowhere", md5) == target / "cifar-10-batches-py"


def test_a_download_that_fails_leaves_nothing(tmp_path):
    url, _ = archive(tmp_path)
    target = tmp_path / "data"
    with pytest.raises(DatasetError, match=r"has MD5 [0-9a-f]{32}, expected 0000"):
        download(target, url, "0000")
    with pytest.raises(DatasetError, match="could not be downloaded"):
        download(target, (tmp_path / "missing").as_uri(), "0000")
    assert list(target.iterdir()) == []


def test_images_that_are_not_square_or_not_of_one_size_are_refused(small_data, monkeypatch):
    import nas.oneshot.data as data

    square = small_data()
    narrow = data.Half(square.weights.images[:, :, :6], square.weights.labels)
    for halves in ((narrow, narrow), (square.weights, narrow)):
        broken = replace(square, weights=halves[0], architecture=halves[1])
        monkeypatch.setitem(data.DATASETS, "own", data.DatasetSource(lambda *_, broken=broken: broken))
        with pytest.raises(DatasetError, match=r"dataset: got images of .*\(8, 6, 3\) .*of own, expected square ones"):
            load_data(SearchSpec(dataset="own"))


def test_a_search_downloads_when_asked(tmp_path, monkeypatch):
    def fake_download(folder):
        write_batches(folder)
        return folder

    import nas.oneshot.data as data

    monkeypatch.setitem(data.DATASETS, "cifar10", data.DatasetSource(data.load_cifar10, fake_download))
    spec = SearchSpec(dataset="cifar10", data_dir=str(tmp_path / "new"), download=True)
    assert len(load_data(spec).weights) == 12
    with pytest.raises(DatasetError, match="data_dir: got nothing"):
        load_data(SearchSpec(dataset="cifar10", download=True))


def test_the_checksum_is_that_of_the_published_archive():
    assert cifar10.ARCHIVE_MD5 == "c58f30108f718f92721af3b95e74349a"
