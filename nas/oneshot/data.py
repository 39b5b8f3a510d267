"""The images of a search, resident on the device, and their halves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nas.datasets import Dataset, DatasetError, Images, Part, load_dataset
from nas.oneshot.spec import SearchSpec

#: The parts whose images a search halves, by ``SearchSpec.split``.
_PARTS: dict[str, tuple[Part, ...]] = {"tuning": ("train",), "plain": ("train", "validation")}


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
        name: Key of ``nas.datasets.DATASETS``, or the path of an ``.npz`` file.
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

    @cached_property
    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """([C], [C]) on the device of the images: ``pixels * scale - shift`` has mean 0 and standard deviation 1."""
        images = self.weights.images
        mean, std = (torch.tensor(values, device=images.device) for values in (self.mean, self.std))
        return 1 / ((255.0 if images.dtype == torch.uint8 else 1.0) * std), mean / std

    def to(self, device: torch.device) -> SearchData:
        """The same data on another device."""
        return replace(self, weights=self.weights.to(device), architecture=self.architecture.to(device))

    @classmethod
    def halved(cls, dataset: Dataset, *parts: Part) -> SearchData:
        """The search's data out of some parts of a data set, cut into a first and a second half."""
        images = dataset.joined(*parts)
        middle = len(images) // 2
        return cls(
            dataset.id.name,
            _half(images, slice(middle)),
            _half(images, slice(middle, None)),
            dataset.n_classes,
            dataset.mean,
            dataset.std,
            crop_padding=dataset.crop_padding,
            flip=dataset.flip,
        )


def _half(images: Images, chosen: slice) -> Half:
    pixels = np.ascontiguousarray(images.pixels[chosen].transpose(0, 2, 3, 1))
    return Half(torch.from_numpy(pixels), torch.from_numpy(images.labels[chosen]))


def load_data(spec: SearchSpec) -> SearchData:
    """The data set of a specification, in main memory.

    Raises:
        DatasetError: It is unknown, missing or damaged, cannot be downloaded, or its images are too few, too small, not
            square or not of one size.
    """
    parts = _PARTS[spec.split]
    dataset = load_dataset(spec.dataset, spec.data_dir, parts=parts, download=spec.download)
    data = SearchData.halved(dataset, *parts)
    if len(data.weights) < 2:
        raise DatasetError(
            f"dataset: got {len(data.weights) + len(data.architecture)} images to train on in {spec.dataset}, expected "
            "at least 4, two in each half: BatchNorm takes their mean"
        )
    if data.image_size >> (spec.n_stacks - 1) < 1:
        raise DatasetError(
            f"n_stacks: got {spec.n_stacks}, expected at least one pixel left of the {data.image_size} of "
            f"{spec.dataset}, which each further stack halves; give fewer"
        )
    return data
