"""CIFAR-10 in its standard layout on disk: split, reading without trust in its pickles, downloading.

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
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.datasets.dataset import PARTS, Dataset, DatasetError, DatasetId, DatasetSource, Images, Part
from results.atomic_file import make_directory

#: Default folder, in which the folder of the batches lies.
FOLDER = Path("data")
BATCHES = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
#: The files of each part: NAS-Bench-101 trained on four batches and validated on the fifth.
FILES: dict[Part, tuple[str, ...]] = {
    "train": ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4"),
    "validation": ("data_batch_5",),
    "test": ("test_batch",),
}
#: Moments of the channels over all 50,000 training images, as the paper's public code has them.
MEAN = (0.49139968, 0.48215827, 0.44653124)
STD = (0.24703233, 0.24348505, 0.26158768)
_IMAGE_SHAPE = (3, 32, 32)

#: Globals to which the pickles of CIFAR-10 may refer; they hold NumPy arrays, bytes and lists.
_ALLOWED_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Rebuilds NumPy arrays and built-in types; refuses any global that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is no part of an array")
        return super().find_class(module, name)


#: What unpickling raises, whichever bytes of a file were changed; a directory of that name among them.
_DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    ImportError,
    TypeError,
    MemoryError,
    OSError,
)


def read_batch(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Reads one batch file.

    Returns:
        Images [n, 3, 32, 32] and labels [n] in 0..9.

    Raises:
        DatasetError: The file is missing, or is no batch of CIFAR-10.
    """
    try:
        with path.open("rb") as file:
            batch = _ArrayUnpickler(file, encoding="bytes").load()
    except FileNotFoundError:
        raise DatasetError(
            f"CIFAR-10: {path} is missing; expected the folder {BATCHES} of the python version with "
            f"{', '.join(name for names in FILES.values() for name in names)}; --download fetches what is missing"
        ) from None
    except _DAMAGE as error:
        raise DatasetError(f"CIFAR-10: {path} cannot be read ({error}); --download fetches it again") from None
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


def load(folder: Path | None, parts: Collection[Part] = PARTS) -> Dataset:
    """Loads the images [3, 32, 32] of some parts: batches 1 to 4 train, batch 5 validation, the test batch test.

    Files of other parts are not read.  If batches are missing, an archive in the folder is unpacked.

    Args:
        folder: Folder that contains ``cifar-10-batches-py`` or the published archive; None for ``FOLDER``.
        parts: Parts to read.

    Raises:
        DatasetError: There is no data set in ``folder``, or a batch is missing or damaged.
    """
    folder = folder or FOLDER
    _check_folder(folder)
    try:
        images = _read_parts(folder / BATCHES, parts)
    except DatasetError:
        if not (folder / ARCHIVE).is_file():
            raise
        _unpack(folder / ARCHIVE, folder)
        images = _read_parts(folder / BATCHES, parts)
    return Dataset(id=DatasetId("cifar10"), parts=images, n_classes=10, mean=MEAN, std=STD, crop_padding=4, flip=True)


def _check_folder(folder: Path) -> None:
    if (folder / BATCHES).is_dir() or (folder / ARCHIVE).is_file():
        return
    if (folder / FILES["train"][0]).exists():
        raise DatasetError(
            f"--data-dir: got {folder}, which holds the batches themselves, expected the folder that contains "
            f"{BATCHES}; give its parent"
        )
    raise DatasetError(
        f"--data-dir: got {str(folder)!r}, expected a folder that contains {BATCHES} or {ARCHIVE}; ask for the "
        f"download (--download), or put {ARCHIVE_URL} there"
    )


def _read_parts(folder: Path, parts: Collection[Part]) -> dict[Part, Images]:
    images: dict[Part, Images] = {}
    for part in parts:
        batches = [read_batch(folder / name) for name in FILES[part]]
        pixels, labels = ([batch[i] for batch in batches] for i in (0, 1))
        images[part] = Images(np.concatenate(pixels), np.concatenate(labels))
    return images


def download(data_dir: Path, url: str = ARCHIVE_URL) -> Path:
    """Makes the data set complete: fetches the archive (163 MB) and unpacks what is missing or damaged.

    If ``data_dir`` contains the archive, it is not fetched.  If all batches can be read, nothing is done.  A failed
    download leaves nothing behind.

    Args:
        data_dir: Folder for ``cifar-10-batches-py``; made if it is missing.
        url: Address of the archive.

    Returns:
        The folder of the batches.

    Raises:
        DatasetError: The archive cannot be fetched, or is not the expected one.
        NotADirectoryError: ``data_dir`` or one of its parents is a file.
    """
    if data_dir.name == BATCHES:
        raise DatasetError(f"--data-dir: got {data_dir}, the folder of the batches themselves; give its parent")
    target = data_dir / BATCHES
    if not _unusable(target):
        return target
    make_directory(data_dir)
    if (data_dir / ARCHIVE).is_file():
        _unpack(data_dir / ARCHIVE, data_dir)
        return target
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=".download-") as scratch:
        archive = Path(scratch) / ARCHIVE
        try:
            with urllib.request.urlopen(url, timeout=60) as response, archive.open("wb") as file:
                shutil.copyfileobj(response, file, 1 << 20)
        except OSError as error:
            raise DatasetError(
                f"CIFAR-10: {url} could not be downloaded ({error}); try again later, or put the archive into "
                f"{data_dir} by other means"
            ) from error
        _unpack(archive, data_dir, origin=url)
    return target


def _unusable(folder: Path) -> list[str]:
    """Names the batches that are missing or damaged."""
    unusable = []
    for name in (name for names in FILES.values() for name in names):
        try:
            read_batch(folder / name)
        except DatasetError:
            unusable.append(name)
    return unusable


def _unpack(archive: Path, data_dir: Path, origin: str | None = None) -> None:
    """Verifies an archive and replaces the missing or damaged batches with those in it, each one whole."""
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != ARCHIVE_MD5:
        raise DatasetError(
            f"CIFAR-10: {origin or archive} has MD5 {found}, expected {ARCHIVE_MD5}; "
            + ("try again" if origin else "remove it, or fetch it again")
        )
    wanted = set(_unusable(data_dir / BATCHES))
    try:
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=".unpack-") as scratch, tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if m.isfile() and Path(m.name).parent == Path(BATCHES)]
            tar.extractall(scratch, members=[m for m in members if Path(m.name).name in wanted], filter="data")
            (data_dir / BATCHES).mkdir(exist_ok=True)
            for path in (Path(scratch) / BATCHES).iterdir():
                path.replace(data_dir / BATCHES / path.name)
    except OSError as error:
        raise DatasetError(f"CIFAR-10: {archive} cannot be unpacked into {data_dir} ({error})") from error


SOURCE = DatasetSource(
    load=load,
    folder=FOLDER,
    download=download,
    table="nasbench101",
)
