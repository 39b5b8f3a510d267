"""The digits of scikit-learn: 1,797 real images of 8x8 pixels, with this project's split.

The images come with scikit-learn, so nothing is downloaded.  Source: E. Alpaydin and C. Kaynak (1998),
*Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository (its test part).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from nas.datasets.dataset import PARTS, Dataset, DatasetId, DatasetSource, Images, Part, moments

N_TRAIN, N_VALIDATION, N_TEST = 800, 497, 500
#: Seed of the shuffle that splits the images.  It must never change, because it is part of the table's definition.
_SPLIT_SEED = 101


def load(folder: Path | None = None, parts: Collection[Part] = PARTS) -> Dataset:
    """Loads the images [1, 8, 8] with a fixed split: 800 train, 497 validation, 500 test.

    A mirrored digit is no digit, so images are not flipped.  Crops move by 1 of 8 pixels, as by 4 of 32 on CIFAR-10.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = (bunch.images / 16.0).astype(np.float32)[:, None]
    labels = bunch.target.astype(np.int64)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(pixels))
    split = np.split(order, [N_TRAIN, N_TRAIN + N_VALIDATION])
    images = {part: Images(pixels[chosen], labels[chosen]) for part, chosen in zip(PARTS, split, strict=True)}
    mean, std = moments(images["train"])
    return Dataset(id=DatasetId("digits"), parts=images, n_classes=10, mean=mean, std=std, crop_padding=1, flip=False)


SOURCE = DatasetSource(
    load=load,
    table="digits",
)
