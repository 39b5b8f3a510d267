"""Texts of a largest size."""

from __future__ import annotations

import pytest

from results.text import MAX_CHARACTERS, shortened


def test_the_beginning_and_the_end_stay() -> None:
    text = "a" * 500 + "b" * 500
    short = shortened(text, 150)
    assert short == "a" * 50 + "\n[900 characters left out]\n" + "b" * 50


@pytest.mark.parametrize("n", [0, 1, 99, 100])
def test_a_text_that_fits_stays_as_it_is(n: int) -> None:
    assert shortened("x" * n, 100) == "x" * n


@pytest.mark.parametrize("n", [101, 151, 10_000, 2**23])
def test_no_text_is_longer_than_its_limit(n: int) -> None:
    assert len(shortened("x" * n, 100)) <= 100
    assert len(shortened("x" * n)) <= MAX_CHARACTERS
