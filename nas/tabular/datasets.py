"""The images that a table is measured on: the digits, or a user's own in one ``.npz`` file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nas.tabular.digits import load_digits_split
from nas.tabular.errors import TableNotFoundError, WrongFileError
from nas.tabular.training import LabelledImages

DIGITS = "digits"
_PARTS = ("train", "validation", "test")


def load_labelled_images(dataset: str, device: str = "cpu") -> LabelledImages:
    """Loads a data set by its name or path.

    Args:
        dataset: ``digits``, or the path of a ``.npz`` file that holds ``images`` [N, C, H, W] (uint8 in 0..255
            or floating-point), ``labels`` [N] integers from 0, and the index arrays ``train``, ``validation``
            and ``test``, which must not overlap.
        device: Where the tensors go.

    Raises:
        TableNotFoundError: There is no such file.
        WrongFileError: The file lacks an array, or one has another shape or type, or the parts overlap.
    """
    if dataset == DIGITS:
        digits = load_digits_split()
        arrays = (digits.images, digits.labels, digits.train, digits.validation, digits.test)
        return LabelledImages.from_arrays(*arrays, device=device)
    path = Path(dataset)
    if not path.is_file():
        raise TableNotFoundError(
            f"data set: got {dataset}, which is no file, expected {DIGITS!r} or a .npz file with images, labels, "
            "train, validation and test"
        )
    return LabelledImages.from_arrays(*_read_npz(path), device=device)


_Arrays = tuple[
    npt.NDArray[np.float32],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
]


def _read_npz(path: Path) -> _Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            content = dict(file)
    except (ValueError, OSError, EOFError) as error:
        raise WrongFileError(
            f"data set: got {path} that is no .npz file ({error}); write one with numpy.savez"
        ) from None
    missing = [name for name in ("images", "labels", *_PARTS) if name not in content]
    if missing:
        raise WrongFileError(f"data set: got {path} with {sorted(content)}, expected {missing} too")
    images, labels = content["images"], content["labels"]
    if images.ndim != 4 or labels.shape != images.shape[:1]:
        raise WrongFileError(
            f"data set: got {path} with images {images.shape} and labels {labels.shape}, expected [N, C, H, W] and [N]"
        )
    if labels.size == 0 or labels.min() < 0:
        raise WrongFileError(f"data set: got {path} with labels below 0 or none at all, expected integers from 0")
    scaled = images.astype(np.float32) / 255.0 if images.dtype == np.uint8 else images.astype(np.float32)
    parts = [content[name].astype(np.int64) for name in _PARTS]
    if not all(len(part) for part in parts):
        raise WrongFileError(f"data set: got {path} with an empty part, expected images in each of {list(_PARTS)}")
    together = np.concatenate(parts)
    if len(np.unique(together)) != len(together) or together.min() < 0 or together.max() >= len(labels):
        raise WrongFileError(
            f"data set: got {path} whose parts overlap or leave 0..{len(labels) - 1}, expected disjoint indices"
        )
    return scaled, labels.astype(np.int64), parts[0], parts[1], parts[2]
