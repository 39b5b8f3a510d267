"""The figures of runs: each file computes plain data, and then draws it."""

from importlib import import_module

from analysis.figures.figure import DoesNotApplyError, FigureModule

#: Every figure by name; add one here and ``analyze``, the tests and the docs know it.
FIGURES: dict[str, FigureModule] = {
    "trajectory": import_module("analysis.figures.trajectory"),
    "trajectories": import_module("analysis.figures.trajectories"),
    "comparison": import_module("analysis.figures.comparison"),
    "importances": import_module("analysis.figures.importances"),
    "marginals": import_module("analysis.figures.marginals"),
    "interactions": import_module("analysis.figures.interactions"),
    "pairs": import_module("analysis.figures.pairs"),
    "maps_by_budget": import_module("analysis.figures.maps_by_budget"),
    "anytime": import_module("analysis.figures.anytime"),
    "sweep": import_module("analysis.figures.sweep"),
    "one_shot_correlation": import_module("analysis.figures.one_shot_correlation"),
    "error_distributions": import_module("analysis.figures.error_distributions"),
    "budget_correlation": import_module("analysis.figures.budget_correlation"),
}

__all__ = ["FIGURES", "DoesNotApplyError", "FigureModule"]
