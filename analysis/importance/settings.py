"""How importances are computed: our settings, and those of other tools for comparison one to one.

Sources: Hutter, Hoos and Leyton-Brown (2014); the sources of automl/fanova 46eb005 with pyrfr 1ba1765, of Optuna 5.0
and of DeepCAVE 1.4.1. docs/fanova.md says what a preset does not reproduce.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FanovaSettings:
    """The forest, the measure and what is reported.

    Attributes:
        n_trees: Number of trees.
        split_share: Share of the columns that a split chooses from, rounded down, at least one column.
        max_depth: Largest depth of a tree.
        evaluations_per_tree: Largest number of evaluations that a tree draws; it bounds time and memory of long runs.
        raw_scale: Whether logarithmic scales are ignored, and integers span their bounds without bins.
        hypercube_categories: Whether the columns of unordered choices count as independent of one another.
        order: Number of hyperparameters in the largest interactions that are reported.
        normalised: Whether main effects are scaled to sum to 1; only where ``order`` is 1.
    """

    n_trees: int = 64
    split_share: float = 0.7
    max_depth: int = 64
    evaluations_per_tree: int = 10_000
    raw_scale: bool = False
    hypercube_categories: bool = False
    order: int = 2
    normalised: bool = False

    def __post_init__(self) -> None:
        for name in ("n_trees", "max_depth", "evaluations_per_tree", "order"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least 1")
        if not 0 < self.split_share <= 1:
            raise ValueError(f"split_share: got {self.split_share}, expected a number above 0 and at most 1")
        if self.normalised and self.order > 1:
            raise ValueError(f"order: got {self.order}, expected 1 where main effects are scaled to sum to 1")


#: Name to settings; ``nasbohb`` is ours.
PRESETS: dict[str, FanovaSettings] = {
    "nasbohb": FanovaSettings(),
    "automl": FanovaSettings(n_trees=16, raw_scale=True),
    "optuna": FanovaSettings(split_share=1, raw_scale=True, hypercube_categories=True, order=1, normalised=True),
    "deepcave": FanovaSettings(n_trees=10, split_share=1),
}
