"""Images of one's own in one ``.npz`` file, which states the split.

The file holds, as ``numpy.savez`` writes them:

* ``images`` [N, C, S, S], uint8 in 0..255, or floating-point in units where the largest value is 1;
* ``labels`` [N], integers from 0;
* ``train``, ``validation`` and ``test``, arrays of indices that do not overlap;
* ``flip``, optional: True if a mirrored image shows the same class; False by default.

Each part is shuffled once, always in the same way.  This matters because a search halves its images, and images
often lie in order of class.
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
#: Pixels of an image's side per pixel of border; CIFAR-10 has 32 and 4.
_SIDE_PER_BORDER = 8

_Arrays = dict[str, npt.NDArray[Any]]


def is_path(name: str) -> bool:
    """Whether the name is the path of an ``.npz`` file."""
    return name.endswith(_SUFFIX)


def load(path: Path, folder: Path | None = None, parts: Collection[Part] = PARTS) -> Dataset:
    """Loads the data set in a file.

    Args:
        path: The file.
        folder: Folder that contains the file of this name; None for the path's own folder.
        parts: Parts that are needed; all parts are loaded in any case.

    Raises:
        DatasetError: The file is missing, lacks an array, or has one of another shape or type; or its parts overlap.
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
            f"--dataset: got {path}, which is no file, expected an .npz file with images, labels, "
            "train, validation and test; if it has moved, give its folder with --data-dir"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: the file is no .npz file ({error}); write one with numpy.savez") from None
    missing = [name for name in ("images", "labels", *PARTS) if name not in arrays]
    if missing:
        raise DatasetError(f"{path}: got the arrays {sorted(arrays)}, expected {missing} too")
    return arrays


def _check_images(path: Path, arrays: _Arrays) -> None:
    images, labels = arrays["images"], arrays["labels"]
    if images.ndim != 4 or labels.shape != images.shape[:1]:
        raise DatasetError(
            f"{path}: got images of shape {images.shape} and labels {labels.shape}, expected [N, C, S, S] and [N]"
        )
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise DatasetError(f"{path}: got images of {images.dtype}, expected uint8 or floating-point")
    if not np.isfinite(_canonical(images)).all():
        raise DatasetError(f"{path}: some pixels are not finite; replace NaN and infinity")
    if labels.dtype.kind not in "iu":
        raise DatasetError(f"{path}: got labels of {labels.dtype}, expected integers from 0")
    if labels.size == 0 or labels.min() < 0:
        raise DatasetError(f"{path}: labels are below 0, or there are none; number the classes from 0")
    flip = arrays.get("flip", np.array(False))
    if flip.dtype != np.bool_ or flip.size != 1:
        raise DatasetError(f"{path}: got a flip of {flip.dtype} {flip.shape}, expected True or False")


def _check_split(path: Path, arrays: _Arrays) -> None:
    n_images = len(arrays["labels"])
    for part in PARTS:
        indices = arrays[part]
        if not indices.size:
            raise DatasetError(f"{path}: the part {part} is empty; put images into each of {list(PARTS)}")
        if indices.ndim != 1 or indices.dtype.kind not in "iu":
            raise DatasetError(
                f"{path}: got {part} as {indices.dtype} of shape {indices.shape}, expected a vector of indices; "
                "numpy.flatnonzero turns a mask into one"
            )
    together = np.concatenate([arrays[part].astype(np.int64) for part in PARTS])
    if len(np.unique(together)) != len(together) or together.min() < 0 or together.max() >= n_images:
        raise DatasetError(f"{path}: the parts overlap, or have indices outside 0..{n_images - 1}; make them disjoint")


def _canonical(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Converts an array to the type in which it is used, so that the fingerprint depends on the values alone."""
    if array.dtype == np.uint8 and array.ndim == 4:
        return array
    with np.errstate(over="ignore"):  # too large for single precision becomes infinite, which is refused
        return array.astype("<f4" if array.dtype.kind == "f" else "<i8")


def _part(arrays: _Arrays, part: Part) -> Images:
    chosen = np.random.default_rng(_SHUFFLE_SEED).permutation(arrays[part])
    return Images(arrays["images"][chosen], arrays["labels"][chosen])
