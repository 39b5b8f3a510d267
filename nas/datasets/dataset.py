"""A data set, shared by searches and tables: images in three parts, with their moments and their source.

Notation: N images of C channels and S x S pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

#: Searches and tables train on ``train``; ``validation`` serves only for a table's and a study's objective; the error
#: on ``test`` is only reported.
Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)


class DatasetError(ValueError):
    """A data set is unknown, missing or wrong; the message says why."""


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
        """Scales the pixels [N, C, S, S] to units where the largest value is 1."""
        scaled = self.pixels.astype(np.float32)
        return scaled / np.float32(255) if self.pixels.dtype == np.uint8 else scaled


@dataclass(frozen=True)
class DatasetId:
    """The identity of a data set, wherever its files lie.

    Attributes:
        name: Key of ``DATASETS``, or the path of an ``.npz`` file.
        sha256: Fingerprint of the arrays of an ``.npz`` file; None for a data set that its name identifies.
    """

    name: str
    sha256: str | None = None

    @property
    def key(self) -> str:
        """The name if it identifies the data set, the fingerprint otherwise."""
        return self.name if self.sha256 is None else f"sha256:{self.sha256}"

    def matches(self, other: DatasetId) -> bool:
        """Whether both are the same images with the same split."""
        return self.key == other.key

    def __str__(self) -> str:
        return self.name if self.sha256 is None else f"{self.name} (SHA-256 {self.sha256[:12]}...)"

    def to_provenance(self) -> dict[str, str]:
        """Writes the identity as fields of a table's provenance: ``dataset`` and, for a file, ``dataset_sha256``."""
        return {"dataset": self.name} | ({} if self.sha256 is None else {"dataset_sha256": self.sha256})

    @classmethod
    def from_provenance(cls, provenance: Mapping[str, Any]) -> DatasetId | None:
        """Inverts ``to_provenance``; None if the provenance states no data set."""
        name = provenance.get("dataset")
        return None if name is None else cls(name, provenance.get("dataset_sha256"))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images with their split.

    Attributes:
        id: Identity of the data set.
        parts: Parts that were asked for, perhaps with others.
        n_classes: Number of classes; labels are 0 to ``n_classes - 1``.
        mean: [C] means of the pixels, in units where the largest value is 1.
        std: [C] standard deviations of the pixels, in the same units.
        crop_padding: Width in pixels of the black border for the random crops of a search.
        flip: True if a mirrored image shows the same class.

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
                f"{self.id.name}: got images of {' and '.join(map(str, shapes))}, expected square ones [C, S, S] of "
                "one size; crop or pad them"
            )

    def joined(self, *names: Part) -> Images:
        """Joins the images of one or more parts, one part after the other."""
        parts = [self.parts[name] for name in names]
        if len(parts) == 1:
            return parts[0]
        pixels, labels = ([part.pixels for part in parts], [part.labels for part in parts])
        return Images(np.concatenate(pixels), np.concatenate(labels))


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """The source of a data set.

    Attributes:
        load: Function of (folder or None, parts) that returns the data set with at least these parts.
        folder: Default folder of the data set's files; None for a data set without files of its own.
        download: Function that puts the files into a folder; None if there is nothing to download.
        table: Key of ``nas.tabular.TABLES`` or path of the table on this data set; None if there is none.
    """

    load: Callable[[Path | None, Collection[Part]], Dataset]
    folder: Path | None = None
    download: Callable[[Path], object] | None = None
    table: str | None = None


def moments(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Computes [C] means and standard deviations of the pixels; a deviation of 0 is replaced by 1."""
    scaled = images.scaled()
    mean, std = scaled.mean(axis=(0, 2, 3)), scaled.std(axis=(0, 2, 3))
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1).tolist())


def fingerprint(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Computes the SHA-256 of the names, types, shapes and values of arrays, in 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
