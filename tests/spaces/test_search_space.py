"""The search spaces: encoding, sampling, discretisation."""

from collections import Counter
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from spaces import SEARCH_SPACES, Architecture, Cell, SearchSpace
from spaces.cell import CONV1X1, CONV3X3, INPUT, MAXPOOL3X3, OUTPUT

spaces = pytest.mark.parametrize("space", SEARCH_SPACES.values(), ids=lambda space: f"space{space.name}")


@spaces
def test_every_space_lies_inside_nas_bench_101(space: SearchSpace) -> None:
    assert len(space.n_parents) + 1 <= 7
    assert sum(space.n_parents) <= 9
    assert sum(space.n_parents) == 9 or space.name not in ("1", "2", "3")  # the paper's use all
    cell = space.cell_of(0)
    assert cell.n_edges == sum(space.n_parents)
    assert cell.n_vertices == space.n_blocks + 2


@pytest.mark.parametrize(("name", "size"), [("1", 14_580), ("2", 29_160), ("3", 1_312_200)])
def test_sizes_are_the_products_of_all_choices(name: str, size: int) -> None:
    space = SEARCH_SPACES[name]
    assert space.size == size
    parents = [comb(node, k) for node, k in enumerate(space.n_parents, start=1)]
    assert size == np.prod(parents) * 3**space.n_blocks
    assert space.radices == (*parents, *[3] * space.n_blocks)


@spaces
@given(data=st.data())
def test_encode_inverts_decode(space: SearchSpace, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, space.size - 1))
    architecture = space.decode(index)
    assert space.encode(architecture) == index
    assert space.encode_choices(space.decode_choices(index)) == index


@spaces
@given(data=st.data())
def test_an_architecture_obeys_its_space(space: SearchSpace, data: st.DataObject) -> None:
    architecture = space.decode(data.draw(st.integers(0, space.size - 1)))
    assert len(architecture.operations) == space.n_blocks
    for node, (k, parents) in enumerate(zip(space.n_parents, architecture.parents, strict=True), start=1):
        assert len(set(parents)) == k
        assert list(parents) == sorted(parents)
        assert all(0 <= parent < node for parent in parents)


def test_the_numbering_worked_by_hand() -> None:
    # Space 1: parents of node 3 vary over C(3, 2), of node 4 over C(4, 2), of the output over C(5, 2), then 3^4.
    space = SEARCH_SPACES["1"]
    assert space.decode(0) == Architecture(((0,), (0, 1), (0, 1), (0, 1), (0, 1)), (0, 0, 0, 0))
    assert space.decode(1).operations == (0, 0, 0, 1)
    assert space.decode(81) == Architecture(((0,), (0, 1), (0, 1), (0, 1), (0, 2)), (0, 0, 0, 0))
    assert space.decode(space.size - 1) == Architecture(((0,), (0, 1), (1, 2), (2, 3), (3, 4)), (2, 2, 2, 2))


def test_the_cell_of_an_architecture_worked_by_hand() -> None:
    space = SearchSpace("small", (1, 2, 1))
    cell = space.cell(Architecture(((0,), (0, 1), (2,)), (2, 0)))
    assert cell == Cell(((0, 1, 1, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 0, 0, 0)), (INPUT, MAXPOOL3X3, CONV3X3, OUTPUT))


def test_all_edges_and_operations_number_the_space() -> None:
    space = SEARCH_SPACES["2"]
    edges, operations = space.all_edges(), space.all_operations()
    assert len(edges) * len(operations) == space.size
    for index in range(0, space.size, 997):
        cell = space.cell_of(index)
        assert (edges[index // 81], tuple(operations[index % 81])) == (cell.edges, cell.labels)


@pytest.mark.parametrize("index", [-1, 14_580])
def test_an_index_outside_the_space_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match=rf"got {index} to {index}, expected 0 to 14579 in space 1"):
        SEARCH_SPACES["1"].decode(index)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (Architecture(((0,), (0, 1)), (0, 0)), "got 2 parent sets and 2 operations, expected 5 and 4"),
        (Architecture(((0,), (0, 1), (0, 1), (0, 1), (0, 5)), (0,) * 4), r"node 5 has parents \(0, 5\)"),
        (Architecture(((0,), (0, 1), (1, 0), (0, 1), (0, 1)), (0,) * 4), r"node 3 has parents \(1, 0\)"),
        (Architecture(((0,), (0, 1), (0, 1), (0, 1), (0, 1)), (0, 0, 0, 3)), r"expected 0\.\.2"),
    ],
)
def test_an_architecture_of_another_space_is_refused(architecture: Architecture, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SEARCH_SPACES["1"].encode(architecture)


def test_choices_outside_their_radix_are_refused() -> None:
    with pytest.raises(ValueError, match="expected each below"):
        SEARCH_SPACES["1"].encode_choices([0, 0, 3, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("n_parents", [(1, 3, 1), (0, 1), (2, 1)])
def test_a_node_has_no_more_parents_than_earlier_nodes(n_parents: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="its earlier nodes"):
        SearchSpace("wrong", n_parents)


def test_samples_are_uniform_over_all_architectures() -> None:
    space = SEARCH_SPACES["1"]
    indices = space.sample_indices(np.random.default_rng(0), 145_800)
    assert chisquare(np.bincount(indices, minlength=space.size)).pvalue > 0.01
    one_by_one = np.random.default_rng(1)
    operations = Counter(space.sample(one_by_one).operations[0] for _ in range(3_000))
    assert chisquare([operations[op] for op in range(3)]).pvalue > 0.01


def test_the_same_seed_gives_the_same_samples() -> None:
    space = SEARCH_SPACES["3"]
    first, second = (space.sample_indices(np.random.default_rng(7), 10) for _ in range(2))
    assert (first == second).all()


def test_discretising_worked_by_hand() -> None:
    space = SEARCH_SPACES["1"]
    alpha = [None, None, [0.1, -0.3, 0.2], [0.5, 0.9, 0.8, -1.0]]
    beta = [[0.0, 0.1, 0.2], [0.3, 0.2, 0.1], [-1.0, -0.5, -2.0], [0.0, 0.0, 1.0]]
    gamma = [0.0, 0.4, 0.3, 0.35, -0.2]
    architecture = space.discretise(alpha, beta, gamma)
    assert architecture == Architecture(((0,), (0, 1), (0, 2), (1, 2), (1, 3)), (2, 0, 1, 2))
    assert space.cell(architecture).operations == (INPUT, MAXPOOL3X3, CONV3X3, CONV1X1, MAXPOOL3X3, OUTPUT)


def test_ties_go_to_the_earlier_parent_and_operation() -> None:
    space = SEARCH_SPACES["2"]
    equal = space.discretise([None, [1, 1], [1, 1, 1], [1, 1, 1, 1]], np.ones((4, 3)), np.ones(5))
    assert equal == Architecture(((0,), (0,), (0, 1), (0, 1), (0, 1, 2)), (0, 0, 0, 0))


@spaces
@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_discretised_lies_in_the_space(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    alpha = [np.round(rng.normal(size=node), 1) for node in range(1, space.n_blocks + 1)]
    beta, gamma = np.round(rng.normal(size=(space.n_blocks, 3)), 1), rng.normal(size=space.n_blocks + 1)
    architecture = space.discretise(alpha, beta, gamma)
    assert space.decode(space.encode(architecture)) == architecture
    for node, (weights, parents) in enumerate(zip([*alpha, gamma], architecture.parents, strict=True), start=1):
        left_out = [weights[p] for p in range(node) if p not in parents]
        assert not left_out or min(weights[list(parents)]) >= max(left_out)


@pytest.mark.parametrize(
    ("alpha", "beta", "gamma", "message"),
    [
        ([None] * 3, np.zeros((4, 3)), np.zeros(5), "alpha: got 3 entries, expected 4"),
        ([None, None, np.zeros(2), np.zeros(4)], np.zeros((4, 3)), np.zeros(5), r"alpha\[2\]: got shape \(2,\)"),
        ([None, None, np.zeros(3), np.zeros(4)], np.zeros((3, 3)), np.zeros(5), "beta: got shape"),
        ([None, None, np.zeros(3), np.zeros(4)], np.zeros((4, 3)), [np.nan] * 5, "gamma: got .*nan.*finite"),
    ],
)
def test_wrong_weights_say_which(alpha: list, beta: np.ndarray, gamma: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SEARCH_SPACES["1"].discretise(alpha, beta, gamma)
