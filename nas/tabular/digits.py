"""The digits of scikit-learn: 1,797 real images of 8x8 pixels, and how this project splits them.

The images come with scikit-learn, so nothing is downloaded.  Source: E. Alpaydin and C. Kaynak (1998),
*Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository (its test part).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

N_TRAIN, N_VALIDATION, N_TEST = 800, 497, 500
#: Of the shuffle that splits the images; part of the table's definition, never to be changed.
_SPLIT_SEED = 101


@dataclass(frozen=True)
class Digits:
    """The images, their labels and the split.

    Attributes:
        images: [1797, 1, 8, 8] float32 in [0, 1].
        labels: [1797] int64 in 0..9.
        train: [800] indices; a search halves them into weights and architecture.
        validation: [497] indices: the objective of a table and of BOHB, never touched by a search.
        test: [500] indices: only ever reported.
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


def load_digits_split() -> Digits:
    """Loads the images and splits them, the same way every time."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)[:, None]
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(images))
    train, validation, test = np.split(order, [N_TRAIN, N_TRAIN + N_VALIDATION])
    return Digits(images, bunch.target.astype(np.int64), train, validation, test)
