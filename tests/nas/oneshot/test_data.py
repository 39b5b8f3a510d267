"""The halves of a search: which images they hold, and which they never hold."""

import numpy as np
import pytest

from nas.datasets import DATASETS, Dataset, DatasetError, DatasetId, DatasetSource, Images, cifar10, load_dataset
from nas.oneshot import SearchSpec
from nas.oneshot.data import load_data
from tests.nas.datasets.made_up import own_arrays, write_batches


def rows(half, images):
    """Where each image of a half is among ``images`` [n, 1, 8, 8]."""
    return [int(np.flatnonzero((images[:, 0] == image[..., 0].numpy()).all((1, 2)))[0]) for image in half.images]


def test_digits_leave_the_tables_validation_and_test_images_alone():
    train = load_dataset("digits").parts["train"]
    data = load_data(SearchSpec(dataset="digits"))
    assert rows(data.weights, train.pixels) == list(range(400))
    assert rows(data.architecture, train.pixels) == list(range(400, 800))
    assert np.array_equal(data.weights.labels, train.labels[:400])
    assert not data.flip


def test_plain_split_of_digits_adds_the_validation_images_and_never_the_test_images():
    allowed = load_dataset("digits").joined("train", "validation").pixels
    data = load_data(SearchSpec(dataset="digits", split="plain"))
    assert (len(data.weights), len(data.architecture)) == (648, 649)
    assert rows(data.weights, allowed) + rows(data.architecture, allowed) == list(range(1297))


def test_cifar10_tuning_split_does_not_even_read_the_validation_batch(tmp_path):
    write_batches(tmp_path, names=cifar10.FILES["train"])
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


def test_images_of_ones_own_are_halved_too(tmp_path):
    arrays = own_arrays(size=8)
    np.savez(tmp_path / "own.npz", **arrays)
    data = load_data(SearchSpec(dataset=str(tmp_path / "own.npz")))
    assert (len(data.weights), len(data.architecture), data.n_classes) == (64, 64, 2)
    train = arrays["images"][arrays["train"]]
    assert sorted(rows(data.weights, train) + rows(data.architecture, train)) == list(range(128))
    assert data.mean == pytest.approx((train.mean(),), abs=1e-5)
    assert data.std == pytest.approx((train.std(),), abs=1e-5)


@pytest.mark.parametrize("name", DATASETS)
def test_a_search_takes_what_the_data_set_states(name, tmp_path):
    write_batches(tmp_path)
    data_dir = str(tmp_path) if DATASETS[name].folder else None
    data, stated = load_data(SearchSpec(dataset=name, data_dir=data_dir)), load_dataset(name, data_dir)
    for field in ("n_classes", "mean", "std", "crop_padding", "flip"):
        assert getattr(data, field) == getattr(stated, field)
    assert data.name == name


def made_up(n, shapes=((1, 8, 8), (1, 8, 8))):
    """Black images, n in each of the parts train and validation."""
    parts = {
        part: Images(np.zeros((n, *shape), np.uint8), np.zeros(n, np.int64))
        for part, shape in zip(("train", "validation"), shapes, strict=True)
    }
    return Dataset(id=DatasetId("own"), parts=parts, n_classes=1, mean=(0.0,), std=(1.0,), crop_padding=0, flip=False)


@pytest.mark.parametrize("shapes", [((1, 8, 6), (1, 8, 6)), ((1, 8, 8), (1, 6, 6)), ((1, 8, 8), (3, 8, 8))])
def test_images_that_are_not_square_or_not_of_one_size_are_refused(shapes):
    with pytest.raises(DatasetError, match=r"own: got images of .*, expected square ones .* of one size"):
        made_up(4, shapes)


def test_fewer_images_than_batchnorm_needs_are_refused(monkeypatch):
    for n in (3, 4):
        source = DatasetSource(load=lambda folder, parts, n=n: made_up(n))
        monkeypatch.setitem(DATASETS, "few", source)
        if n == 3:
            with pytest.raises(DatasetError, match="got 3 images to train on in few, expected at least 4"):
                load_data(SearchSpec(dataset="few"))
        else:
            assert len(load_data(SearchSpec(dataset="few")).weights) == 2


def test_a_search_downloads_when_asked(tmp_path, monkeypatch):
    source = DatasetSource(load=cifar10.load, folder=tmp_path / "by default", download=write_batches)
    monkeypatch.setitem(DATASETS, "cifar10", source)
    for folder in (str(tmp_path / "new"), None):
        spec = SearchSpec(dataset="cifar10", data_dir=folder)
        with pytest.raises(DatasetError, match="expected a folder that contains"):
            load_data(spec)
        assert len(load_data(SearchSpec(dataset="cifar10", data_dir=folder, download=True)).weights) == 12
