"""What every figure has: numbers that are computed, their table, and a picture of them."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, ScalarFormatter

from analysis.contest import Choices, Contest, contests_of
from analysis.load import LoadedRun

#: Most characters of a name in one line.
_NAME_WIDTH = 40
#: Most points of a cloud; more cover one another.
MOST_POINTS = 5_000


Point = TypeVar("Point")


class DoesNotApplyError(ValueError):
    """The figure says nothing about the given runs; the message says why, as a sentence's end."""


class FigureModule(Protocol):
    """A file below ``analysis/figures/``; ``rows`` and ``draw`` take what ``compute`` returned."""

    def compute(self, runs: Sequence[LoadedRun]) -> Any:
        """The figure's numbers, as plain data.

        Args:
            runs: The runs to show, at least one; most figures show exactly one.

        Raises:
            DoesNotApplyError: There are too many or too few runs, or they lack what the figure shows.
        """

    def rows(self, data: Any) -> Iterable[Sequence[object]]:
        """The numbers as a table: the names of the columns, then the rows."""

    def draw(self, data: Any) -> Figure:
        """The picture; it computes nothing."""


def the_only(runs: Sequence[LoadedRun]) -> LoadedRun:
    """The one study, or log of hpbandster, that a figure of a single run shows.

    Raises:
        DoesNotApplyError: There are several, or there is a folder of searches.
    """
    if len(runs) != 1:
        raise DoesNotApplyError(f"it shows one run, and there are {len(runs)}")
    if runs[0].is_searches:
        raise DoesNotApplyError("it shows a study, and there are single searches")
    return runs[0]


def contests_of_several(runs: Sequence[LoadedRun], choices: Choices) -> tuple[Contest, ...]:
    """The contests that a figure of several runs shows.

    Raises:
        DoesNotApplyError: There is one run, or the runs make no contest.
    """
    if len(runs) < 2:
        raise DoesNotApplyError("it compares several runs, and there is one")
    try:
        return contests_of(runs, choices)[0]
    except ValueError as error:
        raise DoesNotApplyError(str(error)) from error


def add_title(figure: Figure, *lines: str) -> None:
    """Writes lines above the panels, broken where the figure is too narrow for them."""
    per_line = int(13 * figure.get_figwidth())
    figure.suptitle("\n".join(textwrap.fill(line, per_line) for line in lines if line), fontsize=10)


def broken(name: str) -> str:
    """A name in lines that fit beside a panel, or twice below it."""
    return textwrap.fill(name, _NAME_WIDTH)


def thinned(points: Sequence[Point]) -> list[Point]:
    """Chooses at most ``MOST_POINTS`` points of a cloud, evenly in their order."""
    n = min(len(points), MOST_POINTS)
    return [points[index * len(points) // n] for index in range(n)]


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """A table as comma-separated values; None is an empty field."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def render(figure: Figure, file_format: str) -> bytes:
    """The figure as the content of a ``"png"`` or ``"pdf"`` file; it holds no date: equal results, equal bytes.

    The first file lays the figure out; a later one of another format has the same layout.
    """
    _take_text_as_it_is(figure)
    stream = io.BytesIO()
    undated = {"png": {}, "pdf": {"CreationDate": None}}[file_format]
    figure.savefig(stream, format=file_format, dpi=150, metadata=undated)
    figure.set_layout_engine("none")
    return stream.getvalue()


def _take_text_as_it_is(figure: Figure) -> None:
    """Draws a dollar sign as one: names of runs, and of choices, are no formulas, but numbers at ticks are."""
    numbers = {
        text
        for axis in figure.findobj(Axis)
        if isinstance(axis.get_major_formatter(), LogFormatter | ScalarFormatter)
        for text in axis.findobj(Text)
        if text is not axis.label
    }
    for text in figure.findobj(Text):
        if text not in numbers:
            text.set_parse_math(False)
