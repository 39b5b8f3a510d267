"""Regularized evolution against Algorithm 1 of Real et al., member by member, and against steps worked by hand."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from nas.blackbox.baseline import Task
from nas.blackbox.regularized_evolution import Mutations, RegularizedEvolution
from spaces import OPERATIONS, SEARCH_SPACES, SearchSpace

#: Parents (0), (0 or 1), (two of 0, 1, 2): radices 1, 2, 3 and 3, 3.
TINY = SearchSpace("tiny", n_parents=(1, 1, 2))


def error_of(index: int) -> float:
    """An error in [0, 1] without order."""
    return (index * 7919 % 101) / 101


def algorithm_1(
    space: SearchSpace, rng: np.random.Generator, n: int, population_size: int, tournament: int
) -> list[int]:
    """The first n architectures, one at a time, as the paper's pseudocode has it."""
    width = max(len(space.radices), tournament + 3)
    numbers = rng.random((n, width))
    population: collections.deque[tuple[list[int], float]] = collections.deque()
    asked = []
    for row in numbers:
        if len(population) < population_size:
            child = [int(u * r) for u, r in zip(row, space.radices, strict=False)]
        else:
            sample = [population[int(u * population_size) - len(asked) % population_size] for u in row[:tournament]]
            parent = max(sample, key=lambda member: -member[1])
            child = mutation_by_words(space, parent[0], *row[tournament : tournament + 3])
            population.popleft()
        index = int(space.encode_choices(child))
        asked.append(index)
        population.append((child, error_of(index)))
    return asked


def mutation_by_words(space: SearchSpace, choices: list[int], kind: float, where: float, to: float) -> list[int]:
    """The module's mutation, on lists of parents and operations."""
    parents = [list(sets[i]) for sets, i in zip(space.parent_sets, choices, strict=False)]
    child = list(choices)
    if kind * 3 >= 2:
        block = len(parents) + int(where * space.n_blocks)
        child[block] = (choices[block] + 1 + int(to * 2)) % 3
    elif kind * 3 >= 1:
        node = [v for v in range(len(parents)) if len(parents[v]) <= v][
            int(where * sum(len(p) <= v for v, p in enumerate(parents)))
        ]
        others = [i for i, s in enumerate(space.parent_sets[node]) if len(set(s) & set(parents[node])) == len(s) - 1]
        child[node] = others[int(to * len(others))]
    return child


@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_it_asks_what_algorithm_1_asks(name: str) -> None:
    space = SEARCH_SPACES[name]
    task = Task(space, epochs=(4, 108), most_epochs=10**6)
    evolution = RegularizedEvolution(
        task, [np.random.default_rng(seed) for seed in range(3)], population_size=12, tournament_size=4
    )
    asked = []
    for _ in range(100):
        questions = evolution.ask()
        assert questions.epochs.tolist() == [108] * 3
        asked.append(questions.indices.tolist())
        evolution.tell(np.array([error_of(index) for index in asked[-1]]))
    for i in range(3):
        assert [row[i] for row in asked] == algorithm_1(space, np.random.default_rng(i), 100, 12, 4)


def test_the_oldest_leaves_even_if_it_is_the_best() -> None:
    """Of a population of 2, the first member is perfect: both its successors descend from it, none after them."""
    task = Task(SEARCH_SPACES["1"], epochs=(108,), most_epochs=10**6)
    space = task.space
    for seed in range(20):
        evolution = RegularizedEvolution(task, [np.random.default_rng(seed)], population_size=2, tournament_size=40)
        asked = []
        for error in (0.0, 0.5, 0.4, 0.3):
            asked.append(space.decode_choices(evolution.ask().indices[0]))
            evolution.tell(np.array([error]))
        first, _, child, grandchild = asked
        assert (child != first).sum() <= 1
        assert (grandchild != child).sum() <= 1  # the first has left; the child is better than the second


def test_a_tournament_draws_with_replacement() -> None:
    """With 3 of 3 members drawn, the best would always win without replacement; with it, 8 in 27 miss it."""
    task = Task(SEARCH_SPACES["3"], epochs=(108,), most_epochs=10**6)
    rngs = [np.random.default_rng(seed) for seed in range(2000)]
    evolution = RegularizedEvolution(task, rngs, population_size=3, tournament_size=3)
    members = []
    for error in (0.1, 0.2, 0.3):
        members.append(evolution.ask().indices)
        evolution.tell(np.full(len(rngs), error))
    children = evolution.ask().indices
    near = [(task.space.decode_choices(m) != task.space.decode_choices(children)).sum(axis=1) <= 1 for m in members]
    missed = (~near[0]).mean()
    assert missed == pytest.approx((2 / 3) ** 3, abs=0.04)
    assert (near[2] & ~near[0] & ~near[1]).mean() == pytest.approx(1 / 27, abs=0.02)


@pytest.mark.parametrize(
    ("choices", "uniform", "expected"),
    [
        ([0, 1, 2, 0, 1], [0.33, 0.9, 0.9], [0, 1, 2, 0, 1]),  # no change
        ([0, 1, 2, 0, 1], [0.34, 0.0, 0.0], [0, 0, 2, 0, 1]),  # node 2 takes the other of its two candidates
        ([0, 1, 2, 0, 1], [0.66, 0.5, 0.0], [0, 1, 0, 0, 1]),  # the output: {1, 2} becomes {0, 1}
        ([0, 1, 2, 0, 1], [0.66, 0.99, 0.5], [0, 1, 1, 0, 1]),  # or {0, 2}
        ([0, 1, 2, 0, 1], [0.67, 0.0, 0.0], [0, 1, 2, 1, 1]),  # the first block's operation becomes the next one
        ([0, 1, 2, 0, 1], [0.99, 0.99, 0.5], [0, 1, 2, 0, 0]),  # the second block's the one after the next
    ],
)
def test_a_mutation_by_hand(choices: list[int], uniform: list[float], expected: list[int]) -> None:
    assert Mutations(TINY).mutate(np.array([choices]), np.array([uniform])).tolist() == [expected]


@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_mutations_are_uniform_over_their_kinds_and_stay_in_the_space(name: str) -> None:
    space = SEARCH_SPACES[name]
    rng = np.random.default_rng(1)
    n = 20_000
    parents = space.decode_choices(space.sample_indices(rng, n))
    children = Mutations(space).mutate(parents, rng.random((n, 3)))
    assert (space.decode_choices(space.encode_choices(children)) == children).all()
    differs = parents != children
    assert (differs.sum(axis=1) <= 1).all()
    n_nodes = space.n_blocks + 1
    of_parents, of_operations = differs[:, :n_nodes], differs[:, n_nodes:]
    assert of_parents.any(axis=1).mean() == pytest.approx(1 / 3, abs=0.015)
    assert of_operations.any(axis=1).mean() == pytest.approx(1 / 3, abs=0.015)
    nodes = [node for node in range(1, n_nodes + 1) if space.has_parent_choice(node)]
    assert of_parents.mean(axis=0)[[node - 1 for node in nodes]] == pytest.approx(1 / 3 / len(nodes), abs=0.01)
    for node in nodes:
        changed = np.flatnonzero(of_parents[:, node - 1])
        sets = space.parent_sets[node - 1]
        assert all(len({*sets[parents[i, node - 1]]} - {*sets[children[i, node - 1]]}) == 1 for i in changed)
    assert len(OPERATIONS) == 3
    assert of_operations.mean(axis=0) == pytest.approx(1 / 3 / space.n_blocks, abs=0.01)
