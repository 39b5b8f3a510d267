"""The course of one repeat, and its incumbent: the cell that a user would have taken had it ended there.

Notation:
    m: number of evaluations of the repeat, in the order in which they ran, one after the other.

The validation error that the method saw chooses the incumbent, among evaluations at the largest number of epochs that
the repeat has reached so far (``results.incumbents``). What is reported of it is the mean of the table's
trainings at the table's largest number of epochs. An incumbent exists from the end of the first evaluation on.

Differs from the original: automl/nasbench-1shot1 chose incumbents by the test error of one training, drawn at random,
and reported for Hyperband and BOHB the test error at the queried epochs.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas.blackbox.baseline import FloatArray, IntArray
from results.incumbents import IncumbentMode, incumbent_positions


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One repeat of one method.

    Attributes:
        method: Name of the baseline.
        repeat: Number of the repeat, from 0.
        indices: [m] encoded architectures.
        epochs: [m] training epochs.
        validation_error: [m] what the method saw.
        end_s: [m] simulated seconds at which each training ended: the sum of all training times so far.
        mean_validation_error: [m] of the cell at the largest epochs of the table, mean of its trainings.
        mean_test_error: [m] likewise.
    """

    method: str
    repeat: int
    indices: IntArray
    epochs: IntArray
    validation_error: FloatArray
    end_s: FloatArray
    mean_validation_error: FloatArray
    mean_test_error: FloatArray

    def incumbents(self) -> IntArray:
        """[m] the position of the evaluation that is the incumbent after each."""
        return incumbent_positions(self.validation_error, self.epochs, IncumbentMode.LARGER_PREFERRED)
