"""Cells: what is valid, what pruning leaves, and a hash that does not depend on how vertices are numbered."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces import OPERATIONS, Cell, InvalidCellError
from spaces.cell import CONV1X1, CONV3X3, INPUT, MAXPOOL3X3, OUTPUT, pack_edges, unpack_key


@st.composite
def cells(draw: st.DrawFn, max_vertices: int = 7) -> Cell:
    """Cells of at most 9 edges, loose ends included, that connect input and output."""
    n = draw(st.integers(2, max_vertices))
    pairs = list(combinations(range(n), 2))
    via = draw(st.integers(0, n - 1))
    chosen = {*draw(st.lists(st.sampled_from(pairs), max_size=7)), *{(0, via), (via, n - 1)}.intersection(pairs)}
    adjacency = [[int((x, y) in chosen) for y in range(n)] for x in range(n)]
    names = draw(st.lists(st.sampled_from(OPERATIONS), min_size=n - 2, max_size=n - 2))
    return Cell.from_matrix(adjacency, [INPUT, *names, OUTPUT])


def renumbered(cell: Cell, priorities: list[float]) -> Cell:
    """The same graph with its vertices in another topological order, the one that prefers low priorities."""
    n = cell.n_vertices
    order: list[int] = []
    while len(order) < n:
        ready = [
            v
            for v in range(n - (len(order) < n - 1))  # the output comes last
            if v not in order and all(p in order for p in range(n) if cell.adjacency[p][v])
        ]
        order.append(0 if not order else min(ready, key=lambda v: priorities[v]))
    return Cell.from_matrix([[cell.adjacency[x][y] for y in order] for x in order], [cell.operations[v] for v in order])


def test_hashes_are_the_published_ones(published_cells: dict[str, int]) -> None:
    assert {Cell.from_key(key).hash for key in published_cells.values()} == set(published_cells)
    assert all(Cell.from_key(key).hash == name for name, key in published_cells.items())


@given(cell=cells(), priorities=st.lists(st.floats(0, 1), min_size=7, max_size=7))
def test_the_hash_does_not_depend_on_the_numbering(cell: Cell, priorities: list[float]) -> None:
    other = renumbered(cell, priorities)
    assert sorted(other.operations) == sorted(cell.operations)
    assert other.n_edges == cell.n_edges
    assert other.hash == cell.hash


def test_the_hash_tells_operations_apart() -> None:
    chain = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert len({Cell.from_matrix(chain, [INPUT, op, OUTPUT]).hash for op in OPERATIONS}) == 3


def test_pruning_drops_what_is_on_no_path() -> None:
    # 0 -> 1 -> 4; 2 has no way in, 3 has no way out, and 2 -> 4, 1 -> 3 go with them.
    edges = {(0, 1), (1, 4), (2, 4), (1, 3)}
    adjacency = [[int((x, y) in edges) for y in range(5)] for x in range(5)]
    cell = Cell.from_matrix(adjacency, [INPUT, CONV1X1, CONV3X3, MAXPOOL3X3, OUTPUT])
    assert cell.pruned == Cell(((0, 1, 0), (0, 0, 1), (0, 0, 0)), (INPUT, CONV1X1, OUTPUT))
    assert cell.pruned.pruned is cell.pruned
    assert cell.hash == cell.pruned.hash
    assert cell.key == cell.pruned.key


def test_key_of_a_cell_worked_by_hand() -> None:
    # Edges 0->1 (bit 0), 1->2 (bit 2), 1->3 (bit 4), 2->3 (bit 5): 1 + 4 + 16 + 32 = 53.
    # Operations conv1x1 (1), maxpool (2): 1 + 2 * 3 = 7.
    adjacency = [[0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    cell = Cell.from_matrix(adjacency, [INPUT, CONV1X1, MAXPOOL3X3, OUTPUT])
    assert (cell.edges, cell.labels) == (53, (1, 2))
    assert unpack_key(cell.key) == (4, 53, 7)
    assert cell.key == (4 << 40) + (53 << 10) + 7


@given(cell=cells())
def test_a_key_stands_for_the_pruned_cell(cell: Cell) -> None:
    assert Cell.from_key(cell.key) == cell.pruned
    assert pack_edges(cell.adjacency) == cell.edges


@given(cell=cells())
def test_packed_edges_and_labels_make_the_same_cell(cell: Cell) -> None:
    assert Cell.from_edges(cell.edges, cell.labels) == cell


def test_many_vertices_are_fine_if_few_remain() -> None:
    n = 10
    adjacency = np.zeros((n, n), dtype=int)
    adjacency[0, 4] = adjacency[4, n - 1] = adjacency[0, 5] = adjacency[6, n - 1] = 1
    cell = Cell.from_matrix(adjacency, [INPUT, *[CONV3X3] * (n - 2), OUTPUT])
    assert cell.pruned.operations == (INPUT, CONV3X3, OUTPUT)
    assert cell.key == cell.pruned.key


def test_limits_hold_after_pruning() -> None:
    chain = np.eye(8, k=1, dtype=int)
    with pytest.raises(InvalidCellError, match=r"got 8 vertices and 7 edges after pruning, expected at most 7 and 9"):
        _ = Cell.from_matrix(chain, [INPUT, *[CONV3X3] * 6, OUTPUT]).key
    dense = np.triu(np.ones((5, 5), dtype=int), k=1)
    with pytest.raises(InvalidCellError, match="got 5 vertices and 10 edges"):
        _ = Cell.from_matrix(dense, [INPUT, *[CONV3X3] * 3, OUTPUT]).hash


def test_a_cell_has_to_connect_input_and_output() -> None:
    cell = Cell.from_matrix([[0, 1, 0], [0, 0, 0], [0, 0, 0]], [INPUT, CONV3X3, OUTPUT])
    with pytest.raises(InvalidCellError, match="no path leads from the input to the output"):
        _ = cell.pruned


@pytest.mark.parametrize(
    ("adjacency", "operations", "message"),
    [
        ([[0, 1], [0, 0]], [INPUT, CONV3X3], "expected 'input', then operations, then 'output'"),
        ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], [INPUT, "conv5x5", OUTPUT], r"got \['conv5x5'\]"),
        ([[0, 1], [0, 0]], [INPUT, CONV3X3, OUTPUT], r"rows of lengths \[2, 2\], expected 3 rows of 3"),
        ([[0, 1, 0], [1, 0, 1], [0, 0, 0]], [INPUT, CONV3X3, OUTPUT], "got 1 in row 1, column 0"),
        ([[0, 2, 0], [0, 0, 1], [0, 0, 0]], [INPUT, CONV3X3, OUTPUT], "got 2 in row 0, column 1"),
    ],
)
def test_invalid_cells_say_why(adjacency: list[list[int]], operations: list[str], message: str) -> None:
    with pytest.raises(InvalidCellError, match=message):
        Cell.from_matrix(adjacency, operations)


@pytest.mark.parametrize("value", [0.9999, 0.5, 1e-9, -1, 2, float("nan"), "1", None, np.float32(0.1)])
def test_a_value_that_is_not_exactly_0_or_1_is_refused(value: Any) -> None:
    """Rounding it down would drop the edge: another cell, another hash."""
    with pytest.raises(InvalidCellError, match="in row 0, column 1, expected 0 or 1"):
        Cell.from_matrix([[0, value, 1], [0, 0, 1], [0, 0, 0]], [INPUT, CONV3X3, OUTPUT])


@pytest.mark.parametrize("kind", [float, bool, np.int8, np.float32])
def test_exact_values_of_any_type_are_the_same_cell(kind: Any) -> None:
    rows = [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    cell = Cell.from_matrix([[kind(value) for value in row] for row in rows], [INPUT, CONV3X3, OUTPUT])
    assert cell.adjacency == tuple(map(tuple, rows))
    assert {type(value) for row in cell.adjacency for value in row} == {int}
