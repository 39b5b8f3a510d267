"""Step functions of several seeds as one: a centre and a spread at each place of the axis.

Nothing is invented: before a run has its first incumbent it has no value, so the aggregate begins where the last of
the runs has its first one. A run that has ended keeps its last incumbent, as its user does; ``n_ended`` counts those.

Notation:
    k: number of places at which a function changes.
    s: number of runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import nan, sqrt

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Largest number of places of an aggregate; of more changes it holds so many, evenly spaced on a logarithmic scale.
MOST_PLACES = 1_000


class Spread(str, Enum):
    """The centre of several runs, and the band around it.

    * ``std``: mean, and one standard deviation of the runs (of a sample: divided by s - 1).
    * ``sem``: mean, and one standard error of it, the standard deviation divided by the root of s.
    * ``quantiles``: median, and the quartiles, interpolated linearly.
    """

    STD = "std"
    SEM = "sem"
    QUANTILES = "quantiles"

    @property
    def words(self) -> str:
        """The centre and the band as legends name them."""
        names = {
            Spread.STD: "mean ± standard deviation",
            Spread.SEM: "mean ± standard error",
            Spread.QUANTILES: "median, quartiles",
        }
        return names[self]


@dataclass(frozen=True)
class StepFunction:
    """A value that changes at places and holds between them.

    Attributes:
        x: [k] Places of the changes, ascending; of equal places the last counts.
        y: [k] Values from each place on.
        end: Place at which the run ended; the last value holds until then, and stays the run's answer.
    """

    x: FloatArray
    y: FloatArray
    end: float

    def at(self, places: npt.ArrayLike) -> FloatArray:
        """Finds the values at places; NaN before the first change."""
        positions = np.searchsorted(self.x, np.asarray(places), side="right")
        return np.asarray(np.concatenate([[nan], self.y])[positions])


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """Several runs as one step function.

    Attributes:
        x: [k] Places, ascending: the first one at which every run has a value, each change, and the last end.
        center: [k] Mean or median.
        lower: [k] Lower end of the band; NaN for a single run.
        upper: [k] Upper end of the band; NaN for a single run.
        n_ended: [k] Number of runs that have ended by the place and keep their last value.
        n: s
        spread: Meaning of centre and band.
    """

    x: FloatArray
    center: FloatArray
    lower: FloatArray
    upper: FloatArray
    n_ended: IntArray
    n: int
    spread: Spread


def aggregate(curves: Sequence[StepFunction], spread: Spread = Spread.STD) -> Aggregate:
    """Aggregates runs.

    Raises:
        ValueError: There is no run, or one that never has a value.
    """
    if not curves or not all(len(curve.x) for curve in curves):
        raise ValueError("got runs without any value, expected at least one run, and a value in each")
    begin, end = max(curve.x[0] for curve in curves), max(curve.end for curve in curves)
    changes = np.unique(np.concatenate([[begin, max(begin, end)], *(curve.x for curve in curves)]))
    x = _thinned(changes[changes >= begin])
    center, lower, upper = summarised(np.stack([curve.at(x) for curve in curves]), spread)
    ends = np.sort([curve.end for curve in curves])
    n_ended = np.searchsorted(ends, x, side="right").astype(np.int64)
    return Aggregate(x=x, center=center, lower=lower, upper=upper, n_ended=n_ended, n=len(curves), spread=spread)


def summarised(values: FloatArray, spread: Spread) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Computes the centre [k] and both ends [k] of the band of values [s, k]."""
    n = len(values)
    if spread is Spread.QUANTILES:
        lower, center, upper = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    else:
        center = values.mean(axis=0)
        width = values.std(axis=0, ddof=1) if n > 1 else np.zeros_like(center)
        width = width / sqrt(n) if spread is Spread.SEM else width
        lower, upper = center - width, center + width
    if n == 1:
        lower = upper = np.full_like(center, nan)
    return center, lower, upper


def _thinned(places: FloatArray) -> FloatArray:
    """At most ``MOST_PLACES`` of ascending places, the first and the last among them."""
    if len(places) <= MOST_PLACES:
        return places
    positive = np.maximum(places, places[places > 0][0])
    wanted = np.geomspace(positive[0], positive[-1], MOST_PLACES)
    kept = np.unique(np.concatenate([[0], np.searchsorted(positive, wanted[1:-1]), [len(places) - 1]]))
    return places[kept]
