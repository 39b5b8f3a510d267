"""Many repeats of baselines on one table, each to the same limit, on any number of processes.

A repeat draws from a generator of its own, derived from (seed, method, number of the repeat). So its course is the
same beside whatever other repeats, on any number of processes, and after any interruption.

Time: the training time of the table, added up; each training starts from scratch, the larger ones of Hyperband too.

Limit: ``evaluations`` are full trainings. A repeat may use up the epochs of so many, in any portions: methods that
train at the largest number of epochs alone make so many evaluations, Hyperband and BOHB make more and smaller ones.
With ``time_limit_s``, the evaluations that have ended by then count. The first evaluation beyond a limit ends a repeat.

Differs from the original: automl/nasbench-1shot1 gives Hyperband and BOHB 280 iterations of successive halving and
cuts them at the epochs of 280 full trainings when it draws.
"""

from __future__ import annotations

import math
import multiprocessing
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from nas.blackbox import BASELINES, find_baseline
from nas.blackbox.baseline import IntArray, Questions, Task
from nas.blackbox.experiment_file import ExperimentFile, ExperimentSpec, Header, Repeat
from nas.blackbox.problem import Problem
from nas.tabular import open_table
from spaces import SEARCH_SPACES

_BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Round:
    """One evaluation of each of the repeats that run side by side.

    Attributes:
        questions: [n]
        trainings: [n] which training was drawn; None for the mean.
        counts: [n] whether the evaluation lies within the limit.
    """

    questions: Questions
    trainings: IntArray | None
    counts: _BoolArray


def generator_of(seed: int, method: str, repeat: int) -> np.random.Generator:
    """The generator of a repeat."""
    return np.random.default_rng([seed, zlib.crc32(method.encode()), repeat])


def draws_of(seed: int, repeat: int) -> int:
    """The number that decides on the draws of a repeat's trainings, whatever the method; in 0..2^64-1."""
    return int(np.random.SeedSequence([seed, repeat]).generate_state(1, np.uint64)[0])


def open_problem(spec: ExperimentSpec) -> Problem:
    """The space and the table of an experiment.

    Raises:
        ValueError: There is no such space or table, or the table lacks cells of the space.
    """
    if spec.search_space not in SEARCH_SPACES:
        raise ValueError(f"--search-space: got {spec.search_space!r}, expected one of {', '.join(SEARCH_SPACES)}")
    return Problem(SEARCH_SPACES[spec.search_space], open_table(spec.table))


def header_of(spec: ExperimentSpec) -> Header:
    """Checks an experiment, and finds what all of its repeats share.

    Raises:
        ValueError: There is no such space or table, the table lacks cells of the space, or the limit lies below one
            evaluation.
    """
    problem = open_problem(spec)
    extremes = problem.extremes()
    if (spec.evaluations is None) == (spec.time_limit_s is None):
        raise ValueError("--evaluations and --time-limit-s: expected exactly one of them")
    if spec.evaluations is not None:
        if spec.evaluations < 1:
            raise ValueError(f"--evaluations: got {spec.evaluations}, expected at least 1")
        most_epochs = spec.evaluations * problem.epochs[-1]
    else:
        assert spec.time_limit_s is not None
        if not extremes.longest_s <= spec.time_limit_s < math.inf:
            raise ValueError(
                f"--time-limit-s: got {spec.time_limit_s:g} s, expected at least {extremes.longest_s:.1f} s, the "
                f"longest training of search space {spec.search_space} in table {problem.table.name}, so that each "
                "repeat ends one"
            )
        most_epochs = math.ceil(spec.time_limit_s / extremes.shortest_s_per_epoch)
    return Header(
        experiment=spec,
        epochs=problem.epochs,
        best_validation_error=extremes.validation_error,
        best_test_error=extremes.test_error,
        most_epochs=most_epochs,
    )


def run_experiment(
    file: ExperimentFile,
    methods: Sequence[str],
    n_repeats: int,
    *,
    n_processes: int = 1,
    on_done: Callable[[int], None] | None = None,
) -> None:
    """Runs what the file lacks of the first ``n_repeats`` repeats of each method, and appends it.

    Args:
        file: The experiment's.
        methods: Names of baselines.
        n_repeats: How many repeats of each the file is to hold.
        n_processes: How many processes; with 1 this one.
        on_done: Called with the number of repeats that have just been written.

    Raises:
        ValueError: There is no such method or none was named, or the number of repeats or of processes is below 1.
        MissingExtraError: A method needs a library that is not installed.
    """
    if not methods:
        raise ValueError(f"--methods: no baseline was named; name some of {', '.join(BASELINES)}")
    if n_repeats < 1:
        raise ValueError(f"--repeats: got {n_repeats}, expected at least 1")
    if n_processes < 1:
        raise ValueError(f"--processes: got {n_processes}, expected at least 1")
    tasks = []
    for method in dict.fromkeys(methods):
        find_baseline(method).check_installed()
        missing = sorted(set(range(n_repeats)) - file.done(method))
        at_once = min(find_baseline(method).most_side_by_side, -(-len(missing) // n_processes))
        tasks += [(method, missing[i : i + at_once]) for i in range(0, len(missing), max(at_once, 1))]

    def keep(repeats: list[Repeat]) -> None:
        file.append(repeats)
        if on_done is not None:
            on_done(len(repeats))

    if n_processes == 1:
        for method, missing in tasks:
            keep(run_repeats(file.header, method, missing))
        return
    # Not forked: a process with threads, as any that has loaded NumPy, is no safe parent of a fork.
    executor = ProcessPoolExecutor(n_processes, mp_context=multiprocessing.get_context("spawn"))
    try:
        for future in as_completed([executor.submit(run_repeats, file.header, *task) for task in tasks]):
            keep(future.result())
    finally:
        executor.shutdown(cancel_futures=True)


@lru_cache(maxsize=1)
def _problem(spec: ExperimentSpec) -> Problem:
    """The problem of a process, opened once."""
    return open_problem(spec)


def run_repeats(header: Header, method: str, repeats: Sequence[int]) -> list[Repeat]:
    """Runs repeats of a method side by side, each to the limit."""
    spec = header.experiment
    problem = _problem(spec)
    task = Task(problem.space, problem.epochs, header.most_epochs)
    baseline = find_baseline(method)(task, [generator_of(spec.seed, method, repeat) for repeat in repeats])
    draws = np.array([draws_of(spec.seed, repeat) for repeat in repeats], dtype=np.uint64) if spec.is_drawn else None
    rounds: list[_Round] = []
    epochs, seconds = np.zeros(len(repeats), dtype=np.int64), np.zeros(len(repeats))
    counts: _BoolArray = np.ones(len(repeats), dtype=bool)
    while True:
        questions = baseline.ask()
        answers = problem.answer(questions, draws)
        epochs += questions.epochs
        seconds += answers.training_time_s
        counts = counts & (seconds <= spec.time_limit_s if spec.time_limit_s else epochs <= header.most_epochs)
        if not counts.any():
            return [_repeat(method, repeat, i, rounds) for i, repeat in enumerate(repeats)]
        rounds.append(_Round(questions, answers.trainings, counts))
        baseline.tell(answers.validation_error)


def _repeat(method: str, repeat: int, i: int, rounds: Sequence[_Round]) -> Repeat:
    """The record of the i-th of the repeats that ran side by side."""
    own = [each for each in rounds if each.counts[i]]
    epochs = tuple(int(each.questions.epochs[i]) for each in own)
    trainings = tuple(int(each.trainings[i]) for each in own if each.trainings is not None)
    return Repeat(
        method=method,
        repeat=repeat,
        indices=tuple(int(each.questions.indices[i]) for each in own),
        epochs=epochs[0] if len(set(epochs)) == 1 else epochs,
        trainings=trainings or None,
    )
