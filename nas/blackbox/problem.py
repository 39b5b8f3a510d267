"""A search space with a table that answers: what a training reaches, and what it costs.

Notation:
    n: number of trainings that are asked for at once.
    R: number of trainings that the table holds for each cell and number of epochs.

An answer is the mean of the R trainings, or one of them. Where one is drawn, a cell has the same one at the same
epochs however often a repeat asks for it, and isomorphs are one cell: the draw is a hash of (seed, number of the
repeat, cell, epochs). All methods see the same draws in repeats of the same number.

Differs from the original: google-research/nasbench draws one of the three at every query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas.blackbox.baseline import FloatArray, IntArray, Questions
from nas.tabular import BatchEntries, Table, TableError
from spaces import SearchSpace


@dataclass(frozen=True)
class Answers:
    """What n trainings reached.

    Attributes:
        validation_error: [n]
        training_time_s: [n]
        trainings: [n] which of the R it was; None for their mean.
    """

    validation_error: FloatArray
    training_time_s: FloatArray
    trainings: IntArray | None


@dataclass(frozen=True)
class Extremes:
    """What the whole space holds.

    Attributes:
        validation_error: The lowest mean validation error at the largest number of epochs.
        test_error: The lowest mean test error at the largest number of epochs.
        longest_s: The longest training of all.
        shortest_s_per_epoch: The least seconds that an epoch takes in any training.
    """

    validation_error: float
    test_error: float
    longest_s: float
    shortest_s_per_epoch: float


class Problem:
    """What baselines are run on."""

    def __init__(self, space: SearchSpace, table: Table) -> None:
        """A problem.

        Raises:
            TableError: The table lacks cells of the space.
        """
        held, size = table.coverage(space)
        if held < size:
            raise TableError(
                f"--table: {table.name} holds {held:,} of the {size:,} architectures of search space {space.name}, and "
                "a baseline may ask for any; choose another table or another space"
            )
        self.space = space
        self.table = table

    @property
    def epochs(self) -> tuple[int, ...]:
        """Training epochs that the table holds, ascending."""
        return self.table.budgets

    def answer(self, questions: Questions, draws: npt.NDArray[np.uint64] | None = None) -> Answers:
        """The answers to n questions.

        Args:
            questions: [n]
            draws: [n] a number for each repeat that decides on its draws; None for the mean of the trainings.
        """
        n = len(questions.indices)
        errors, seconds, trainings = np.empty(n), np.empty(n), np.zeros(n, dtype=np.int64)
        for asked, epochs, entries in self._entries(questions):
            if draws is None:
                errors[asked], seconds[asked] = entries.mean_validation_error, entries.mean_training_time_s
            else:
                trainings[asked] = _drawn(draws[asked], entries.rows, epochs, self.table.n_repeats)
                errors[asked], seconds[asked] = _pick(entries, trainings[asked])
        return Answers(errors, seconds, None if draws is None else trainings)

    def answer_again(self, questions: Questions, trainings: Sequence[int] | None) -> Answers:
        """The answers of an earlier run, ``trainings`` being its [n] draws; None for the mean of the trainings."""
        if trainings is None:
            return self.answer(questions)
        n = len(questions.indices)
        errors, seconds, drawn = np.empty(n), np.empty(n), np.array(trainings, dtype=np.int64)
        for asked, _, entries in self._entries(questions):
            errors[asked], seconds[asked] = _pick(entries, drawn[asked])
        return Answers(errors, seconds, drawn)

    def test_errors(self, questions: Questions) -> FloatArray:
        """[n, R] the test errors of all trainings, which no method sees."""
        errors = np.empty((len(questions.indices), self.table.n_repeats))
        for asked, _, entries in self._entries(questions):
            errors[asked] = entries.test_error
        return errors

    def _entries(self, questions: Questions) -> Iterator[tuple[IntArray, int, BatchEntries]]:
        """For each number of epochs: the positions of its questions, itself, and their entries."""
        for epochs in sorted(set(questions.epochs.tolist())):
            asked = np.flatnonzero(questions.epochs == epochs)
            yield asked, epochs, self.table.query_indices(self.space, questions.indices[asked], epochs)

    def extremes(self) -> Extremes:
        """The best and the longest of the whole space."""
        every = np.arange(self.space.size)
        longest, shortest = 0.0, np.inf
        for epochs in self.epochs:
            entries = self.table.query_indices(self.space, every, epochs)
            longest = max(longest, float(entries.training_time_s.max()))
            shortest = min(shortest, float(entries.training_time_s.min()) / epochs)
        return Extremes(
            validation_error=float(entries.mean_validation_error.min()),
            test_error=float(entries.mean_test_error.min()),
            longest_s=longest,
            shortest_s_per_epoch=shortest,
        )


def _pick(entries: BatchEntries, trainings: IntArray) -> tuple[FloatArray, FloatArray]:
    """[n] validation errors and [n] times of one training each."""
    n = np.arange(len(trainings))
    return entries.validation_error[n, trainings], entries.training_time_s[n, trainings]


def _drawn(draws: npt.NDArray[np.uint64], rows: npt.NDArray[np.int32], epochs: int, n_trainings: int) -> IntArray:
    """[n] a training for each, by a hash: the finalizer of SplitMix64 (Steele et al., 2014), twice."""
    mixed = _mix(_mix(draws ^ rows.astype(np.uint64)) ^ np.uint64(epochs))
    return (mixed % np.uint64(n_trainings)).astype(np.int64)


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
