"""Limits that end a study before its last evaluation; it can be resumed with other limits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

from results.records import TrialResult


@dataclass(frozen=True)
class StudyLimits:
    """Limits of a study, infinite by default.

    Attributes:
        wall_s: Seconds since this master started.
        evaluations: Number of results, those of earlier masters among them.
        search_epochs: Sum of the budgets of all results.
        simulated_s: Sum of the simulated times of all results, in seconds: search and the table's training.
    """

    wall_s: float = math.inf
    evaluations: float = math.inf
    search_epochs: float = math.inf
    simulated_s: float = math.inf

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name}: got {getattr(self, field.name)}, expected a number above 0")


class Spending:
    """What a study has cost, to compare with its limits."""

    def __init__(self, limits: StudyLimits, results: Iterable[TrialResult] = ()) -> None:
        """Takes the limits, and the results of earlier masters."""
        self._limits = limits
        self._evaluations = 0
        self._search_epochs = 0.0
        self._simulated_s = 0.0
        for result in results:
            self.add(result)

    def add(self, result: TrialResult) -> None:
        """Counts a result."""
        self._evaluations += 1
        self._search_epochs += result.budget
        self._simulated_s += result.evaluation.t_sim_s

    def reached(self, wall_s: float) -> str | None:
        """Names the limit that is reached after so many seconds of this master; None if there is none."""
        limits = self._limits
        for spent, limit, unit in (
            (wall_s, limits.wall_s, "s of wall clock"),
            (self._evaluations, limits.evaluations, "evaluations"),
            (self._search_epochs, limits.search_epochs, "search epochs"),
            (self._simulated_s, limits.simulated_s, "s of simulated time"),
        ):
            if spent >= limit:
                return f"the limit of {limit:g} {unit} is reached"
        return None
