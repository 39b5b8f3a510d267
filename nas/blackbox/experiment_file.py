"""The file of an experiment: what every repeat asked, a line each.

The first line describes the experiment; each other one is a repeat: its architectures, their epochs, and which of the
table's trainings were drawn. Errors and times are looked up in the table when they are needed. The file is a journal
(``results.journal``): it can be added to at any time, by more repeats and more methods, and survives a crash.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nas.blackbox.baseline import Questions
from nas.blackbox.problem import Problem
from nas.blackbox.trajectory import Trajectory
from results import journal
from results.record_base import Record

#: Changes with the layout; a reader refuses any other.
FORMAT = 1


class ExperimentSpec(Record, frozen=True, kw_only=True):
    """What decides on the course of every repeat.

    Attributes:
        search_space: A key of ``spaces.SEARCH_SPACES``.
        table: A key of ``nas.tabular.TABLES``, or the path of a store.
        seed: Seed of the experiment; a repeat's generator is derived from it.
        evaluations: Full trainings whose epochs a repeat may use up; None with a time limit.
        time_limit_s: Simulated seconds of a repeat; None with a number of evaluations.
        is_drawn: Whether an answer is one of the table's trainings, and not their mean.
    """

    search_space: str
    table: str
    seed: int = 0
    evaluations: int | None = 280
    time_limit_s: float | None = None
    is_drawn: bool = False


class Header(Record, frozen=True, kw_only=True):
    """The first line of the file.

    Attributes:
        experiment: Settings that every repeat follows from.
        epochs: Training epochs that the table holds, ascending.
        best_validation_error: Lowest mean validation error in the space, at the largest of these epochs.
        best_test_error: Lowest mean test error in the space, at the same epochs.
        most_epochs: Upper bound of the epochs of a repeat.
        format: The version of this layout.
    """

    experiment: ExperimentSpec
    epochs: tuple[int, ...]
    best_validation_error: float
    best_test_error: float
    most_epochs: int
    format: int = FORMAT


class Repeat(Record, frozen=True, kw_only=True):
    """One repeat of one method.

    Attributes:
        method: A key of ``BASELINES``.
        repeat: Its number, from 0.
        indices: [m] encoded architectures, in the order in which they were trained.
        epochs: [m] training epochs; a single number where all are the same.
        trainings: [m] which of the table's trainings were drawn; None for their mean.
    """

    method: str
    repeat: int
    indices: tuple[int, ...]
    epochs: tuple[int, ...] | int
    trainings: tuple[int, ...] | None = None


class ExperimentFile:
    """See the module.

    Attributes:
        path: The file.
        header: Its first line.
    """

    def __init__(self, path: Path, header: Header, done: Iterable[tuple[str, int]]) -> None:
        self.path = path
        self.header = header
        self._done = set(done)

    @classmethod
    def open(cls, path: Path) -> ExperimentFile:
        """The file at ``path``.

        Raises:
            ValueError: There is none, or its first line describes no experiment of this version.
        """
        header, repeats = _read(path)
        return cls(path, header, ((repeat.method, repeat.repeat) for repeat in repeats))

    @classmethod
    def create_or_open(cls, path: Path, header: Header) -> ExperimentFile:
        """The file at ``path``, a new one where there is none: it is written with its first repeats.

        Raises:
            ValueError: A file is there, and is of another experiment.
        """
        if not path.exists():
            return cls(path, header, ())
        file = cls.open(path)
        theirs, ours = ({**h.to_dict(), **h.experiment.to_dict()} for h in (file.header, header))
        different = [name for name in ours if name != "experiment" and theirs[name] != ours[name]]
        if different:
            name = different[0] if different[0] in ours["experiment"] else different[-1]
            raise ValueError(
                f"--output: {path} is of another experiment: got {name} {theirs[name]}, expected {ours[name]}; give "
                "another file"
            )
        return file

    def done(self, method: str) -> set[int]:
        """The numbers of the repeats of a method that the file holds."""
        return {repeat for name, repeat in self._done if name == method}

    def append(self, repeats: Iterable[Repeat]) -> None:
        """Adds repeats; they are on disk when this returns.

        Raises:
            OSError: They could not be written.
        """
        new = list(repeats)
        lines = [repeat.to_dict() for repeat in new]
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines.insert(0, self.header.to_dict())
        journal.append(self.path, *lines)
        self._done.update((repeat.method, repeat.repeat) for repeat in new)

    def trajectories(self, problem: Problem) -> dict[str, list[Trajectory]]:
        """Method -> its repeats in the order of their numbers, with errors and times from the table.

        Raises:
            ValueError: A repeat asks for what the table does not hold.
        """
        found: dict[str, dict[int, Trajectory]] = {}
        for number, repeat in enumerate(_read(self.path)[1], start=2):
            try:
                found.setdefault(repeat.method, {})[repeat.repeat] = _trajectory(repeat, problem)
            except ValueError as error:
                raise ValueError(f"{self.path}, line {number}: {error}") from error
        return {method: [of_method[i] for i in sorted(of_method)] for method, of_method in found.items()}


def _read(path: Path) -> tuple[Header, list[Repeat]]:
    """The header and the repeats of a file."""
    lines = journal.read(path)
    first = lines[0] if lines else None
    found = first.get("format") if isinstance(first, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path}: got format {found!r}, expected {FORMAT}: the first line of an experiment's file")
    where = [f"{path}, line {number}" for number in range(1, len(lines) + 1)]
    repeats = [Repeat.from_dict(line, name) for line, name in zip(lines[1:], where[1:], strict=True)]
    return Header.from_dict(first, where[0]), repeats


def _trajectory(repeat: Repeat, problem: Problem) -> Trajectory:
    indices = np.array(repeat.indices, dtype=np.int64)
    epochs = np.broadcast_to(np.array(repeat.epochs, dtype=np.int64), indices.shape)
    questions = Questions(indices, epochs)
    answers = problem.answer_again(questions, repeat.trainings)
    final = problem.table.query_indices(problem.space, indices)
    return Trajectory(
        method=repeat.method,
        repeat=repeat.repeat,
        indices=indices,
        epochs=epochs,
        validation_error=answers.validation_error,
        end_s=np.cumsum(answers.training_time_s),
        trainings=answers.trainings,
        mean_validation_error=final.mean_validation_error,
        test_errors=final.test_error,
        queried_test_errors=problem.test_errors(questions),
    )
