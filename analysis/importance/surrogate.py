"""The random forest that stands in for the objective, and how well it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.importance.axes import FloatArray
from analysis.importance.dimensions import Dimension, is_missing, values_of
from analysis.importance.leaves import Leaves, Tree, leaves_of
from analysis.importance.settings import FanovaSettings


@dataclass(frozen=True, kw_only=True)
class Cutoff:
    """The range to which predictions are clipped, so that differences outside of it do not count.

    Attributes:
        lower: Smallest prediction.
        upper: Largest prediction; the error of the default configuration, for example.
    """

    lower: float = -np.inf
    upper: float = np.inf

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ValueError(f"cut-off: got {self.lower} .. {self.upper}, expected the lower end below the upper one")

    @classmethod
    def at_quantile(cls, losses: npt.ArrayLike, quantile: float) -> Cutoff:
        """Makes the cut-off above the best share of the losses.

        Args:
            losses: Losses of the evaluations, [n].
            quantile: Share of the evaluations below the cut-off, in [0, 1].
        """
        return cls(upper=float(np.quantile(np.asarray(losses, dtype=np.float64), quantile)))


NO_CUTOFF = Cutoff()


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Evaluations as the trees take them.

    Attributes:
        dimensions: The hyperparameters that vary, in the measure of the settings.
        columns: Columns of each of these dimensions, [n, n_columns].
        losses: Losses, [n].
        left_out: Hyperparameters that say nothing here, with the reason.
    """

    dimensions: tuple[Dimension, ...]
    columns: tuple[FloatArray, ...]
    losses: FloatArray
    left_out: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the hyperparameters that vary."""
        return tuple(dimension.name for dimension in self.dimensions)


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """A fitted forest.

    Attributes:
        observations: What it was fitted to.
        settings: How.
        leaves: Its leaves.
        predictions: Predictions of each tree, [n_trees, n].
        is_out_of_bag: Whether a tree did not see an evaluation, [n_trees, n].
    """

    observations: Observations
    settings: FanovaSettings
    leaves: Leaves
    predictions: FloatArray
    is_out_of_bag: npt.NDArray[np.bool_]

    def out_of_bag_r2(self, cutoff: Cutoff = NO_CUTOFF) -> float | None:
        """Computes the share of variance that trees explain of evaluations they have not seen.

        Args:
            cutoff: The range to which both losses and predictions are clipped.

        Returns:
            At most 1, negative where the mean would predict better; None where all clipped losses are equal or fewer
            than two evaluations were left out of a tree.
        """
        n_trees = self.is_out_of_bag.sum(axis=0)
        seen = n_trees > 0
        predictions = np.clip(self.predictions, cutoff.lower, cutoff.upper)
        means = (predictions * self.is_out_of_bag).sum(axis=0)[seen] / n_trees[seen]
        losses = np.clip(self.observations.losses, cutoff.lower, cutoff.upper)[seen]
        if len(losses) < 2 or losses.min() == losses.max():
            return None
        return float(1 - ((losses - means) ** 2).sum() / ((losses - losses.mean()) ** 2).sum())


def observe(
    dimensions: Sequence[Dimension],
    configurations: Sequence[Mapping[str, Any]],
    losses: npt.ArrayLike,
    settings: FanovaSettings,
) -> Observations:
    """Encodes evaluations, and leaves out hyperparameters that cannot be judged by them.

    Args:
        dimensions: The configuration space.
        configurations: Hyperparameter to value, one per evaluation.
        losses: Losses of the evaluations, [n]; evaluations that failed have none, so the caller leaves them out.
        settings: The measure.

    Raises:
        ValueError: If there is no evaluation, a loss is not a finite number, all losses are equal, a value is none of
            its hyperparameter's, or no hyperparameter varies.
    """
    values = _losses(losses, len(configurations))
    used: list[Dimension] = []
    columns: list[FloatArray] = []
    left_out: dict[str, str] = {}
    for dimension in dimensions:
        name, column = dimension.name, values_of(dimension.name, configurations)
        n_missing = sum(map(is_missing, column))
        if dimension.is_constant:
            left_out[name] = "constant"
        elif n_missing:
            left_out[name] = f"no value in {n_missing} of {len(column)} evaluations"
        else:
            dimension = _in_measure_of(settings, dimension)
            encoded = dimension.columns(column)
            if (encoded == encoded[0]).all():
                left_out[name] = "one value in all evaluations"
                continue
            used.append(dimension)
            columns.append(encoded)
    if not used:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ValueError(f"no hyperparameter varies ({reasons}); importances need at least one")
    return Observations(dimensions=tuple(used), columns=tuple(columns), losses=values, left_out=left_out)


def _in_measure_of(settings: FanovaSettings, dimension: Dimension) -> Dimension:
    if settings.raw_scale:
        dimension = dimension.on_raw_scale()
    return dimension.as_hypercube() if settings.hypercube_categories else dimension


def _losses(losses: npt.ArrayLike, n_configurations: int) -> FloatArray:
    values = np.asarray(losses, dtype=np.float64)
    if values.shape != (n_configurations,):
        raise ValueError(f"losses: got the shape {values.shape}, expected one loss for {n_configurations} evaluations")
    if len(values) == 0:
        raise ValueError("no evaluation succeeded; importances need two with different losses")
    n_invalid = int((~np.isfinite(values)).sum())
    if n_invalid:
        raise ValueError(f"losses: got {n_invalid} that are not finite, expected those of successful evaluations alone")
    if values.min() == values.max():
        raise ValueError(
            f"all losses are {values[0]} (evaluations: {len(values)}); importances need two different ones"
        )
    return values


def fit(observations: Observations, settings: FanovaSettings, seed: int) -> Surrogate:
    """Fits the forest.

    Args:
        observations: The evaluations.
        settings: The forest's settings.
        seed: Seed of the forest.
    """
    from sklearn.ensemble import RandomForestRegressor

    columns = np.concatenate(observations.columns, axis=1).astype(np.float32)
    n, n_columns = columns.shape
    forest = RandomForestRegressor(
        n_estimators=settings.n_trees,
        max_features=max(1, int(settings.split_share * n_columns)),
        max_depth=settings.max_depth,
        max_samples=None if n <= settings.evaluations_per_tree else settings.evaluations_per_tree,
        random_state=seed,
    )
    forest.fit(columns, observations.losses)
    trees = [estimator.tree_ for estimator in forest.estimators_]
    is_out_of_bag = np.ones((len(trees), n), dtype=np.bool_)
    for row, drawn in zip(is_out_of_bag, forest.estimators_samples_, strict=True):
        row[drawn] = False
    return Surrogate(
        observations=observations,
        settings=settings,
        leaves=leaves_of(
            [
                Tree(
                    feature=tree.feature,
                    threshold=tree.threshold,
                    left=tree.children_left,
                    right=tree.children_right,
                    value=tree.value[:, 0, 0],
                )
                for tree in trees
            ],
            observations.dimensions,
            [part.shape[1] for part in observations.columns],
        ),
        predictions=np.stack([tree.predict(columns)[:, 0] for tree in trees]),
        is_out_of_bag=is_out_of_bag,
    )
