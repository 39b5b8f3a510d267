"""Images of one's own: what is taken, what is refused, and how they are told from others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.datasets import DATASETS, PARTS, DatasetError, DatasetId, find_dataset, identify, load_dataset, locate
from tests.nas.datasets.made_up import own_arrays


def written(path: Path, **change: Any) -> str:
    np.savez(path, **{name: value for name, value in (own_arrays() | change).items() if value is not None})
    return str(path)


def test_the_parts_are_those_that_the_file_states(tmp_path: Path) -> None:
    arrays = own_arrays()
    data = load_dataset(written(tmp_path / "own.npz"))
    for part in PARTS:
        images, expected = data.parts[part], arrays["images"][arrays[part]]
        assert sorted(images.pixels.reshape(len(images), -1).tolist()) == sorted(
            expected.reshape(len(expected), -1).tolist()
        )
        # A label stays with its image: class 1 is bright in its first row.
        assert ((images.pixels[:, 0, 0].mean(axis=1) > 1.5) == (images.labels == 1)).mean() > 0.9
    assert (data.n_classes, data.crop_padding, data.flip) == (2, 0, False)


def test_images_in_order_of_class_are_shuffled_the_same_way_every_time(tmp_path: Path) -> None:
    """A search halves the training part: both halves need all classes."""
    labels = np.repeat([0, 1], 128)
    name = written(tmp_path / "own.npz", labels=labels, train=np.arange(64, 192), validation=[0], test=[1])
    first, again = (load_dataset(name).parts["train"] for _ in range(2))
    assert 20 < first.labels[:64].sum() < 44
    assert first.labels.tolist() == again.labels.tolist()


def test_whole_numbers_are_scaled_and_kept_small(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(256, size=(256, 3, 16, 16), dtype=np.uint8)
    data = load_dataset(written(tmp_path / "own.npz", images=images, flip=True))
    train = images[own_arrays()["train"]] / 255.0
    assert data.parts["train"].pixels.dtype == np.uint8
    assert np.allclose(data.mean, train.mean(axis=(0, 2, 3)), atol=1e-5)
    assert np.allclose(data.std, train.std(axis=(0, 2, 3)), atol=1e-5)
    assert (data.crop_padding, data.flip) == (2, True)  # as 4 of 32


def test_a_channel_that_is_the_same_everywhere_is_left_as_it_is(tmp_path: Path) -> None:
    images = np.full((256, 2, 4, 4), 0.25)
    images[:, 1] = np.random.default_rng(0).normal(size=(256, 4, 4))
    data = load_dataset(written(tmp_path / "own.npz", images=images))
    assert data.std[0] == 1.0
    assert data.mean[0] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, r"expected \['labels'\] too"),
        ({"labels": np.full(256, -1)}, "labels are below 0"),
        ({"labels": np.full(256, 0.5)}, "labels of float64, expected integers"),
        ({"labels": np.zeros(255, int)}, r"labels \(255,\), expected \[N, C, S, S\] and \[N\]"),
        ({"test": np.zeros(0, dtype=np.int64)}, "part test is empty"),
        ({"test": []}, "part test is empty"),
        ({"images": np.zeros((256, 4, 4))}, r"\[N, C, S, S\]"),
        ({"images": np.zeros((256, 1, 4, 6))}, r"got images of \(1, 4, 6\), expected square ones"),
        ({"images": np.zeros((256, 1, 4, 4), int)}, "images of int64, expected uint8 or floating-point"),
        ({"images": np.full((256, 1, 4, 4), np.nan)}, "not finite"),
        ({"images": np.full((256, 1, 4, 4), 1e300)}, "not finite"),
        ({"test": np.arange(64)}, "overlap"),
        ({"test": np.array([256])}, "overlap, or have indices outside"),
        ({"test": np.arange(256) > 200}, "test as bool .*numpy.flatnonzero"),
        ({"test": np.array([200.0, 201.0])}, "test as float64"),
        ({"flip": np.array([1, 0])}, r"flip of int64 \(2,\), expected True or False"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=rf"own\.npz.*{message}|{message}") as caught:
        load_dataset(written(tmp_path / "own.npz", **change))
    assert "\n" not in str(caught.value)


def test_what_is_no_npz_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"absent\.npz, which is no file"):
        load_dataset(str(tmp_path / "absent.npz"))
    (tmp_path / "text.npz").write_text("no numpy")
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    whole = Path(written(tmp_path / "own.npz")).read_bytes()
    (tmp_path / "torn.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("text.npz", "one.npz", "torn.npz"):
        with pytest.raises(DatasetError, match=rf"{name}: the file is no \.npz file"):
            load_dataset(str(tmp_path / name))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        DatasetError, match=r"dataset: got 'mnist', expected one of \['digits', 'cifar10'\] or the path"
    ):
        find_dataset("mnist")


def test_a_file_is_known_by_what_it_holds(tmp_path: Path) -> None:
    first = identify(written(tmp_path / "own.npz"))
    (tmp_path / "elsewhere").mkdir()
    moved = identify(str(shutil.copy(tmp_path / "own.npz", tmp_path / "elsewhere" / "other.npz")))
    assert first.matches(moved)
    assert first.name == str(tmp_path / "own.npz")
    for change in ({"labels": 1 - own_arrays()["labels"]}, {"test": np.array([255])}, own_arrays(seed=1)):
        assert not first.matches(identify(written(tmp_path / "own.npz", **change)))
    types = {"images": np.float64, "labels": np.uint8, "train": np.int32, "test": np.uint16}
    retyped = {name: own_arrays()[name].astype(kind) for name, kind in types.items()}
    assert first.matches(identify(written(tmp_path / "retyped.npz", **retyped)))
    assert not first.matches(DatasetId("digits"))
    assert DatasetId.from_provenance(first.to_provenance()) == first


def test_a_name_that_moved_is_found_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    old = str(tmp_path / "own.npz")
    written(tmp_path / "new" / "own.npz")
    with pytest.raises(DatasetError, match="if it has moved, give its folder with --data-dir"):
        load_dataset(old)
    assert load_dataset(old, tmp_path / "new").id.name == str(tmp_path / "new" / "own.npz")


def test_other_folders_find_a_data_set_where_it_was_located(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("digits") == ("digits", None)
    assert locate("cifar10") == ("cifar10", str(tmp_path / "data"))
    assert locate("cifar10", "there") == ("cifar10", str(tmp_path / "there"))
    assert locate("own.npz") == (str(tmp_path / "own.npz"), str(tmp_path))


@pytest.mark.parametrize("name", [name for name in DATASETS if DATASETS[name].folder is None])
def test_a_folder_is_refused_where_there_are_no_files(name: str) -> None:
    with pytest.raises(
        DatasetError, match=f"--data-dir: got 'there', but data set {name} has no files.*--dataset cifar10"
    ):
        load_dataset(name, "there")


def test_data_sets_and_what_belongs_to_them_load_without_heavy_libraries() -> None:
    ask = (
        "import sys, nas.datasets, nas.tabular.matching\n"
        "nas.datasets.locate('digits'), nas.tabular.matching.default_table('cifar10')\n"
        "print(*sorted({'torch', 'sklearn', 'scipy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
