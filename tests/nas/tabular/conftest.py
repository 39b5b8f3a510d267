"""Files of NAS-Bench-101's layout, small enough for the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nas.tabular.nasbench101 import importing
from spaces import SEARCH_SPACES

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def sample() -> Path:
    """192 rows that TensorFlow's own writer and protobuf wrote: 16 cells, 4 budgets, 3 repeats, interleaved."""
    return DATA / "nasbench101_sample.tfrecord"


@pytest.fixture(scope="session")
def sample_expected() -> dict[str, Any]:
    """What google-research/nasbench reads from the sample, by cell hash."""
    return json.loads((DATA / "nasbench101_sample.expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def space_1_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports index search space 1 alone; the others take seconds."""
    monkeypatch.setattr(importing, "SEARCH_SPACES", {"1": SEARCH_SPACES["1"]})
