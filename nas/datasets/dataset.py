"""A data set as searches and tables share it: images in three parts, and what both must know of them.

N images of C channels and S x S pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

#: ``train`` is what a search and a table train on, ``validation`` gives a table's and a study's objective alone,
#: ``test`` is only ever reported.
Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)


class DatasetError(ValueError):
    """A data set is missing or is not what it should be, and says why."""


@dataclass(frozen=True)
class Images:
    """Labelled images.

    Attributes:
        pixels: [N, C, S, S] uint8 in 0..255, or float32 in units where the largest value is 1.
        labels: [N] int64 from 0.
    """

    pixels: npt.NDArray[np.generic]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def scaled(self) -> npt.NDArray[np.float32]:
        """[N, C, S, S] pixels in units where the largest value is 1."""
        scaled = self.pixels.astype(np.float32)
        return scaled / np.float32(255) if self.pixels.dtype == np.uint8 else scaled


@dataclass(frozen=True)
class DatasetId:
    """What tells a data set from others, wherever its files lie.

    Attributes:
        name: Key of ``DATASETS``, or the path of an ``.npz`` file.
        sha256: Fingerprint of the arrays of an ``.npz`` file; None where the name says all.
    """

    name: str
    sha256: str | None = None

    @property
    def key(self) -> str:
        """The name of a data set that has one, the fingerprint of any other."""
        return self.name if self.sha256 is None else f"sha256:{self.sha256}"

    def matches(self, other: DatasetId) -> bool:
        """Whether both are the same images with the same split."""
        return self.key == other.key

    def __str__(self) -> str:
        return self.name if self.sha256 is None else f"{self.name} (SHA-256 {self.sha256[:12]}...)"

    def to_provenance(self) -> dict[str, str]:
        """The two fields of a table's provenance."""
        return {"dataset": self.name} | ({} if self.sha256 is None else {"dataset_sha256": self.sha256})

    @classmethod
    def from_provenance(cls, provenance: Mapping[str, Any]) -> DatasetId | None:
        """The inverse of ``to_provenance``; None where nothing is stated."""
        name = provenance.get("dataset")
        return None if name is None else cls(name, provenance.get("dataset_sha256"))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images with their split.

    Attributes:
        id: Name and fingerprint.
        parts: The parts that were asked for.
        n_classes: Number of labels.
        mean: [C] means of the pixels, in units where the largest value is 1.
        std: [C] standard deviations of the pixels, in the same units.
        crop_padding: Pixels of black border out of which a random crop of a search cuts.
        flip: Whether a mirrored image shows the same class.

    Raises:
        DatasetError: The images are not square, or not of one size in all parts.
    """

    id: DatasetId
    parts: Mapping[Part, Images]
    n_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int
    flip: bool

    def __post_init__(self) -> None:
        shapes = sorted({images.pixels.shape[1:] for images in self.parts.values()})
        if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][1] != shapes[0][2]:
            raise DatasetError(
                f"dataset: got images of {' and '.join(map(str, shapes))} in {self.id.name}, expected square ones "
                "[C, S, S] of one size; crop or pad them"
            )

    def joined(self, *names: Part) -> Images:
        """The images of one or more parts, one part after the other."""
        parts = [self.parts[name] for name in names]
        if len(parts) == 1:
            return parts[0]
        pixels, labels = ([part.pixels for part in parts], [part.labels for part in parts])
        return Images(np.concatenate(pixels), np.concatenate(labels))


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """Where a data set comes from.

    Attributes:
        load: (folder or None, parts) to the data set with at least these parts.
        folder: Folder of its files where none is given; None for a data set without files of its own.
        download: Puts the files into a folder; None where there is nothing to download.
        table: Key of ``nas.tabular.TABLES`` or path of the table that belongs to it; None where there is none.
    """

    load: Callable[[Path | None, Collection[Part]], Dataset]
    folder: Path | None = None
    download: Callable[[Path], object] | None = None
    table: str | None = None


def moments(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """[C] means and standard deviations of the pixels; 1 in place of a deviation of 0."""
    scaled = images.scaled()
    mean, std = scaled.mean(axis=(0, 2, 3)), scaled.std(axis=(0, 2, 3))
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1).tolist())


def fingerprint(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """SHA-256 of arrays by their names, types, shapes and values, in 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
