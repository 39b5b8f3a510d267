"""What an experiment asks of a baseline.

Notation:
    n: number of repeats that run side by side.
    C: number of categorical choices of an architecture, ``len(space.radices)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from spaces import SearchSpace

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: How many rounds of random numbers are drawn at once; of no influence on their values.
_ROUNDS_AHEAD = 64


class MissingExtraError(ValueError):
    """A baseline needs a library that is not installed."""


@dataclass(frozen=True)
class Task:
    """What a baseline knows before it asks.

    Attributes:
        space: The search space.
        epochs: Training epochs that the table holds, ascending.
        most_epochs: Upper bound of the training epochs that a repeat can use up.
    """

    space: SearchSpace
    epochs: tuple[int, ...]
    most_epochs: int


@dataclass(frozen=True)
class Questions:
    """One training for each repeat.

    Attributes:
        indices: [n] encoded architectures, see ``SearchSpace.encode``.
        epochs: [n] training epochs of the table.
    """

    indices: IntArray
    epochs: IntArray


class Baseline(ABC):
    """n repeats of a method, side by side; a subclass is one file and one line in ``BASELINES``.

    ``ask`` and ``tell`` alternate. Every repeat draws from its own generator alone, so its course does not depend
    on the repeats beside it.

    Attributes:
        most_side_by_side: How many repeats at once are worth it: many for a vectorised method, else one.
        needs: Package of the extra ``baselines`` that the method needs, if any.
    """

    most_side_by_side: ClassVar[int] = 128
    needs: ClassVar[str | None] = None

    def __init__(self, task: Task, rngs: Sequence[np.random.Generator]) -> None:
        """Begins [n] repeats.

        Args:
            task: What is searched.
            rngs: [n] a generator for each repeat, which owns it from now on.
        """
        self.task = task
        self.n_repeats = len(rngs)

    @classmethod
    def check_installed(cls) -> None:
        """Checks that the library of the method is there, without loading it.

        Raises:
            MissingExtraError: It is not installed.
        """
        if cls.needs is not None and find_spec(cls.needs) is None:
            raise MissingExtraError(
                f"--methods: {cls.__name__.lower()} needs the package {cls.needs}, which is not installed; install "
                "nasbohb[baselines]"
            )

    @abstractmethod
    def ask(self) -> Questions:
        """The next training of every repeat."""

    @abstractmethod
    def tell(self, validation_error: FloatArray) -> None:
        """Takes the [n] answers to the last questions."""

    def _at_most_epochs(self, indices: npt.NDArray[np.integer]) -> Questions:
        """Questions at the table's largest number of epochs, for methods that know no other."""
        return Questions(indices.astype(np.int64), np.full(self.n_repeats, self.task.epochs[-1], dtype=np.int64))


class SingleBaseline(Baseline):
    """A method that runs one repeat at a time, as one that is driven by a library does."""

    most_side_by_side: ClassVar[int] = 1

    def __init__(self, task: Task, rngs: Sequence[np.random.Generator]) -> None:
        super().__init__(task, rngs)
        (rng,) = rngs
        self.begin(rng)

    @abstractmethod
    def begin(self, rng: np.random.Generator) -> None:
        """Begins the repeat, whose generator is given."""

    @abstractmethod
    def ask_one(self) -> tuple[int, int]:
        """The next training: an encoded architecture, and its epochs."""

    @abstractmethod
    def tell_one(self, validation_error: float) -> None:
        """Takes the answer to the last question."""

    def ask(self) -> Questions:
        """The next training, as [1]."""
        index, epochs = self.ask_one()
        return Questions(np.array([index], dtype=np.int64), np.array([epochs], dtype=np.int64))

    def tell(self, validation_error: FloatArray) -> None:
        """Takes the answer, as [1]."""
        self.tell_one(float(validation_error[0]))


class UniformNumbers:
    """Uniform random numbers of n repeats, the same whatever repeats run beside each other."""

    def __init__(self, rngs: Sequence[np.random.Generator], width: int) -> None:
        """Numbers from [n] generators, ``width`` in each round."""
        self._rngs = rngs
        self._width = width
        self._rounds: FloatArray = np.empty((len(rngs), 0, width))
        self._position = 0

    def next(self) -> FloatArray:
        """[n, width] numbers in [0, 1) of the next round."""
        if self._position == self._rounds.shape[1]:
            self._rounds = np.stack([rng.random((_ROUNDS_AHEAD, self._width)) for rng in self._rngs])
            self._position = 0
        self._position += 1
        return self._rounds[:, self._position - 1]
