"""CIFAR-10 in its standard on-disk layout: reading it without trusting its pickles, and downloading it.

Source: A. Krizhevsky (2009), *Learning Multiple Layers of Features from Tiny Images*; the "python version" on
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import hashlib
import pickle
import shutil
import tarfile
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FOLDER = "cifar-10-batches-py"
ARCHIVE_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
#: The batches on which NAS-Bench-101 trained; it validated on the fifth.
TRAINING_BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4")
VALIDATION_BATCH = "data_batch_5"
_IMAGE_SHAPE = (3, 32, 32)

#: All that the pickles of NumPy arrays, bytes and lists of CIFAR-10 refer to.
_ALLOWED_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class DatasetError(ValueError):
    """A data set is missing or is not what it should be, and says why."""


class _ArrayUnpickler(pickle.Unpickler):
    """Rebuilds NumPy arrays and built-in types; refuses everything that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is no part of an array")
        return super().find_class(module, name)


def read_batch(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Reads one batch file.

    Returns:
        Images [n, 3, 32, 32] and labels [n] in 0..9.

    Raises:
        DatasetError: The file is missing, or no batch of CIFAR-10.
    """
    try:
        with path.open("rb") as file:
            batch = _ArrayUnpickler(file, encoding="bytes").load()
    except FileNotFoundError:
        raise DatasetError(
            f"CIFAR-10: {path} is missing; expected the folder {FOLDER} of the python version with "
            f"{', '.join((*TRAINING_BATCHES, VALIDATION_BATCH))}; name the folder that holds it as data_dir"
        ) from None
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, AttributeError, ImportError) as error:
        raise DatasetError(f"CIFAR-10: {path} cannot be read ({error}); download the data set again") from None
    if not isinstance(batch, dict) or not {b"data", b"labels"} <= set(batch):
        raise DatasetError(f"CIFAR-10: {path} holds no 'data' and 'labels'; expected a batch of the python version")
    images, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    n_values = int(np.prod(_IMAGE_SHAPE))
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != n_values:
        raise DatasetError(
            f"CIFAR-10: {path} holds {images.dtype} data of shape {images.shape}, expected uint8 [n, {n_values}]"
        )
    if labels.dtype.kind not in "iu" or labels.shape != (len(images),) or labels.size == 0:
        raise DatasetError(f"CIFAR-10: {path} holds labels of shape {labels.shape}, expected {len(images)} integers")
    if labels.min() < 0 or labels.max() > 9:
        raise DatasetError(f"CIFAR-10: {path} holds labels {labels.min()} to {labels.max()}, expected 0 to 9")
    return images.reshape(-1, *_IMAGE_SHAPE), labels.astype(np.int64)


def download(data_dir: Path, url: str = ARCHIVE_URL, md5: str = ARCHIVE_MD5) -> Path:
    """Downloads and unpacks the data set (163 MB); nothing remains of a download that failed.

    Args:
        data_dir: The folder to put ``cifar-10-batches-py`` into; made if need be.
        url: Where the archive is.
        md5: Its checksum.

    Returns:
        The unpacked folder; if it is there already, nothing is downloaded.

    Raises:
        DatasetError: The archive cannot be fetched, or is not the expected one.
    """
    target = data_dir / FOLDER
    if target.is_dir():
        return target
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=".download-") as scratch:
        archive = Path(scratch) / "archive.tar.gz"
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with urllib.request.urlopen(url, timeout=60) as response, archive.open("wb") as file:
                while chunk := response.read(1 << 20):
                    digest.update(chunk)
                    file.write(chunk)
        except OSError as error:
            raise DatasetError(f"CIFAR-10: {url} could not be downloaded ({error}); try again later") from error
        if digest.hexdigest() != md5:
            raise DatasetError(f"CIFAR-10: {url} has MD5 {digest.hexdigest()}, expected {md5}; try again")
        with tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if m.isfile() and Path(m.name).parent == Path(FOLDER)]
            tar.extractall(scratch, members=members, filter="data")
        shutil.move(str(Path(scratch) / FOLDER), target)
    return target
