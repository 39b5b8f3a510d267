"""What every table promises, for each entry of TABLES; and answers worked out from a small one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.tabular_file import payloads, write_file
from nas.tabular import TABLES, CellNotInTableError, Table, TableData, open_table
from nas.tabular.contents import MEASUREMENTS
from nas.tabular.errors import UnknownBudgetError
from nas.tabular.index import index_spaces
from nas.tabular.nasbench101.importing import import_tfrecord
from spaces import OPERATIONS, SEARCH_SPACES, Cell, InvalidCellError, SearchSpace
from spaces.enumeration import enumerate_space
from spaces.hashing import hash_cells


@pytest.fixture(scope="module")
def in_a_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a small NAS-Bench-101 in its place."""
    directory = tmp_path_factory.mktemp("project")
    (directory / "data").mkdir()
    keys = np.unique(np.concatenate([enumerate_space(space).keys[::3000] for space in SEARCH_SPACES.values()]))
    distinct = keys[np.unique(hash_cells(keys), return_index=True)[1]]
    write_file(directory / "small.tfrecord", payloads(distinct, budgets=(4, 12, 36, 108)))
    import_tfrecord(directory / "small.tfrecord", directory / "data" / "nasbench101.table")
    return directory


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest, in_a_project: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    monkeypatch.chdir(in_a_project)
    if not TABLES[request.param].path().exists():
        pytest.skip(f"table {request.param} does not come with this copy of the project")
    return open_table(request.param)


def relabelled(cell: Cell) -> Cell:
    """An isomorph of the cell with a loose end, as 8 vertices at most: swapped where the order allows it."""
    n = cell.n_vertices
    order = list(range(n))
    for v in range(1, n - 2):
        if not cell.adjacency[order[v]][order[v + 1]]:
            order[v], order[v + 1] = order[v + 1], order[v]
            break
    rows = [[cell.adjacency[x][y] for y in order] for x in order]
    for row in rows:
        row.insert(n - 1, 0)
    rows.insert(n - 1, [0] * (n + 1))
    rows[0][n - 1] = 1  # the loose end, which leads nowhere
    names = [cell.operations[v] for v in order]
    return Cell.from_matrix(rows, [*names[:-1], OPERATIONS[0], names[-1]])


class TestEveryTable:
    """The contract suite."""

    def test_it_knows_its_cells(self, table: Table) -> None:
        cells = table.cells()
        assert len(cells) == len(table) > 0
        hashes = [cell.hash for cell in cells]
        assert hashes == sorted(set(hashes))
        assert all(cell in table for cell in cells[:100])

    def test_it_answers_by_cell_and_by_hash_at_every_budget(self, table: Table) -> None:
        assert list(table.budgets) == sorted(set(table.budgets))
        for cell in table.cells()[:: max(1, len(table) // 50)]:
            for budget in table.budgets:
                entry = table.query(cell, budget)
                assert entry == table.query_hash(cell.hash, budget) == table.query(relabelled(cell), budget)
                assert (entry.cell_hash, entry.budget) == (cell.hash, budget)
                for errors in (entry.validation_error, entry.test_error):
                    assert len(errors) == table.n_repeats
                    assert all(0 <= error <= 1 for error in errors)
                assert min(entry.training_time_s) > 0
                assert entry.trainable_parameters > 0

    def test_the_default_budget_is_the_largest(self, table: Table) -> None:
        cell = table.cells()[0]
        assert table.query(cell) == table.query(cell, max(table.budgets))

    def test_means_are_over_the_repeats(self, table: Table) -> None:
        entry = table.query(table.cells()[-1])
        assert entry.mean_validation_error == pytest.approx(np.mean(entry.validation_error), abs=1e-15)
        assert entry.mean_test_error == pytest.approx(np.mean(entry.test_error), abs=1e-15)
        assert entry.mean_training_time_s == pytest.approx(np.mean(entry.training_time_s))

    def test_the_best_test_error_is_that_of_the_best_cell(self, table: Table) -> None:
        for budget in table.budgets:
            lowest = min(table.query(cell, budget).mean_test_error for cell in table.cells())
            assert table.best_test_error(None, budget) == lowest
        assert table.best_test_error(None) == table.best_test_error(None, table.budgets[-1])

    def test_batches_say_what_single_queries_say(self, table: Table) -> None:
        for space in SEARCH_SPACES.values():
            held, size = table.coverage(space)
            assert size == space.size
            rng = np.random.default_rng(0)
            cells = {int(i): space.cell_of(int(i)) for i in space.sample_indices(rng, 500)}
            indices = [i for i, cell in cells.items() if cell in table]
            assert abs(len(indices) / len(cells) - held / size) < 0.1
            batch = table.query_indices(space, np.array(indices, dtype=np.int64), table.budgets[0])
            entries = [table.query(cells[i], table.budgets[0]) for i in indices]
            for name in ("validation_error", "test_error", "training_time_s"):
                assert [tuple(row) for row in getattr(batch, name).tolist()] == [getattr(e, name) for e in entries]
                assert getattr(batch, f"mean_{name}").tolist() == [getattr(e, f"mean_{name}") for e in entries]

    @pytest.mark.parametrize("budget", [0, 5, 1000])
    def test_an_unknown_budget_is_refused(self, table: Table, budget: int) -> None:
        message = rf"table .*: got a budget of {budget} epochs, expected one of \[{table.budgets[0]}, "
        cell = table.cells()[0]
        for ask in (
            lambda: table.query(cell, budget),
            lambda: table.query_hash(cell.hash, budget),
            lambda: table.query_indices(SEARCH_SPACES["1"], np.array([0]), budget),
            lambda: table.best_test_error(None, budget),
        ):
            with pytest.raises(UnknownBudgetError, match=message):
                ask()

    def test_a_cell_it_lacks_is_refused(self, table: Table) -> None:
        # Seven vertices in a row are in none of the spaces, and not in the sample.
        cell = Cell.from_matrix(np.eye(7, k=1, dtype=int), ["input", *OPERATIONS, *OPERATIONS[:2], "output"])
        assert cell not in table
        message = rf"cell {cell.hash} is none of its {len(table)} cells; choose"
        with pytest.raises(CellNotInTableError, match=message) as raised:
            table.query(cell)
        assert isinstance(raised.value, LookupError)
        with pytest.raises(CellNotInTableError, match=message):
            table.query_hash(cell.hash)

    def test_a_cell_that_connects_nothing_is_invalid(self, table: Table) -> None:
        cell = Cell.from_matrix([[0, 0], [0, 0]], ["input", "output"])
        assert cell not in table
        with pytest.raises(InvalidCellError, match="no path"):
            table.query(cell)

    def test_what_is_no_hash_is_refused(self, table: Table) -> None:
        for text in ("", "00", "x" * 32, "0" * 33):
            with pytest.raises(ValueError, match="expected 32 hexadecimal digits"):
                table.query_hash(text)


SPACE = SearchSpace("tiny", (1, 1, 1))  # 2 blocks, 1 * 2 * 3 choices of parents, 9 of operations


@pytest.fixture(params=["indexed", "not indexed"])
def tiny(request: pytest.FixtureRequest) -> tuple[Table, dict[str, int]]:
    """A table of all but one cell of a tiny space, whose numbers say which cell and repeat they are of."""
    cells = enumerate_space(SPACE).distinct_cells()[1:]
    number = {cell.hash: i for i, cell in enumerate(cells)}
    accuracy = 0.5 + 0.001 * np.arange(len(cells))[None, :, None] + np.array([0.0, 0.2, 0.1])
    accuracy = np.concatenate([accuracy / 2, accuracy])
    measurements = {name: accuracy - 0.01 * k for k, name in enumerate(MEASUREMENTS)}
    data = TableData.of_cells(cells, (2, 8), np.arange(len(cells)), measurements)
    index = index_spaces([SPACE], data.cell_hashes) if request.param == "indexed" else None
    return Table("tiny", data, index=index), number


def test_answers_worked_by_hand(tiny: tuple[Table, dict[str, int]]) -> None:
    table, number = tiny
    for index in range(SPACE.size):
        cell = SPACE.cell(SPACE.decode(index))
        if cell.hash not in number:
            continue
        i = number[cell.hash]
        entry = table.query(cell, 8)
        assert entry.validation_error == pytest.approx((0.5 - 0.001 * i, 0.3 - 0.001 * i, 0.4 - 0.001 * i))
        assert entry.mean_test_error == pytest.approx(0.41 - 0.001 * i)
        assert entry.trainable_parameters == i
        half = table.query(cell, 2)
        assert half.validation_error[0] == pytest.approx(1 - (0.5 + 0.001 * i) / 2)
    best = len(number) - 1
    assert table.best_test_error(SPACE) == table.best_test_error(None) == pytest.approx(0.41 - 0.001 * best)


def test_an_index_whose_cell_is_missing_is_named(tiny: tuple[Table, dict[str, int]]) -> None:
    table, number = tiny
    hashes = [SPACE.cell(SPACE.decode(i)).hash for i in range(SPACE.size)]
    missing = [i for i, cell_hash in enumerate(hashes) if cell_hash not in number]
    assert table.coverage(SPACE) == (SPACE.size - len(missing), SPACE.size)
    (missing_hash,) = {hashes[i] for i in missing}
    present = [i for i in range(SPACE.size) if i not in missing]
    assert table.query_indices(SPACE, present).test_error.shape == (len(present), 3)
    with pytest.raises(CellNotInTableError, match=f"cell {missing_hash} is none of its"):
        table.query_indices(SPACE, [*present, missing[0]])
    with pytest.raises(CellNotInTableError, match=f"cell {missing_hash} is none of its"):
        table.query(SPACE.cell(SPACE.decode(missing[0])))


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([-1], "got -1 to -1, expected 0 to 53 in space tiny"),
        ([0, 54], "got 0 to 54, expected 0 to 53"),
        ([[0]], r"of shape \(1, 1\), expected a vector of integers"),
        ([0.5], "got float64"),
    ],
)
def test_wrong_indices_are_refused(tiny: tuple[Table, dict[str, int]], indices: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny[0].query_indices(SPACE, indices)


@pytest.mark.parametrize("none", [[], (), np.array([]), np.array([], dtype=np.int32)])
def test_no_indices_have_no_results(tiny: tuple[Table, dict[str, int]], none: Any) -> None:
    batch = tiny[0].query_indices(SPACE, none)
    assert batch.validation_error.shape == batch.test_error.shape == batch.training_time_s.shape == (0, 3)
    assert batch.mean_test_error.shape == (0,)


def test_a_space_that_the_table_knows_nothing_of_has_no_best_cell(tiny: tuple[Table, dict[str, int]]) -> None:
    data = tiny[0].data
    chain = Cell.from_matrix(np.eye(7, k=1, dtype=int), ["input", *OPERATIONS[:1] * 5, "output"])
    alone = TableData.of_cells([chain], data.budgets, [1], {name: np.zeros((2, 1, 1)) for name in MEASUREMENTS})
    with pytest.raises(CellNotInTableError, match="holds no cell of search space tiny"):
        Table("alone", alone).best_test_error(SPACE)


def test_only_cells_of_the_space_count_for_its_best(tiny: tuple[Table, dict[str, int]]) -> None:
    cells = [*tiny[0].cells(), Cell.from_matrix(np.eye(7, k=1, dtype=int), ["input", *OPERATIONS[:1] * 5, "output"])]
    accuracy = np.linspace(0.1, 0.9, len(cells))[None, :, None]
    table = Table("more", TableData.of_cells(cells, (8,), range(len(cells)), dict.fromkeys(MEASUREMENTS, accuracy)))
    assert table.best_test_error(None) == pytest.approx(0.1)
    assert table.best_test_error(SPACE) == pytest.approx(1 - np.linspace(0.1, 0.9, len(cells))[-2])
