"""Lines that the colour-blind, and readers in grey, can tell apart; scales of errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

#: Okabe and Ito (2008), without the yellow, which is too light for lines.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#999933")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)), (0, (1, 2)), (0, (3, 1)))
_MARKERS = "osD^vPX*"
#: Above this ratio of the largest error to the smallest, errors are drawn on a logarithmic axis.
_LOG_FROM = 4.0
#: Ratio of the lowest error to the lower end of such an axis.
_BELOW = 1.6


def line_style(position: int) -> dict[str, Any]:
    """Colour, dashes and marker of the line at a position: eight lines differ in all three.

    Further lines have a colour again, with other dashes and another marker.
    """
    n = len(_COLOURS)
    style = (position + 3 * (position // n)) % n
    return {"color": _COLOURS[position % n], "linestyle": _DASHES[style], "marker": _MARKERS[style]}


def scale_errors(axes: Axes, errors: Iterable[float]) -> None:
    """A logarithmic axis of errors, if they span a large ratio and none is 0; it ends below the lowest of them.

    Bands and bars may reach further down, to 0.
    """
    known = [error for error in errors if not math.isnan(error)]
    if known and max(known) > _LOG_FROM * min(known) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(bottom=min(known) / _BELOW)


def add_grid(panels: Iterable[Axes]) -> None:
    """A light grid behind the lines of each panel."""
    for axes in panels:
        axes.grid(True, which="major", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)


def add_line_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One legend below all panels, each label once, with as many columns as the figure is wide enough for."""
    entries = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if entries:
        per_line = int(15 * figure.get_figwidth()) // (max(map(len, entries)) + 8)
        figure.legend(
            entries.values(),
            entries.keys(),
            loc="outside lower center",
            ncols=min(max(1, per_line), len(entries)),
            frameon=False,
            fontsize=9,
        )
