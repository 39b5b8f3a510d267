"""How much each hyperparameter, and each interaction of hyperparameters, matters: fANOVA.

``dimensions_of`` describes a configuration space, ``surrogate_of`` fits a forest to evaluations, and ``importances``
and ``marginal`` read it. Nothing here knows of runs or files.
"""

from analysis.importance.dimensions import Categories, Dimension, Float, Integer, Ordered, dimensions_of
from analysis.importance.fanova import (
    Importances,
    Marginal,
    by_budget,
    importances,
    marginal,
    surrogate_of,
    views,
    with_budget,
)
from analysis.importance.replicates import Replicates, resampled, shuffled
from analysis.importance.settings import PRESETS, FanovaSettings
from analysis.importance.surrogate import Cutoff, Surrogate

__all__ = [
    "PRESETS",
    "Categories",
    "Cutoff",
    "Dimension",
    "FanovaSettings",
    "Float",
    "Importances",
    "Integer",
    "Marginal",
    "Ordered",
    "Replicates",
    "Surrogate",
    "by_budget",
    "dimensions_of",
    "importances",
    "marginal",
    "resampled",
    "shuffled",
    "surrogate_of",
    "views",
    "with_budget",
]
