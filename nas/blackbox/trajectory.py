"""The course of one repeat, and its incumbent: the cell that a user would have taken had it ended there.

Notation:
    m: number of evaluations of the repeat, in the order in which they ran, one after the other.
    R: number of trainings that the table holds for each cell and number of epochs.

The validation error that the method saw chooses the incumbent, among evaluations at the largest number of epochs that
the repeat has reached so far (``results.incumbents``). What is reported of it is the mean of the table's
trainings at the table's largest number of epochs. An incumbent exists from the end of the first evaluation on.

Differs from the original: automl/nasbench-1shot1 chose incumbents by the test error of one training, drawn at random,
and reported for Hyperband and BOHB the test error at the queried epochs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
        trainings: [m] which of the table's R trainings was drawn; None for their mean.
        mean_validation_error: [m] of the cell at the largest epochs of the table, mean of its trainings.
        test_errors: [m, R] of the cell at the largest epochs, each training.
        queried_test_errors: [m, R] of the cell at the epochs of the evaluation, each training.
    """

    method: str
    repeat: int
    indices: IntArray
    epochs: IntArray
    validation_error: FloatArray
    end_s: FloatArray
    trainings: IntArray | None
    mean_validation_error: FloatArray
    test_errors: FloatArray
    queried_test_errors: FloatArray

    @property
    def mean_test_error(self) -> FloatArray:
        """[m] of the cell at the largest epochs, mean of its trainings."""
        return np.asarray(self.test_errors.mean(axis=1))

    def incumbents(self) -> IntArray:
        """[m] the position of the evaluation that is the incumbent after each."""
        return incumbent_positions(self.validation_error, self.epochs, IncumbentMode.LARGER_PREFERRED)
