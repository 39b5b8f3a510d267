"""Data sets, for searching and for measuring tables: NumPy arrays, no PyTorch."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from importlib import import_module
from pathlib import Path

from nas.datasets import own
from nas.datasets.dataset import PARTS, Dataset, DatasetError, DatasetId, DatasetSource, Images, Part, fingerprint

#: Every data set by name; add one here and the command line, the tests and the docs know it.
DATASETS: dict[str, DatasetSource] = {
    "digits": import_module("nas.datasets.digits").SOURCE,
    "cifar10": import_module("nas.datasets.cifar10").SOURCE,
}


def find_dataset(name: str) -> DatasetSource:
    """Finds the source of a data set by its name in ``DATASETS``, or by the path of an ``.npz`` file.

    Raises:
        DatasetError: The name is neither of these.
    """
    if name in DATASETS:
        return DATASETS[name]
    if not own.is_path(name):
        raise DatasetError(
            f"--dataset: got {name!r}, expected one of {list(DATASETS)} or the path of an .npz file with images, "
            "labels, train, validation and test"
        )
    return DatasetSource(load=partial(own.load, Path(name)), folder=Path(name).parent)


def load_dataset(
    name: str, data_dir: Path | str | None = None, *, parts: Collection[Part] = PARTS, download: bool = False
) -> Dataset:
    """Loads a data set into main memory.

    Args:
        name: Key of ``DATASETS``, or the path of an ``.npz`` file.
        data_dir: Folder of the data set's files; None for the default folder.
        parts: Parts that are needed; files that hold only other parts are not read.
        download: Download of missing files, if the data set can be downloaded.

    Raises:
        DatasetError: The data set is unknown, missing or damaged, cannot be downloaded, or takes no ``data_dir``.
    """
    source = find_dataset(name)
    folder = _folder(name, source, data_dir)
    if download and source.download is not None and folder is not None:
        source.download(folder)
    return source.load(folder, parts)


def locate(name: str, data_dir: Path | str | None = None) -> tuple[str, str | None]:
    """Makes a data set's name and folder independent of the working directory, with absolute paths.

    Raises:
        DatasetError: The data set is unknown, takes no ``data_dir``, or its ``.npz`` file is missing.
    """
    folder = _folder(name, find_dataset(name), data_dir)
    if name not in DATASETS:
        own.find(Path(name), folder)  # a missing file is told before a missing table
        name = str(Path(name).absolute())
    return name, None if folder is None else str(folder.absolute())


def identify(name: str, data_dir: Path | str | None = None) -> DatasetId:
    """Identifies a data set; reads an ``.npz`` file, but no file of a data set with a name.

    Raises:
        DatasetError: The ``.npz`` file is missing or damaged, or the name is unknown.
    """
    return DatasetId(name) if name in DATASETS else load_dataset(name, data_dir).id


def _folder(name: str, source: DatasetSource, data_dir: Path | str | None) -> Path | None:
    if data_dir is None:
        return source.folder
    if source.folder is None:
        others = " or ".join(other for other in DATASETS if DATASETS[other].folder is not None)
        raise DatasetError(
            f"--data-dir: got {str(data_dir)!r}, but data set {name} has no files; leave it out, or name the data set "
            f"that lies there (--dataset {others}, or the path of an .npz file)"
        )
    return Path(data_dir)


__all__ = [
    "DATASETS",
    "PARTS",
    "Dataset",
    "DatasetError",
    "DatasetId",
    "DatasetSource",
    "Images",
    "Part",
    "find_dataset",
    "fingerprint",
    "identify",
    "load_dataset",
    "locate",
]
