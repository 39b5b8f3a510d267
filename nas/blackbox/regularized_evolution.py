"""Regularized evolution: of a population that forgets its oldest, the best of a few has a child.

Notation:
    n: number of repeats. P: size of the population. T: size of the tournament. C: number of choices.

The first P architectures are drawn uniformly. From then on T members of the population are drawn with replacement,
the best of them is mutated, the child is trained, and takes the place of the oldest member. A mutation is one of
three kinds, each equally likely:
    * none: the child is its parent, and is trained, and paid for, again;
    * one parent of one node that has a choice, the output included, becomes another one;
    * the operation of one block becomes another one.

Sources: Real et al. (2019), *Regularized Evolution for Image Classifier Architecture Search*, Algorithm 1;
automl/nasbench-1shot1 (``discrete/regularized_evolution.py``), whose mutation and sizes these are.

Differs from the original: every draw, those of the tournament among them, comes from the generator of the repeat.
automl/nas_benchmarks mutates otherwise: it always changes exactly one categorical choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.blackbox.baseline import Baseline, FloatArray, IntArray, Questions, Task, UniformNumbers
from spaces import OPERATIONS, SearchSpace

#: Uniform numbers that a mutation takes: its kind, where, and to what.
_N_FOR_MUTATION = 3


class RegularizedEvolution(Baseline):
    """See the module."""

    def __init__(
        self,
        task: Task,
        rngs: Sequence[np.random.Generator],
        *,
        population_size: int = 100,
        tournament_size: int = 10,
    ) -> None:
        super().__init__(task, rngs)
        n_choices = len(task.space.radices)
        self._tournament_size = tournament_size
        self._radices = np.array(task.space.radices)
        self._mutations = Mutations(task.space)
        self._uniform = UniformNumbers(rngs, width=max(n_choices, tournament_size + _N_FOR_MUTATION))
        self._choices = np.zeros((self.n_repeats, population_size, n_choices), dtype=np.int64)
        self._errors = np.ones((self.n_repeats, population_size))
        self._children: IntArray = np.zeros((self.n_repeats, n_choices), dtype=np.int64)
        self._n_born = 0

    def ask(self) -> Questions:
        """A uniform draw, or the child of a tournament's winner, for each repeat."""
        uniform = self._uniform.next()
        if self._n_born < self._errors.shape[1]:
            self._children = (uniform[:, : len(self._radices)] * self._radices).astype(np.int64)
        else:
            winners = self._winners(uniform[:, : self._tournament_size])
            self._children = self._mutations.mutate(winners, uniform[:, self._tournament_size :])
        return self._at_most_epochs(self.task.space.encode_choices(self._children))

    def tell(self, validation_error: FloatArray) -> None:
        """The children join the population, in the places of the oldest."""
        place = self._n_born % self._errors.shape[1]
        self._choices[:, place] = self._children
        self._errors[:, place] = validation_error
        self._n_born += 1

    def _winners(self, uniform: FloatArray) -> IntArray:
        """[n, C] the best of [n, T] members drawn with replacement; the first drawn of equally good ones."""
        repeats = np.arange(self.n_repeats)
        drawn = (uniform * self._errors.shape[1]).astype(np.int64)
        best = self._errors[repeats[:, None], drawn].argmin(axis=1)
        return np.asarray(self._choices[repeats, drawn[repeats, best]])


class Mutations:
    """What an architecture of a space can become by one mutation."""

    def __init__(self, space: SearchSpace) -> None:
        """Tabulates, for each parent set of each node, the sets that differ in one parent."""
        self._n_blocks = space.n_blocks
        self._nodes = np.array([node for node in range(1, space.n_blocks + 2) if space.has_parent_choice(node)])
        neighbours = [_neighbours(sets) for sets in space.parent_sets]
        self._n_neighbours = np.array([of_node.shape[1] for of_node in neighbours])
        self._neighbours = np.zeros((len(neighbours), max(space.radices), self._n_neighbours.max()), dtype=np.int64)
        for node, of_node in enumerate(neighbours):
            self._neighbours[node, : of_node.shape[0], : of_node.shape[1]] = of_node

    def mutate(self, choices: IntArray, uniform: FloatArray) -> IntArray:
        """The children of architectures.

        Args:
            choices: [n, C] the parents.
            uniform: [n, 3 or more] numbers in [0, 1): they decide on the kind of mutation, on where, and to what.

        Returns:
            [n, C]
        """
        children = choices.copy()
        kind = (uniform[:, 0] * 3).astype(np.int64)
        rows = np.flatnonzero((kind == 1) & (len(self._nodes) > 0))
        if rows.size:
            node = self._nodes[(uniform[rows, 1] * len(self._nodes)).astype(np.int64)] - 1
            which = (uniform[rows, 2] * self._n_neighbours[node]).astype(np.int64)
            children[rows, node] = self._neighbours[node, choices[rows, node], which]
        rows = np.flatnonzero(kind == 2)
        block = self._n_blocks + 1 + (uniform[rows, 1] * self._n_blocks).astype(np.int64)
        step = 1 + (uniform[rows, 2] * (len(OPERATIONS) - 1)).astype(np.int64)
        children[rows, block] = (choices[rows, block] + step) % len(OPERATIONS)
        return children


def _neighbours(sets: Sequence[tuple[int, ...]]) -> IntArray:
    """[sets, k (v - k)] the positions of those sets that differ from each in one parent."""
    of_sets = [[i for i, other in enumerate(sets) if len(set(one) - set(other)) == 1] for one in sets]
    return np.array(of_sets, dtype=np.int64).reshape(len(sets), -1)
