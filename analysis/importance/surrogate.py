"""The random forest that stands in for the objective, and how well it does."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.importance.axes import FloatArray, IntArray
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
        groups: Number of each evaluation's configuration, from 0 on, [n].
        left_out: Hyperparameters that say nothing here, with the reason.
    """

    dimensions: tuple[Dimension, ...]
    columns: tuple[FloatArray, ...]
    losses: FloatArray
    groups: IntArray
    left_out: Mapping[str, str]

    @property
    def n_groups(self) -> int:
        """The number of configurations."""
        return int(self.groups.max()) + 1

    @property
    def members(self) -> list[IntArray]:
        """The evaluations of each configuration."""
        return np.split(np.argsort(self.groups, kind="stable"), np.cumsum(np.bincount(self.groups))[:-1])

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
        is_out_of_bag: Whether a tree saw no evaluation of an evaluation's configuration, [n_trees, n].
    """

    observations: Observations
    settings: FanovaSettings
    leaves: Leaves
    predictions: FloatArray
    is_out_of_bag: npt.NDArray[np.bool_]

    def out_of_bag_r2(self, cutoff: Cutoff = NO_CUTOFF) -> float | None:
        """Computes the share of variance that trees explain of configurations they have not seen.

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
    groups: Sequence[Hashable] | None = None,
) -> Observations:
    """Encodes evaluations, and leaves out hyperparameters that cannot be judged by them.

    Args:
        dimensions: The configuration space.
        configurations: Hyperparameter to value, one per evaluation.
        losses: Losses of the evaluations, [n]; evaluations that failed have none, so the caller leaves them out.
        settings: The measure.
        groups: What tells the configurations of the evaluations apart, [n]; None where each evaluation has its own.

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
    numbers: dict[Hashable, int] = {}
    of_each = [numbers.setdefault(group, len(numbers)) for group in (range(len(values)) if groups is None else groups)]
    return Observations(
        dimensions=tuple(used),
        columns=tuple(columns),
        losses=values,
        groups=np.array(of_each, dtype=np.int64),
        left_out=left_out,
    )


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
    """Fits the forest: trees of scikit-learn, each on configurations drawn with replacement, all evaluations of one.

    Where each evaluation has a configuration of its own, the trees are those of scikit-learn's
    ``RandomForestRegressor``, which can draw evaluations only.

    Args:
        observations: The evaluations.
        settings: The forest's settings.
        seed: Seed of the forest.
    """
    from sklearn.tree import DecisionTreeRegressor

    columns = np.concatenate(observations.columns, axis=1).astype(np.float32)
    n, n_columns = columns.shape
    n_groups, n_drawn = observations.n_groups, observations.n_groups
    if n > settings.evaluations_per_tree:
        n_drawn = max(1, n_groups * settings.evaluations_per_tree // n)
    states = np.random.RandomState(seed).randint(np.iinfo(np.int32).max, size=settings.n_trees).tolist()
    is_out_of_bag = np.empty((settings.n_trees, n), dtype=np.bool_)
    trees = []
    for state, is_unseen in zip(states, is_out_of_bag, strict=True):
        drawn = np.random.RandomState(state).randint(0, n_groups, n_drawn)
        weights = np.bincount(drawn, minlength=n_groups)[observations.groups].astype(np.float64)
        is_unseen[:] = weights == 0
        tree = DecisionTreeRegressor(
            max_features=max(1, int(settings.split_share * n_columns)),
            max_depth=settings.max_depth,
            random_state=state,
        )
        trees.append(tree.fit(columns, observations.losses, sample_weight=weights).tree_)
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
