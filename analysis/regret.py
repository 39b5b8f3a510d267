"""The test regret of an incumbent: the distance of its test error from the best of its search space.

Ours: the mean of the table's trainings, minus the lowest such mean in the space. Validation errors choose the
incumbent, so the regret may rise, but it is never negative.

Differs from the public code (automl/nasbench-1shot1), which has other definitions for its figures. ``PublicChoice``
names each difference, and ``REGRETS`` the combinations:

* Figures 2, 7, 8 and 9 subtract the lowest single training from the mean of three, so they cannot reach zero.
* Figure 5 draws one training at every query. Its test error chooses the incumbent and is reported, minus the lowest
  single training. For Hyperband and BOHB it is the test error at the queried epochs, not at the largest.

The public code writes the lowest single training as a constant for each space (0.05448717, 0.05759215 and 0.05338544);
here it is looked up in the table.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from analysis.aggregation import FloatArray, StepFunction
from analysis.load import LoadedRun
from analysis.trajectory import Axis, place, validation_error_of
from results.incumbents import IncumbentMode, incumbent_positions
from results.records import TrialResult

#: Sets the draws of single trainings apart from all else that is drawn by the same seed.
_STREAM = zlib.crc32(b"one training")


class PublicChoice(str, Enum):
    """A choice of the public code that is not ours.

    * ``test_incumbent``: the lowest test error so far chooses the incumbent.
    * ``single_zero``: the zero is the lowest single training in the space, not the lowest mean.
    * ``one_training``: the test error is that of one training, drawn anew for each evaluation.
    * ``queried_epochs``: the test error of a black-box baseline is that of the queried epochs.
    """

    TEST_INCUMBENT = "test_incumbent"
    SINGLE_ZERO = "single_zero"
    ONE_TRAINING = "one_training"
    QUERIED_EPOCHS = "queried_epochs"


#: Definitions of the regret by name.
REGRETS: dict[str, frozenset[PublicChoice]] = {
    "best_mean": frozenset(),
    "figure2": frozenset({PublicChoice.SINGLE_ZERO}),
    "figure5": frozenset(PublicChoice),
}


@dataclass(frozen=True)
class Regret:
    """A definition of the test regret.

    Attributes:
        choices: Choices of the public code.
    """

    choices: frozenset[PublicChoice] = frozenset()

    @classmethod
    def named(cls, names: Collection[str]) -> Regret:
        """Finds a definition by its name in ``REGRETS``, or combines choices of the public code.

        Raises:
            ValueError: A name is unknown, or a definition is combined with others.
        """
        if len(names) == 1 and next(iter(names)) in REGRETS:
            return cls(REGRETS[next(iter(names))])
        known = [choice.value for choice in PublicChoice]
        if not names or not set(names) <= set(known):
            raise ValueError(
                f"--regret: got {' '.join(names) or 'nothing'}, expected one of {', '.join(REGRETS)}, or some of "
                f"{', '.join(known)}"
            )
        return cls(frozenset(PublicChoice(name) for name in names))

    def has(self, choice: PublicChoice) -> bool:
        """Whether the definition includes a choice of the public code."""
        return choice in self.choices

    @property
    def label(self) -> str:
        """The definition on an axis, in two lines."""
        name = next((name for name, choices in REGRETS.items() if choices == self.choices), None)
        title = {
            None: ", some choices public",
            "figure2": " as in public Figure 2",
            "figure5": " as in public Figure 5",
        }
        error = "one training" if self.has(PublicChoice.ONE_TRAINING) else "mean of the trainings"
        error += " at the queried epochs" if self.has(PublicChoice.QUERIED_EPOCHS) else ""
        zero = "lowest single training" if self.has(PublicChoice.SINGLE_ZERO) else "lowest mean"
        by = "test" if self.has(PublicChoice.TEST_INCUMBENT) else "validation"
        return f"Test regret{title.get(name, '')} (fraction):\n{error} minus {zero},\nincumbent by {by} error"


@dataclass(frozen=True, kw_only=True)
class Course:
    """What one run has spent and found, in the order in which its m evaluations ended.

    Attributes:
        ends: [m] Places of the ends on the axis.
        budgets: [m] Budgets of the evaluations.
        validation_errors: [m] NaN for failed evaluations.
        test_errors: [m] Test errors that are reported; NaN for failed evaluations.
        zero: Test error that is subtracted.
    """

    ends: FloatArray
    budgets: FloatArray
    validation_errors: FloatArray
    test_errors: FloatArray
    zero: float

    def curve(self, regret: Regret, mode: IncumbentMode, largest_budget: float | None = None) -> StepFunction:
        """Finds the regret of the incumbent over the axis."""
        errors = self.test_errors if regret.has(PublicChoice.TEST_INCUMBENT) else self.validation_errors
        positions = incumbent_positions(errors, self.budgets, mode, largest_budget)
        is_change = np.diff(positions, prepend=-1) != 0
        changed = positions[is_change]
        end = float(self.ends[-1]) if len(self.ends) else 0.0
        return StepFunction(self.ends[is_change], self.test_errors[changed] - self.zero, end)


class Repeat(Protocol):
    """A repeat of a black-box baseline, as ``nas.blackbox.trajectory.Trajectory``: m evaluations, R trainings each."""

    @property
    def repeat(self) -> int:
        """Number of the repeat."""

    @property
    def epochs(self) -> npt.NDArray[np.int64]:
        """[m] Training epochs."""

    @property
    def validation_error(self) -> FloatArray:
        """[m] What the method saw."""

    @property
    def end_s(self) -> FloatArray:
        """[m] Simulated seconds at which each training ended."""

    @property
    def trainings(self) -> npt.NDArray[np.int64] | None:
        """[m] Training that was drawn; None for the mean."""

    @property
    def test_errors(self) -> FloatArray:
        """[m, R] At the largest epochs of the table."""

    @property
    def queried_test_errors(self) -> FloatArray:
        """[m, R] At the epochs of the evaluation."""


def curve_of_repeat(repeat: Repeat, axis: Axis, regret: Regret, zero: float) -> StepFunction:
    """The regret of a baseline's incumbent over an axis.

    The validation error chooses among the largest epochs so far, because errors at other epochs are not comparable.
    Where the test error chooses, as in the public code, it does so whatever the epochs.

    Args:
        repeat: The repeat.
        axis: ``serial`` or ``evaluations``.
        regret: Definition of the regret.
        zero: Test error that is subtracted.

    Raises:
        ValueError: A baseline has no such axis.
    """
    if axis not in (Axis.SERIAL, Axis.EVALUATIONS):
        raise ValueError(f"--axis: got {axis.value}, expected serial or evaluations, the axes that baselines have")
    errors = repeat.queried_test_errors if regret.has(PublicChoice.QUERIED_EPOCHS) else repeat.test_errors
    m, n_trainings = errors.shape
    if regret.has(PublicChoice.ONE_TRAINING):
        drawn = np.random.default_rng([repeat.repeat, _STREAM]).integers(n_trainings, size=m)
        test_errors = errors[np.arange(m), drawn if repeat.trainings is None else repeat.trainings]
    else:
        test_errors = errors.mean(axis=1)
    course = Course(
        ends=repeat.end_s if axis is Axis.SERIAL else np.arange(1, m + 1).astype(np.float64),
        budgets=repeat.epochs.astype(np.float64),
        validation_errors=repeat.validation_error,
        test_errors=test_errors,
        zero=zero,
    )
    by_test = regret.has(PublicChoice.TEST_INCUMBENT)
    return course.curve(regret, IncumbentMode.ANY_BUDGET if by_test else IncumbentMode.LARGER_PREFERRED)


class NoRegretError(ValueError):
    """The test regret of a run is not known; the message says why."""


def curve_of_run(run: LoadedRun, axis: Axis, mode: IncumbentMode, regret: Regret) -> StepFunction:
    """The regret of a study's incumbent over an axis; without any change where no evaluation succeeded.

    Raises:
        NoRegretError: The best cell of the space is not known, or an evaluation lacks what the regret is made of.
    """
    return course_of_run(run, run.results, axis, regret).curve(regret, mode, run.largest_budget)


def course_of_run(run: LoadedRun, results: Collection[TrialResult], axis: Axis, regret: Regret) -> Course:
    """What evaluations of a study have spent and found; see ``curve_of_run``."""
    placed = place(results, axis, run.n_workers)
    test_errors = np.array([_nan(timed.result.evaluation.test_error) for timed in placed], dtype=np.float64)
    validation_errors = np.array([validation_error_of(timed.result) for timed in placed], dtype=np.float64)
    if regret.has(PublicChoice.ONE_TRAINING):
        test_errors = _of_one_training(run, [timed.result for timed in placed])
    if np.isnan(test_errors[~np.isnan(validation_errors)]).any():
        raise NoRegretError(f"{run.path.name}: no test error is known of some evaluations that succeeded")
    return Course(
        ends=np.array([timed.end for timed in placed], dtype=np.float64),
        budgets=np.array([timed.result.budget for timed in placed], dtype=np.float64),
        validation_errors=validation_errors,
        test_errors=np.where(np.isnan(validation_errors), np.nan, test_errors),
        zero=_zero_of(run, regret),
    )


def _zero_of(run: LoadedRun, regret: Regret) -> float:
    if run.best_test_error is None:
        raise NoRegretError(f"{run.path.name}: the lowest test error in its search space is not known")
    if not regret.has(PublicChoice.SINGLE_ZERO):
        return run.best_test_error
    assert run.table is not None, "it gave the lowest test error"
    assert run.description is not None, "it names the space"
    return run.table.best_test_error(run.space, run.description.spec.table_epochs, of_single=True)


def _of_one_training(run: LoadedRun, results: Collection[TrialResult]) -> FloatArray:
    """Test errors of one training each, drawn by the study's seed and the place in its journal; NaN without a cell."""
    if run.table is None or run.description is None or run.space is None:
        raise NoRegretError(f"{run.path.name}: the single trainings of its cells are not known")
    study = run.description.spec
    indices = [result.evaluation.architecture_index for result in results]
    known = np.array([index is not None for index in indices], dtype=bool)
    entries = run.table.query_indices(run.space, [i for i in indices if i is not None], study.table_epochs)
    of_journal = np.random.default_rng([study.seed, _STREAM]).integers(run.table.n_repeats, size=len(run.results))
    by_result = {id(result): int(training) for result, training in zip(run.results, of_journal, strict=True)}
    drawn = np.array([by_result[id(result)] for result in results], dtype=np.int64)
    errors = np.full(len(indices), np.nan)
    errors[known] = entries.test_error[np.arange(known.sum()), drawn[known]]
    return errors


def _nan(value: float | None) -> float:
    return np.nan if value is None else value
