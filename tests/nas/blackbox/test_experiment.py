"""Whole experiments: every baseline, the limits, the incumbents, and each fault of the public code that ours lacks."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nas.blackbox import BASELINES, find_baseline
from nas.blackbox.baseline import Task
from nas.blackbox.experiment import generator_of, header_of, open_problem, run_experiment, run_repeats
from nas.blackbox.experiment_file import ExperimentFile, ExperimentSpec, Header, Repeat
from nas.blackbox.trajectory import Trajectory
from nas.tabular import open_table
from results import journal
from spaces import SEARCH_SPACES

DIGITS = open_table("digits")
INSTALLED = [
    name for name in BASELINES if find_baseline(name).needs is None or find_spec(str(find_baseline(name).needs))
]
#: Those that ask for the largest number of epochs alone.
FULL = ["random_search", "regularized_evolution", "reinforce"]


def spec(**fields: object) -> ExperimentSpec:
    values = {"search_space": "1", "table": "digits", "evaluations": 6} | fields
    return ExperimentSpec(**values)  # type: ignore[arg-type]


def run(
    tmp_path: Path, methods: list[str], n_repeats: int = 3, name: str = "x.jsonl", **fields: object
) -> ExperimentFile:
    file = ExperimentFile.create_or_open(tmp_path / name, header_of(spec(**fields)))
    run_experiment(file, methods, n_repeats)
    return file


def trajectories(file: ExperimentFile) -> dict[str, list[Trajectory]]:
    return file.trajectories(open_problem(file.header.experiment))


@pytest.mark.parametrize("method", INSTALLED)
@pytest.mark.parametrize("space", SEARCH_SPACES.values(), ids=lambda space: space.name)
def test_every_baseline_asks_in_every_space(method: str, space: object) -> None:
    """Faults 1, 2, 3: in spaces 1 and 3 five public scripts end with an empty history, and three do not start."""
    task = Task(space, epochs=(4, 12, 36, 108), most_epochs=8 * 108)  # type: ignore[arg-type]
    baseline = find_baseline(method)(task, [generator_of(0, method, 0)])
    indices = []
    for step in range(6):
        questions = baseline.ask()
        assert questions.epochs[0] in task.epochs
        indices.append(int(questions.indices[0]))
        baseline.tell(np.array([0.1 + (step * 7 % 5) / 10]))
    assert all(0 <= index < task.space.size for index in indices)
    assert len(set(indices)) > 1


@pytest.mark.parametrize("is_drawn", [False, True])
@pytest.mark.parametrize("method", INSTALLED)
def test_the_seed_decides_on_everything(method: str, is_drawn: bool, tmp_path: Path) -> None:
    """Fault 4: only NumPy's generator was seeded. Here each repeat has its own, and no other."""
    header = header_of(spec(is_drawn=is_drawn))
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002  # the global one is what must be of no influence
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    first = run_repeats(header, method, [0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # type: ignore[index]  # noqa: NPY002
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert run_repeats(header, method, [0]) == first
    assert run_repeats(header, method, [1])[0].indices != first[0].indices
    other = header_of(spec(is_drawn=is_drawn, seed=1))
    assert run_repeats(other, method, [0])[0].indices != first[0].indices


_SCRIPT = """
import sys
from nas.blackbox.experiment import header_of, run_repeats
from nas.blackbox.experiment_file import ExperimentSpec
header = header_of(ExperimentSpec(search_space="1", table="digits", evaluations=25))
print([run_repeats(header, method, [0])[0].indices for method in sys.argv[1:]])
"""


def test_every_process_runs_the_same_course() -> None:
    """The order of a set of texts differs between processes; SMAC's search followed one."""
    courses = {
        subprocess.run(
            [sys.executable, "-c", _SCRIPT, *INSTALLED],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(courses) == 1


@pytest.mark.parametrize("method", ["random_search", "regularized_evolution"])
def test_first_draws_are_uniform_over_the_encoding(method: str) -> None:
    space = SEARCH_SPACES["2"]
    rngs = [np.random.default_rng(i) for i in range(4000)]
    choices = space.decode_choices(find_baseline(method)(Task(space, (108,), 1080), rngs).ask().indices)
    for i, n_values in enumerate(space.radices):
        assert np.bincount(choices[:, i], minlength=n_values) / 4000 == pytest.approx(1 / n_values, abs=0.03)


def test_methods_share_no_generator() -> None:
    assert generator_of(0, "hyperband", 3).random() != generator_of(0, "bohb", 3).random()
    assert generator_of(0, "hyperband", 3).random() == generator_of(0, "hyperband", 3).random()


@pytest.mark.parametrize("method", FULL)
def test_no_repeat_knows_of_another(method: str) -> None:
    """Fault 8: REINFORCE's history was shared by all seeds."""
    header = header_of(spec(evaluations=130, is_drawn=True))
    together = run_repeats(header, method, range(4))
    assert together == [run_repeats(header, method, [repeat])[0] for repeat in range(4)]


def test_processes_are_of_no_influence(tmp_path: Path) -> None:
    header = header_of(spec(evaluations=20))
    files = [ExperimentFile.create_or_open(tmp_path / name, header) for name in "ab"]
    for file, n_processes in zip(files, (1, 2), strict=True):
        run_experiment(file, ["regularized_evolution", "random_search"], 5, n_processes=n_processes)
    lines = [sorted(map(str, journal.read(file.path))) for file in files]
    assert lines[0] == lines[1]
    assert len(lines[0]) == 11


def test_a_file_goes_on_where_it_was_and_a_missing_repeat_ends_nothing(tmp_path: Path) -> None:
    """Fault 5: one missing seed ended the loop."""
    whole = run(tmp_path, FULL, 4)
    header, *lines = whole.path.read_text().splitlines(keepends=True)
    path = tmp_path / "torn.jsonl"
    path.write_text(header + lines[0] + lines[2] + lines[3][:40])
    torn = ExperimentFile.open(path)
    assert torn.done("random_search") == {0, 2}
    assert [t.repeat for t in trajectories(torn)["random_search"]] == [0, 2]
    n_written: list[int] = []
    run_experiment(torn, FULL, 4, on_done=n_written.append)
    assert sum(n_written) == 10
    assert sorted(path.read_text().splitlines()) == sorted(whole.path.read_text().splitlines())
    run_experiment(torn, FULL, 4, on_done=n_written.append)
    assert sum(n_written) == 10


def by_hand(epochs: list[int], validation: list[float], test: list[float] | None = None) -> Trajectory:
    errors = np.array(validation)
    return Trajectory(
        method="x", repeat=0, indices=np.arange(len(epochs)), epochs=np.array(epochs), validation_error=errors,
        end_s=np.arange(1.0, len(epochs) + 1), mean_validation_error=errors,
        trainings=None, test_errors=np.array(validation if test is None else test)[:, None],
        queried_test_errors=np.array(validation if test is None else test)[:, None],
    )  # fmt: skip


def test_the_validation_error_alone_chooses_the_incumbent() -> None:
    """Fault 6: the test error of one random training did. Ties keep the first."""
    full = [108] * 5
    assert by_hand(full, [0.5, 0.4, 0.4, 0.6, 0.3], test=[0.1, 0.9, 0.0, 0.2, 0.8]).incumbents().tolist() == [
        0,
        1,
        1,
        1,
        4,
    ]


def test_larger_epochs_are_preferred_and_nothing_later_counts() -> None:
    """Fault 10: early times were filled with later values."""
    epochs, errors = [4, 4, 12, 4, 12, 108, 12], [0.3, 0.2, 0.5, 0.1, 0.4, 0.6, 0.1]
    assert by_hand(epochs, errors).incumbents().tolist() == [0, 1, 2, 2, 4, 5, 5]
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 30))
        epochs, errors = rng.choice([4, 12, 36], n).tolist(), (rng.integers(5, size=n) / 10).tolist()
        whole = by_hand(epochs, errors).incumbents()
        for m in range(1, n + 1):
            top = max(epochs[:m])
            assert whole[m - 1] == min((e, i) for i, e in enumerate(errors[:m]) if epochs[i] == top)[1]


def test_hyperbands_cells_are_reported_at_the_largest_epochs(tmp_path: Path) -> None:
    """Fault 7: the test accuracy at the queried epochs was compared with a minimum at 108."""
    (trajectory,) = trajectories(run(tmp_path, ["hyperband"], 1, evaluations=20))["hyperband"]
    assert set(trajectory.epochs.tolist()) == {1, 4, 12}
    space = SEARCH_SPACES["1"]
    for i in range(0, len(trajectory.indices), 7):
        cell = space.cell_of(int(trajectory.indices[i]))
        assert trajectory.mean_test_error[i] == DIGITS.query(cell).mean_test_error
        seen = DIGITS.query(cell, int(trajectory.epochs[i]))
        assert trajectory.validation_error[i] == pytest.approx(seen.mean_validation_error, abs=1e-15)


@pytest.mark.parametrize("method", ["regularized_evolution", "hyperband"])
@pytest.mark.parametrize("is_drawn", [False, True])
def test_time_is_the_sum_of_all_trainings(method: str, is_drawn: bool, tmp_path: Path) -> None:
    """Faults 9 and 12: times were added up in place and again; three trainings were paid for one answer."""
    file = run(tmp_path, [method], 1, evaluations=15, is_drawn=is_drawn)
    (trajectory,) = trajectories(file)[method]
    record = Repeat.from_dict(journal.read(file.path)[1], "line")
    total = 0.0
    for i, (index, epochs) in enumerate(zip(trajectory.indices.tolist(), trajectory.epochs.tolist(), strict=True)):
        entry = DIGITS.query(SEARCH_SPACES["1"].cell_of(index), epochs)
        paid = entry.mean_training_time_s
        if record.trainings is not None:
            paid = entry.training_time_s[record.trainings[i]]
            assert trajectory.validation_error[i] == entry.validation_error[record.trainings[i]]
        total += paid
        assert trajectory.end_s[i] == pytest.approx(total, rel=1e-12)
    assert (record.trainings is not None) == is_drawn


def test_a_training_is_drawn_once_for_each_cell_and_epochs(tmp_path: Path) -> None:
    """Fault 4's other half: a query drew one of the three anew. Isomorphs are one cell."""
    file = run(tmp_path, ["regularized_evolution", "hyperband"], 10, evaluations=40, is_drawn=True)
    drawn: dict[tuple[int, str, int], int] = {}
    n_equal, n_of = 0, np.zeros(3)
    for line in journal.read(file.path)[1:]:
        record = Repeat.from_dict(line, "line")
        epochs = [record.epochs] * len(record.indices) if isinstance(record.epochs, int) else record.epochs
        assert record.trainings is not None
        for index, at, training in zip(record.indices, epochs, record.trainings, strict=True):
            key = (record.repeat, SEARCH_SPACES["1"].cell_of(index).hash, at)
            n_equal += key in drawn
            n_of[training] += key not in drawn
            assert drawn.setdefault(key, training) == training
    assert n_equal > 50
    for of_one in ((1, 2), (0, 1)):  # the same cell and epochs in several repeats; a cell of a repeat at several epochs
        together: dict[object, set[int]] = {}
        for key, training in drawn.items():
            together.setdefault(tuple(key[i] for i in of_one), set()).add(training)
        assert max(map(len, together.values())) > 1
    assert n_of / n_of.sum() == pytest.approx(1 / 3, abs=0.05)


def test_evolution_evolves_with_its_defaults_and_no_regret_is_negative(tmp_path: Path) -> None:
    """Fault 11: a population as large as the number of evaluations, and validation regrets below zero."""
    file = run(tmp_path, ["regularized_evolution", "random_search"], 20, evaluations=280, is_drawn=True)
    found = trajectories(file)
    for of_method in found.values():
        for trajectory in of_method:
            best = trajectory.incumbents()
            assert len(best) == 280
            assert (trajectory.mean_validation_error[best] >= file.header.best_validation_error).all()
            assert (trajectory.mean_test_error[best] >= file.header.best_test_error).all()
    late = {
        method: np.mean([t.validation_error[200:].mean() for t in of_method]) for method, of_method in found.items()
    }
    assert late["regularized_evolution"] < 0.9 * late["random_search"]


def test_evolution_beats_random_search(tmp_path: Path) -> None:
    """On the embedded table, by both regrets: the 99 % interval of the difference is below 0."""
    file = run(tmp_path, ["regularized_evolution", "random_search"], 200, evaluations=280)
    final = {
        method: np.array([[t.mean_validation_error[i], t.mean_test_error[i]] for t in of for i in t.incumbents()[-1:]])
        for method, of in trajectories(file).items()
    }
    difference = final["regularized_evolution"] - final["random_search"]
    half_width = 2.58 * difference.std(axis=0, ddof=1) / np.sqrt(len(difference))
    assert (difference.mean(axis=0) + half_width < 0).all()


@pytest.mark.parametrize("method", ["hyperband", "bohb"])
def test_hyperbands_counts_are_its_formula(method: str, tmp_path: Path) -> None:
    """Over 1, 4 and 12 epochs with eta 3, by hand: 9 3 1, then 3 1, then 3, which makes 33, 24 and 36 epochs."""
    turn = [*[1] * 9, *[4] * 3, 12, *[4] * 3, 12, *[12] * 3]
    (trajectory,) = trajectories(run(tmp_path, [method], 1, evaluations=20))[method]
    budget = 20 * 12
    expected = (turn * 10)[: int(np.searchsorted(np.cumsum(turn * 10), budget, side="right"))]
    assert trajectory.epochs.tolist() == expected
    assert sum(expected) <= budget < sum(expected) + 12
    for start in range(0, len(expected) - 20, 20):  # the best of a rung, and no others, are trained on
        rungs = [trajectory.indices[start + a : start + b] for a, b in ((0, 9), (9, 12), (12, 13))]
        errors = [trajectory.validation_error[start + a : start + b] for a, b in ((0, 9), (9, 12))]
        for (low, high), error in zip(pairwise(rungs), errors, strict=True):
            assert sorted(high.tolist()) == sorted(low[np.argsort(error, kind="stable")[: len(high)]].tolist())


def test_bohb_uses_its_model(tmp_path: Path) -> None:
    """What it proposes, which runs at one epoch first, is better than uniform draws."""
    found = trajectories(run(tmp_path, ["hyperband", "bohb"], 3, evaluations=80))
    proposed = {m: np.mean([t.mean_validation_error[t.epochs == 1].mean() for t in of]) for m, of in found.items()}
    assert proposed["bohb"] < 0.85 * proposed["hyperband"]


@pytest.mark.parametrize("method", INSTALLED)
def test_a_time_limit_counts_what_has_ended(method: str, tmp_path: Path) -> None:
    limit_s = 3.0
    file = run(tmp_path, [method], 2, evaluations=None, time_limit_s=limit_s)
    unlimited = run_repeats(header_of(spec(evaluations=20)), method, [0, 1]) if method in FULL else None
    for i, trajectory in enumerate(trajectories(file)[method]):
        assert 0 < trajectory.end_s[-1] <= limit_s
        if unlimited is not None:
            longer = unlimited[i].indices
            assert longer[: len(trajectory.indices)] == tuple(trajectory.indices.tolist())
            following = DIGITS.query(SEARCH_SPACES["1"].cell_of(longer[len(trajectory.indices)]))
            assert trajectory.end_s[-1] + following.mean_training_time_s > limit_s


def test_the_extremes_are_those_of_the_whole_space() -> None:
    header: Header = header_of(spec())
    entries = [DIGITS.query(cell) for cell in DIGITS.cells()]  # all of them are cells of space 1
    assert header.best_test_error == pytest.approx(min(e.mean_test_error for e in entries), abs=1e-15)
    assert header.best_validation_error == pytest.approx(min(e.mean_validation_error for e in entries), abs=1e-15)
    assert header.epochs == DIGITS.budgets
