"""Hyperparameters on the axes of figures: their original scales, with names and units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, MaxNLocator, NullFormatter, NullLocator

from analysis.importance import Categories, Dimension, Float, Integer, Ordered

FloatArray = npt.NDArray[np.float64]

#: Units of the hyperparameters that have one; the others are pure numbers.
_UNITS = {"batch_size": "images", "cutout_length": "pixels", "budget": "search epochs"}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The axis of a hyperparameter.

    Attributes:
        name: Hyperparameter.
        lower: Lower end of the axis.
        upper: Upper end of the axis.
        log: Whether the axis is logarithmic.
        whole: Whether the values are whole numbers.
        choices: Values that are drawn at 0, 1, 2, ...; None for numbers, which are drawn where they are.
    """

    name: str
    lower: float
    upper: float
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] | None = None

    @property
    def label(self) -> str:
        """The name with its unit."""
        name = self.name.replace("_", " ")
        return f"{name} [{_UNITS[self.name]}]" if self.name in _UNITS else name

    def coordinates(self, values: Sequence[Any]) -> FloatArray:
        """Places values on the axis, [n]."""
        if self.choices is None:
            return np.array([float(value) for value in values])
        return np.array([float(self.choices.index(value)) for value in values])

    def edges(self, values: Sequence[Any]) -> FloatArray:
        """Finds the ends of the cells around ascending values, half-way between neighbours on the scale, [n + 1]."""
        at = self.coordinates(values)
        if self.log:
            return np.array([self.lower, *np.sqrt(at[:-1] * at[1:]), self.upper])
        return np.array([self.lower, *(at[:-1] + at[1:]) / 2, self.upper])

    def apply(self, axes: Axes, which: str, *, labelled: bool = True, size: float = 9) -> None:
        """Sets limits, scale, ticks and label of an axis.

        Args:
            axes: The panel.
            which: ``x`` or ``y``.
            labelled: Whether the label and the ticks' labels are written.
            size: Size of the label in points; ticks are a little smaller.
        """
        axis: Axis = axes.xaxis if which == "x" else axes.yaxis
        if self.log:
            axes.set(**{f"{which}scale": "log"})
            _log_ticks(axis, self.upper / self.lower)
        elif self.choices is not None:
            axis.set_ticks(range(len(self.choices)), [str(choice) for choice in self.choices])
        else:
            axis.set_major_locator(MaxNLocator(4, integer=self.whole))
        axes.set(**{f"{which}lim": (self.lower, self.upper)})
        axis.set_tick_params(labelsize=size - 1.5, which="both")
        if labelled:
            axis.set_label_text(self.label, fontsize=size)
        else:
            axis.set_tick_params(**{"labelbottom" if which == "x" else "labelleft": False}, which="both")


def scales_of(dimensions: Sequence[Dimension]) -> dict[str, Scale]:
    """Hyperparameter to its axis."""
    return {dimension.name: _scale_of(dimension) for dimension in dimensions}


def _scale_of(dimension: Dimension) -> Scale:
    if isinstance(dimension, Float):
        return Scale(name=dimension.name, lower=dimension.lower, upper=dimension.upper, log=dimension.log)
    if isinstance(dimension, Integer):
        lower, upper = dimension.lower - 0.5, dimension.upper + 0.5
        return Scale(name=dimension.name, lower=lower, upper=upper, log=dimension.log, whole=True)
    assert isinstance(dimension, Categories | Ordered)
    n = len(dimension.choices)
    return Scale(name=dimension.name, lower=-0.5, upper=n - 0.5, choices=dimension.choices)


def values_at(name: str, configurations: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Collects a hyperparameter's values."""
    return [configuration[name] for configuration in configurations if name in configuration]


def _log_ticks(axis: Axis, ratio: float) -> None:
    """Ticks at decades, or between them where there are few."""
    if math.log10(ratio) > 1.9:
        axis.set_major_locator(LogLocator(numticks=5))
        axis.set_major_formatter(LogFormatterMathtext())
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 4)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def set_places(axes: Axes, which: str, values: Sequence[FloatArray]) -> None:
    """Makes an axis logarithmic, with ticks that are plain numbers, where there are positive values to show."""
    together = np.concatenate(values)
    positive = together[together > 0]
    if not len(positive):
        return
    axes.set(**{f"{which}scale": "log"})
    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    if positive.max() / positive.min() < 100:
        axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    if which == "y":
        axes.set_ylim(bottom=positive.min() / 3)
