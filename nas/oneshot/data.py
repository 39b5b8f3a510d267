"""The images of a search, resident on the device, and their halves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nas.oneshot import cifar10
from nas.oneshot.cifar10 import DatasetError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nas.oneshot.spec import SearchSpec


@dataclass(frozen=True)
class Half:
    """Images of one purpose.

    Attributes:
        images: [n, H, W, C] uint8 in 0..255 or float32 in [0, 1]: channels last, as the supernet reads them.
        labels: [n] int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, n: int | None) -> Half:
        """The first n images, or as many as there are; all of them if None."""
        return Half(self.images[:n], self.labels[:n])

    def to(self, device: torch.device) -> Half:
        """The same images on another device."""
        return Half(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class SearchData:
    """A data set as a search sees it; the images of the table's validation and test are not in it.

    Attributes:
        name: Key of ``DATASETS``.
        weights: Trains the weights.
        architecture: Trains the architecture; the one-shot validation error is measured on it too.
        n_classes: Number of labels.
        mean: [C] of the pixels, in units where the largest value is 1.
        std: [C] likewise.
        crop_padding: Pixels of black border out of which a random crop cuts.
        flip: Whether a mirrored image shows the same class.
    """

    name: str
    weights: Half
    architecture: Half
    n_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int
    flip: bool

    @property
    def image_size(self) -> int:
        return self.weights.images.shape[1]

    @property
    def image_channels(self) -> int:
        return self.weights.images.shape[3]

    def to(self, device: torch.device) -> SearchData:
        """The same data on another device."""
        return replace(self, weights=self.weights.to(device), architecture=self.architecture.to(device))


def _halves(images: npt.NDArray[np.generic], labels: npt.NDArray[np.int64]) -> tuple[Half, Half]:
    """Cuts images [n, C, H, W] into a first and a second half."""
    import torch

    middle = len(labels) // 2
    tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    target = torch.from_numpy(labels)
    return Half(tensor[:middle], target[:middle]), Half(tensor[middle:], target[middle:])


def load_digits(data_dir: Path | None, split: str) -> SearchData:
    """The digits of scikit-learn, 8x8 pixels, one channel; needs no folder.

    Split ``tuning``: 400 and 400 of the 800 training images.  Split ``plain``: 648 and 649 of the 1,297 that
    are not test images.  A mirrored digit is none, so there is no flip; crops move by one pixel, as 4 of 32.
    """
    from nas.tabular.digits import load_digits_split

    digits = load_digits_split()
    used = digits.train if split == "tuning" else np.concatenate([digits.train, digits.validation])
    weights, architecture = _halves(digits.images[used], digits.labels[used])
    pixels = digits.images[digits.train]
    return SearchData(
        "digits", weights, architecture, 10, (float(pixels.mean()),), (float(pixels.std()),), crop_padding=1, flip=False
    )


def load_cifar10(data_dir: Path | None, split: str) -> SearchData:
    """CIFAR-10, 32x32 pixels, three channels.

    Split ``tuning``: batches 1 to 4, 20,000 and 20,000 images; batch 5, on which NAS-Bench-101 validated, is not
    even read.  Split ``plain``: all five, 25,000 and 25,000.

    Raises:
        DatasetError: There is no data set in ``data_dir``.
    """
    if data_dir is None or not (data_dir / cifar10.FOLDER).is_dir():
        raise DatasetError(
            f"data_dir: got {str(data_dir) if data_dir else None!r}, expected a folder that contains {cifar10.FOLDER}; "
            f"unpack {cifar10.ARCHIVE_URL} there, or ask for the download"
        )
    names = cifar10.TRAINING_BATCHES + ((cifar10.VALIDATION_BATCH,) if split == "plain" else ())
    batches = [cifar10.read_batch(data_dir / cifar10.FOLDER / name) for name in names]
    images, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    weights, architecture = _halves(images, labels)
    mean, std = (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)
    return SearchData("cifar10", weights, architecture, 10, mean, std, crop_padding=4, flip=True)


@dataclass(frozen=True)
class DatasetSource:
    """Where a data set comes from.

    Attributes:
        load: (folder or None, split) to the images.
        download: Puts the data set into a folder; None where there is nothing to download.
    """

    load: Callable[[Path | None, str], SearchData]
    download: Callable[[Path], Path] | None = None


#: Every data set by name; add one here and the command line, the tests and the docs know it.
DATASETS: dict[str, DatasetSource] = {
    "digits": DatasetSource(load_digits),
    "cifar10": DatasetSource(load_cifar10, cifar10.download),
}


def load_data(spec: SearchSpec) -> SearchData:
    """The data set of a specification, in main memory.

    Raises:
        DatasetError: It is unknown, missing or damaged, cannot be downloaded, or its images are too small, not square
            or not of one size.
    """
    if spec.dataset not in DATASETS:
        raise DatasetError(f"dataset: got {spec.dataset!r}, expected one of {sorted(DATASETS)}")
    source = DATASETS[spec.dataset]
    data_dir = Path(spec.data_dir) if spec.data_dir is not None else None
    if spec.download and source.download is not None:
        if data_dir is None:
            raise DatasetError("data_dir: got nothing, expected the folder to download the data set into")
        source.download(data_dir)
    data = source.load(data_dir, spec.split)
    shapes = [tuple(half.images.shape[1:]) for half in (data.weights, data.architecture)]
    if shapes[0] != shapes[1] or shapes[0][0] != shapes[0][1]:
        raise DatasetError(
            f"dataset: got images of {shapes[0]} and {shapes[1]} in the halves of {spec.dataset}, expected square ones "
            "[n, S, S, C] of one size; crop or pad them"
        )
    if data.image_size >> (spec.n_stacks - 1) < 1:
        raise DatasetError(
            f"n_stacks: got {spec.n_stacks}, expected at least one pixel left of the {data.image_size} of "
            f"{spec.dataset}, which each further stack halves; give fewer"
        )
    return data
