"""Images of one's own in one ``.npz`` file, the split stated in it.

The file holds, as ``numpy.savez`` writes them:

* ``images`` [N, C, S, S], uint8 in 0..255, or floating-point in units where the largest value is 1;
* ``labels`` [N], integers from 0;
* ``train``, ``validation`` and ``test``, arrays of indices that do not overlap;
* ``flip``, if a mirrored image shows the same class: True; False where it is left out.

Each part is shuffled once, always in the same way: a search halves its images, which often lie in order of class.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.datasets.dataset import PARTS, Dataset, DatasetError, DatasetId, Images, Part, fingerprint, moments

_SUFFIX = ".npz"
_SHUFFLE_SEED = 0
#: Pixels of the side for each pixel of border, as CIFAR-10's 32 pixels have 4.
_SIDE_PER_BORDER = 8

_Arrays = dict[str, npt.NDArray[Any]]


def is_path(name: str) -> bool:
    """Whether the name is meant as the path of such a file."""
    return name.endswith(_SUFFIX)


def load(path: Path, folder: Path | None = None, parts: Collection[Part] = PARTS) -> Dataset:
    """The data set of a file.

    Args:
        path: The file.
        folder: Folder in which the file of this name lies; None for the path's own.
        parts: All parts come, whichever are asked for.

    Raises:
        DatasetError: The file is missing, lacks an array, has one of another shape or type, or its parts overlap.
    """
    if folder is not None:
        path = folder / path.name
    arrays = _read(path)
    _check_images(path, arrays)
    _check_split(path, arrays)
    flip = bool(arrays.get("flip", False))
    arrays = {name: _canonical(arrays[name]) for name in ("images", "labels", *PARTS)}
    images = {part: _part(arrays, part) for part in PARTS}
    mean, std = moments(images["train"])
    return Dataset(
        id=DatasetId(str(path.absolute()), fingerprint(arrays)),
        parts=images,
        n_classes=int(arrays["labels"].max()) + 1,
        mean=mean,
        std=std,
        crop_padding=arrays["images"].shape[-1] // _SIDE_PER_BORDER,
        flip=flip,
    )


def _read(path: Path) -> _Arrays:
    if not path.is_file():
        raise DatasetError(
            f"dataset: got {path}, which is no file, expected an .npz file with images, labels, "
            "train, validation and test; if it has moved, name its folder as --data-dir"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DatasetError(f"dataset: got {path}, no .npz file ({error}); write one with numpy.savez") from None
    missing = [name for name in ("images", "labels", *PARTS) if name not in arrays]
    if missing:
        raise DatasetError(f"dataset: got {path} with {sorted(arrays)}, expected {missing} too")
    return arrays


def _check_images(path: Path, arrays: _Arrays) -> None:
    images, labels = arrays["images"], arrays["labels"]
    if images.ndim != 4 or labels.shape != images.shape[:1]:
        raise DatasetError(
            f"dataset: got {path} with images {images.shape} and labels {labels.shape}, expected [N, C, S, S] and [N]"
        )
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise DatasetError(f"dataset: got {path} with images of {images.dtype}, expected uint8 or floating-point")
    if not np.isfinite(_canonical(images)).all():
        raise DatasetError(f"dataset: got {path} with images that are not finite; replace NaN and infinity")
    if labels.dtype.kind not in "iu":
        raise DatasetError(f"dataset: got {path} with labels of {labels.dtype}, expected integers from 0")
    if labels.size == 0 or labels.min() < 0:
        raise DatasetError(f"dataset: got {path} with labels below 0 or none at all, expected integers from 0")
    flip = arrays.get("flip", np.array(False))
    if flip.dtype != np.bool_ or flip.size != 1:
        raise DatasetError(f"dataset: got {path} whose flip is {flip.dtype} {flip.shape}, expected True or False")


def _check_split(path: Path, arrays: _Arrays) -> None:
    n_images = len(arrays["labels"])
    for part in PARTS:
        indices = arrays[part]
        if not indices.size:
            raise DatasetError(
                f"dataset: got {path} with an empty part {part}, expected images in each of {list(PARTS)}"
            )
        if indices.ndim != 1 or indices.dtype.kind not in "iu":
            raise DatasetError(
                f"dataset: got {path} whose {part} is {indices.dtype} of shape {indices.shape}, expected a vector of "
                "indices; numpy.flatnonzero makes one of a mask"
            )
    together = np.concatenate([arrays[part].astype(np.int64) for part in PARTS])
    if len(np.unique(together)) != len(together) or together.min() < 0 or together.max() >= n_images:
        raise DatasetError(
            f"dataset: got {path} whose parts overlap or leave 0..{n_images - 1}, expected disjoint indices"
        )


def _canonical(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same values in the type in which they are used, so that the fingerprint is of what counts."""
    if array.dtype == np.uint8 and array.ndim == 4:
        return array
    with np.errstate(over="ignore"):  # too large for single precision becomes infinite, which is refused
        return array.astype("<f4" if array.dtype.kind == "f" else "<i8")


def _part(arrays: _Arrays, part: Part) -> Images:
    chosen = np.random.default_rng(_SHUFFLE_SEED).permutation(arrays[part])
    return Images(arrays["images"][chosen], arrays["labels"][chosen])
