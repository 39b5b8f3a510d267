"""Data sets small enough to train on in a test."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.datasets import cifar10


def own_arrays(seed: int = 0, n: int = 256, size: int = 4) -> dict[str, npt.NDArray[Any]]:
    """Noise whose first row is bright in class 1: separable; half of the images train."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    images = rng.normal(size=(n, 1, size, size)).astype(np.float32)
    images[:, 0, 0] += 3 * labels[:, None]
    images /= 8  # at most 1
    train, validation, test = np.split(np.arange(n), [n // 2, n * 3 // 4])
    return {"images": images, "labels": labels, "train": train, "validation": validation, "test": test}


def write_batches(folder: Path, per_batch: int = 6, names: tuple[str, ...] = sum(cifar10.FILES.values(), ())) -> Path:
    """CIFAR-10 batches whose every pixel is the number of the batch; the test batch is number 6."""
    folder = folder / cifar10.BATCHES
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(sum(cifar10.FILES.values(), ()), start=1):
        if name in names:
            pixels = np.full((per_batch, 3072), number, np.uint8)
            batch = {b"data": pixels, b"labels": [(number + i) % 10 for i in range(per_batch)]}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return folder
