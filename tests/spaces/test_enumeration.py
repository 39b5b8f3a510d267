"""The sizes of the spaces, and every architecture's place among the distinct cells."""

from itertools import combinations, product

import numpy as np
import pytest

from spaces import SEARCH_SPACES, Cell, SearchSpace
from spaces.enumeration import Counts, count, distinct_architectures, enumerate_space


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("1", Counts(14_580, 6_240, 3_702, 2_685)),
        ("2", Counts(29_160, 16_632, 12_474, 7_773)),
        ("3", Counts(1_312_200, 363_648, 135_900, 55_854)),
    ],
)
def test_counts_of_the_papers_spaces(name: str, counts: Counts) -> None:
    assert count(SEARCH_SPACES[name]) == counts


@pytest.mark.parametrize("name", [name for name, space in SEARCH_SPACES.items() if space.paper_counts])
def test_isomorphs_are_counted_as_in_the_paper(name: str) -> None:
    space = SEARCH_SPACES[name]
    assert len(enumerate_space(space).hashes) == space.paper_counts[2]


def test_counts_of_a_small_space_by_brute_force() -> None:
    space = SearchSpace("small", (1, 1, 2, 1))
    n_blocks = 3
    choices = list(product(*(combinations(range(node), k) for node, k in enumerate(space.n_parents, start=1))))
    loose, pruned, hashes = 0, set(), set()
    for parents in choices:
        loose += 3 ** len({parent for sets in parents for parent in sets} - {0})
        on_path, waiting = {n_blocks + 1}, [n_blocks + 1]
        while waiting:  # every block has parents, so whatever reaches the output is on a path
            found = set(parents[waiting.pop() - 1]) - on_path
            on_path |= found
            waiting += [parent for parent in found if parent]
        kept = [block for block in range(1, n_blocks + 1) if block in on_path]
        edges = frozenset((p, v) for v, sets in enumerate(parents, start=1) for p in sets if v in on_path)
        for operations in product(range(3), repeat=n_blocks):
            pruned.add((edges, tuple((block, operations[block - 1]) for block in kept)))
            matrix = [[int(y > 0 and x in parents[y - 1]) for y in range(n_blocks + 2)] for x in range(n_blocks + 2)]
            packed = sum(matrix[x][y] << (x + y * (y - 1) // 2) for y in range(n_blocks + 2) for x in range(y))
            hashes.add(Cell.from_edges(packed, operations).hash)
    assert count(space) == Counts(len(choices) * 27, loose, len(pruned), len(hashes))


def test_distinct_architectures_stand_for_all() -> None:
    """Two architectures are equal if they are without the blocks that the output does not depend on."""
    space = SEARCH_SPACES["1"]

    def without_loose_ends(index: int) -> tuple[tuple[tuple[int, ...], int], ...]:
        architecture = space.decode(index)
        live, waiting = {}, [space.n_blocks + 1]
        while waiting:
            node = waiting.pop()
            operation = architecture.operations[node - 1] if node <= space.n_blocks else -1
            live[node] = (architecture.parents[node - 1], operation)
            waiting += [parent for parent in architecture.parents[node - 1] if parent and parent not in live]
        return tuple((node, *live[node]) for node in sorted(live))

    chosen = distinct_architectures(space).tolist()
    assert len({without_loose_ends(index) for index in chosen}) == len(chosen) == 3_702
    assert {without_loose_ends(index) for index in range(space.size)} == {without_loose_ends(i) for i in chosen}


@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_every_index_finds_its_cell(name: str) -> None:
    space = SEARCH_SPACES[name]
    enumeration = enumerate_space(space)
    hash_of_index = enumeration.hash_of_index
    assert hash_of_index.shape == enumeration.key_of_index.shape == (space.size,)
    for index in space.sample_indices(np.random.default_rng(0), 300).tolist():
        cell = space.cell_of(index)
        assert enumeration.keys[enumeration.key_of_index[index]] == cell.key
        assert enumeration.hashes[hash_of_index[index]] == cell.hash


def test_distinct_cells_are_one_for_each_hash() -> None:
    enumeration = enumerate_space(SEARCH_SPACES["1"])
    assert [cell.hash for cell in enumeration.distinct_cells()] == list(enumeration.hashes)
    assert list(enumeration.hashes) == sorted(set(enumeration.hashes))
