"""docs/analysis.md names every figure, and its pictures are there and small."""

import re
from pathlib import Path

from analysis.evaluations import LEAST_EVALUATIONS
from analysis.figures import FIGURES

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "analysis.md").read_text()


def test_every_figure_is_named() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, flags=re.MULTILINE) == list(FIGURES)
    assert f"A budget needs {LEAST_EVALUATIONS} evaluations" in TEXT


def test_its_pictures_are_there_and_small() -> None:
    pictures = re.findall(r"!\[.+\]\((.+)\)", TEXT)
    assert len(pictures) >= len(FIGURES)
    assert [path for path in pictures if not 0 < (DOCS / path).stat().st_size < 150_000] == []
