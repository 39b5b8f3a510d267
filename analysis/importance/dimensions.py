"""Hyperparameters as dimensions of the unit cube: what the trees split, and what each value weighs.

A dimension turns values into columns for the trees, and the intervals of these columns that a leaf spans into the
part of the dimension that the leaf covers. Every dimension has weight 1:

    * a float spans [0, 1], on its logarithmic scale where it has one;
    * an integer has one bin per value, of equal widths, or of equal widths in the logarithm of the value;
    * ordered choices have one bin each, of equal widths;
    * unordered choices have a column each that says whether it was chosen, and weight 1 / k each. A leaf that
      excludes some choices covers the remaining ones, so combinations that no configuration has weigh nothing, and the
      order in which the choices are written does not matter.

A threshold of a tree lies between two evaluated values; a value between them belongs wholly to the side on which the
tree puts it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.importance.axes import Axis, FloatArray, IntArray, interval_axis, subset_axis

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

#: Relative distance by which a value may lie outside of its bounds, for values that were read from text.
_TOLERANCE = 1e-9
#: Unordered choices beyond which their hypercube of 2^k corners is refused.
_MOST_HYPERCUBE_CHOICES = 10


@dataclass(frozen=True)
class Dimension(ABC):
    """One hyperparameter.

    Attributes:
        name: Its name.
    """

    name: str

    @property
    @abstractmethod
    def is_constant(self) -> bool:
        """Whether there is only one value."""

    @abstractmethod
    def columns(self, values: Sequence[Any]) -> FloatArray:
        """Encodes values for the trees.

        Args:
            values: A value per evaluation.

        Returns:
            The columns, [n_evaluations, n_columns].

        Raises:
            ValueError: If a value is none of the dimension's.
        """

    @abstractmethod
    def axis(self, tree: IntArray, lower: FloatArray, upper: FloatArray) -> Axis:
        """Makes the axis that the leaves cut.

        Args:
            tree: Tree of each leaf, ascending, [L].
            lower: Thresholds that the leaves' columns exceed, -inf where there is none, [L, n_columns].
            upper: Thresholds that the leaves' columns do not exceed, inf where there is none, [L, n_columns].
        """

    @abstractmethod
    def grid(self, n_points: int) -> tuple[tuple[Any, ...], FloatArray]:
        """Chooses values for a curve: evenly spaced in the measure, or all where there are no more.

        Args:
            n_points: The largest number of values of a numerical dimension, at least 2.

        Returns:
            The values, and their positions on the axis, [n_values].
        """

    def on_raw_scale(self) -> Dimension:
        """Returns the dimension as tools see it that know neither logarithmic scales nor bins."""
        return self

    def as_hypercube(self) -> Dimension:
        """Returns the dimension as tools see it that take the columns of choices for independent of one another."""
        return self


@dataclass(frozen=True)
class Float(Dimension):
    """A number between two bounds.

    Attributes:
        lower: The smallest value.
        upper: The largest value.
        log: Whether its logarithm is what is uniformly distributed.
    """

    lower: float
    upper: float
    log: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether there is only one value."""
        return self.lower == self.upper

    def columns(self, values: Sequence[Any]) -> FloatArray:
        """Encodes values as positions in [0, 1], [n, 1]."""
        numbers = _numbers(self.name, values, self.lower, self.upper)
        if self.log:
            return np.log(numbers / self.lower)[:, None] / math.log(self.upper / self.lower)
        return (numbers - self.lower)[:, None] / (self.upper - self.lower)

    def axis(self, tree: IntArray, lower: FloatArray, upper: FloatArray) -> Axis:
        """Makes the axis of intervals between thresholds."""
        return interval_axis(tree, np.clip(lower[:, 0], 0, 1), np.clip(upper[:, 0], 0, 1))

    def grid(self, n_points: int) -> tuple[tuple[Any, ...], FloatArray]:
        """Chooses evenly spaced values, both bounds included."""
        positions = np.linspace(0, 1, n_points, dtype=np.float64)
        if self.log:
            values = self.lower * (self.upper / self.lower) ** positions
        else:
            values = self.lower + (self.upper - self.lower) * positions
        return tuple(np.clip(values, self.lower, self.upper).tolist()), positions

    def on_raw_scale(self) -> Dimension:
        """Returns the dimension without its logarithmic scale."""
        return replace(self, log=False)


@dataclass(frozen=True)
class _Bins(Dimension):
    """Ordered values with a bin each; the trees see a value's index."""

    @property
    @abstractmethod
    def n_values(self) -> int:
        """The number of values."""

    @abstractmethod
    def _start_of(self, index: FloatArray) -> FloatArray:
        """The positions at which the bins of these indices begin, 1 for ``n_values``."""

    @abstractmethod
    def _value_of(self, index: int) -> Any:
        """The value with an index."""

    @property
    def is_constant(self) -> bool:
        """Whether there is only one value."""
        return self.n_values == 1

    def axis(self, tree: IntArray, lower: FloatArray, upper: FloatArray) -> Axis:
        """Makes the axis of intervals between bins; a threshold ends behind the bin of the last value it includes."""
        ends = [np.clip(np.floor(ends[:, 0]) + 1, 0, self.n_values) for ends in (lower, upper)]
        return interval_axis(tree, self._start_of(ends[0]), self._start_of(ends[1]))

    def grid(self, n_points: int) -> tuple[tuple[Any, ...], FloatArray]:
        """Chooses all values, or evenly spaced ones where there are more than ``n_points``."""
        ends = self._start_of(np.arange(self.n_values + 1, dtype=np.float64))
        centres = (ends[:-1] + ends[1:]) / 2
        chosen: IntArray = np.arange(self.n_values)
        if self.n_values > n_points:
            chosen = np.unique(np.searchsorted(ends[1:-1], np.linspace(0, 1, n_points), side="right"))
        return tuple(self._value_of(index) for index in chosen.tolist()), centres[chosen]


@dataclass(frozen=True)
class Integer(_Bins):
    """A whole number between two bounds.

    Attributes:
        lower: The smallest value.
        upper: The largest value.
        log: Whether its bins are equally wide in the logarithm: value i spans i - 1/2 to i + 1/2.
    """

    lower: int
    upper: int
    log: bool = False

    @property
    def n_values(self) -> int:
        """The number of values."""
        return self.upper - self.lower + 1

    def columns(self, values: Sequence[Any]) -> FloatArray:
        """Encodes values as their distances from the smallest one, [n, 1]."""
        numbers = _numbers(self.name, values, self.lower, self.upper)
        if not np.array_equal(numbers, np.round(numbers)):
            wrong = next(value for value in numbers.tolist() if value != round(value))
            raise ValueError(f"{self.name}: got {wrong!r}, expected a whole number")
        return (numbers - self.lower)[:, None]

    def _start_of(self, index: FloatArray) -> FloatArray:
        if not self.log:
            return index / self.n_values
        first = self.lower - 0.5
        return np.log((first + index) / first) / math.log((self.upper + 0.5) / first)

    def _value_of(self, index: int) -> int:
        return self.lower + index

    def on_raw_scale(self) -> Dimension:
        """Returns a float between the same bounds, so that both ends have half of a bin."""
        return Float(self.name, self.lower, self.upper)


@dataclass(frozen=True)
class Ordered(_Bins):
    """Choices with an order.

    Attributes:
        choices: The values, in their order.
    """

    choices: tuple[Any, ...]

    @property
    def n_values(self) -> int:
        """The number of values."""
        return len(self.choices)

    def columns(self, values: Sequence[Any]) -> FloatArray:
        """Encodes values as their indices, [n, 1]."""
        return _indices(self.name, values, self.choices)[:, None].astype(np.float64)

    def _start_of(self, index: FloatArray) -> FloatArray:
        return index / self.n_values

    def _value_of(self, index: int) -> Any:
        return self.choices[index]


@dataclass(frozen=True)
class Categories(Dimension):
    """Choices without an order.

    Attributes:
        choices: The values.
        is_hypercube: Whether the columns count as independent of one another, each with weight 1/2 for 0 and for 1.
            Combinations that no configuration has then weigh as much as the others. Ours is False.
    """

    choices: tuple[Any, ...]
    is_hypercube: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether there is only one value."""
        return len(self.choices) == 1

    def columns(self, values: Sequence[Any]) -> FloatArray:
        """Encodes values as a column per choice, 1 where it was chosen and 0 elsewhere, [n, k]."""
        return np.eye(len(self.choices))[_indices(self.name, values, self.choices)]

    def _cells(self) -> FloatArray:
        """The columns' values in every cell of the axis, [n_cells, k]."""
        k = len(self.choices)
        if self.is_hypercube:
            return (np.arange(2**k)[:, None] >> np.arange(k) & 1).astype(np.float64)
        return np.eye(k)

    def axis(self, tree: IntArray, lower: FloatArray, upper: FloatArray) -> Axis:
        """Makes the axis of the choices that a leaf does not exclude."""
        members = np.ones((len(tree), len(self._cells())), dtype=np.bool_)
        for column, cells in enumerate(self._cells().T):
            members &= (lower[:, column, None] < cells) & (cells <= upper[:, column, None])
        return subset_axis(tree, members)

    def grid(self, n_points: int) -> tuple[tuple[Any, ...], FloatArray]:
        """Returns all choices."""
        n_cells = len(self._cells())
        indices = 2 ** np.arange(len(self.choices)) if self.is_hypercube else np.arange(n_cells)
        return self.choices, (indices + 0.5) / n_cells

    def as_hypercube(self) -> Dimension:
        """Returns the choices with independent columns."""
        if len(self.choices) > _MOST_HYPERCUBE_CHOICES:
            raise ValueError(
                f"{self.name}: got {len(self.choices)} choices, expected at most {_MOST_HYPERCUBE_CHOICES} with "
                "independent columns; choose another preset"
            )
        return replace(self, is_hypercube=True)


def dimensions_of(space: ConfigurationSpace) -> tuple[Dimension, ...]:
    """Describes the hyperparameters of a configuration space, in its order.

    Numerical hyperparameters with another distribution than the uniform one, and choices with weights, are taken as
    uniform: an importance is a statement about the space, not about how it was sampled.

    Raises:
        ValueError: If a hyperparameter has no bounds.
    """
    return tuple(_dimension_of(hyperparameter) for hyperparameter in space.values())


def _dimension_of(hyperparameter: Any) -> Dimension:
    from ConfigSpace.hyperparameters import (
        CategoricalHyperparameter,
        Constant,
        IntegerHyperparameter,
        OrdinalHyperparameter,
    )

    name = str(hyperparameter.name)
    if isinstance(hyperparameter, Constant):
        return Ordered(name, _plain([hyperparameter.value]))
    if isinstance(hyperparameter, OrdinalHyperparameter):
        return Ordered(name, _plain(hyperparameter.sequence))
    if isinstance(hyperparameter, CategoricalHyperparameter):
        return Categories(name, _plain(hyperparameter.choices))
    lower, upper = hyperparameter.lower, hyperparameter.upper
    if not (math.isfinite(lower) and math.isfinite(upper)):
        raise ValueError(f"{name}: got the bounds {lower} and {upper}, expected finite ones")
    log = bool(getattr(hyperparameter, "log", False))
    if isinstance(hyperparameter, IntegerHyperparameter):
        return Integer(name, int(lower), int(upper), log)
    return Float(name, float(lower), float(upper), log)


def _plain(values: Iterable[Any]) -> tuple[Any, ...]:
    """The values as built-in types."""
    return tuple(value.item() if isinstance(value, np.generic) else value for value in values)


def is_missing(value: Any) -> bool:
    """Whether a configuration leaves a hyperparameter without a value, as an inactive one is."""
    return value is None or (isinstance(value, float | np.floating) and math.isnan(value))


def values_of(name: str, configurations: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Collects a hyperparameter's values, None where a configuration has none."""
    return [configuration.get(name) for configuration in configurations]


def _numbers(name: str, values: Sequence[Any], lower: float, upper: float) -> FloatArray:
    try:
        numbers = np.array([float(value) if not isinstance(value, str) else math.nan for value in values])
    except (TypeError, ValueError):
        numbers = np.array([math.nan])
    margin = _TOLERANCE * max(abs(lower), abs(upper))
    outside = ~((numbers >= lower - margin) & (numbers <= upper + margin))
    if outside.any():
        wrong = values[int(np.argmax(outside))]
        raise ValueError(f"{name}: got {wrong!r}, expected a number from {lower} to {upper}")
    return np.clip(numbers, lower, upper)


def _indices(name: str, values: Sequence[Any], choices: tuple[Any, ...]) -> IntArray:
    index_of = {choice: index for index, choice in enumerate(choices)}
    for value in values:
        if value not in index_of:
            raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(map(str, choices))}")
    return np.array([index_of[value] for value in values], dtype=np.int64)
