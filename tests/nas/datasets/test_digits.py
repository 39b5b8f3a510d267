"""The digits' split is part of the table's definition."""

from __future__ import annotations

import hashlib

import numpy as np
from sklearn.datasets import load_digits

from nas.datasets import PARTS, load_dataset


def test_the_parts_cover_all_images_once() -> None:
    digits = load_dataset("digits")
    assert [len(digits.parts[part]) for part in PARTS] == [800, 497, 500]
    every = digits.joined(*PARTS)
    rows = sorted(zip(every.scaled().reshape(1797, 64).tolist(), every.labels.tolist(), strict=True))
    bunch = load_digits()
    assert rows == sorted(zip((bunch.data / 16).tolist(), bunch.target.tolist(), strict=True))


def test_the_split_never_changes() -> None:
    """The digest is that of the images in the order in which the embedded table was measured."""
    images = load_dataset("digits").joined(*PARTS)
    assert hashlib.sha256((images.scaled() * 16).astype("u1").tobytes()).hexdigest()[:16] == "b49a8ed4b42ca59c"
    assert hashlib.sha256(images.labels.astype("u1").tobytes()).hexdigest()[:16] == "36e26138c7fcaddb"


def test_images_are_real_and_scaled() -> None:
    digits = load_dataset("digits")
    images = digits.joined(*PARTS)
    assert images.pixels.shape == (1797, 1, 8, 8)
    assert images.scaled().min() == 0.0
    assert images.scaled().max() == 1.0
    assert np.bincount(images.labels).min() > 150  # ten classes, about evenly
    assert (digits.n_classes, digits.crop_padding, digits.flip) == (10, 1, False)


def test_normalised_by_the_pixels_of_the_training_part() -> None:
    digits = load_dataset("digits")
    pixels = digits.parts["train"].scaled().astype(np.float64)
    assert np.allclose(digits.mean, pixels.mean(), atol=1e-6)
    assert np.allclose(digits.std, pixels.std(), atol=1e-6)
