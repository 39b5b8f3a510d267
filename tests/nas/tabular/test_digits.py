"""The digits' split is part of the table's definition."""

from __future__ import annotations

import hashlib

import numpy as np

from nas.tabular.digits import load_digits_split


def test_the_parts_cover_all_images_once() -> None:
    digits = load_digits_split()
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (800, 497, 500)
    everything = np.concatenate([digits.train, digits.validation, digits.test])
    assert sorted(everything) == list(range(1797))


def test_the_split_never_changes() -> None:
    digits = load_digits_split()
    parts = np.concatenate([digits.train, digits.validation, digits.test]).astype("<i4")
    assert hashlib.sha256(parts.tobytes()).hexdigest()[:16] == "25b748f33f70ce8c"


def test_images_are_real_and_scaled() -> None:
    digits = load_digits_split()
    assert digits.images.shape == (1797, 1, 8, 8)
    assert digits.images.min() == 0.0
    assert digits.images.max() == 1.0
    assert np.bincount(digits.labels).min() > 150  # ten classes, about evenly
