"""What every search keeps to, whatever the optimizer."""

import json
import re
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from nas.oneshot import METHODS, SearchSpec
from nas.oneshot.checkpoint import read_checkpoint
from nas.oneshot.methods.darts import Darts
from nas.oneshot.model.evaluation import Evaluator
from nas.oneshot.model.supernet import Cell
from nas.oneshot.model.weight_trainer import WeightTrainer
from nas.oneshot.search import run_search
from nas.tabular.errors import CellNotInTableError
from nas.tabular.table import Entry
from results.epoch import EpochRecord
from spaces import SEARCH_SPACES
from tests.nas.oneshot.searches import PAPERS, SAMPLING, small, trajectory, without_times


@pytest.mark.parametrize("optimizer", list(METHODS))
@pytest.mark.parametrize("space", ["1", "3"])
def test_contract_of_a_search(optimizer, space, tmp_path):
    seen = []
    result = run_search(small(optimizer, search_space=space, epochs=2), None, tmp_path, seen.append)

    assert result.status == "ok"
    assert result.error is None
    assert [report.epoch for report in seen] == [1, 2]
    assert [EpochRecord.from_dict(line, "line") for line in trajectory(tmp_path)] == seen
    last = seen[-1]
    assert (result.architecture_index, result.cell_hash) == (last.architecture_index, last.cell_hash)
    architecture = SEARCH_SPACES[space].decode(result.architecture_index)
    assert SEARCH_SPACES[space].cell(architecture).hash == result.cell_hash
    assert result.one_shot_validation_error == last.one_shot_validation_error
    assert 0 < seen[0].search_s < last.search_s == result.search_s
    assert (last.arch_loss is None) == (not METHODS[optimizer].updates_architecture)
    assert_lie_where_the_architecture_was_read(optimizer, space, last)
    found = json.loads((tmp_path / "architecture.json").read_text())
    assert found.pop("spec")["epochs"] == result.epochs
    assert found == result.to_dict()


def assert_lie_where_the_architecture_was_read(optimizer, space, report):
    """The reported architecture weights, put into words again, are the reported architecture."""
    if optimizer in SAMPLING:
        assert report.architecture_weights is None
        return
    space = SEARCH_SPACES[space]
    vectors = [np.array(vector) for vector in report.architecture_weights]
    chosen = [node for node in range(1, space.n_blocks + 1) if space.has_parent_choice(node)]
    alpha = [vectors[chosen.index(node)] if node in chosen else None for node in range(1, space.n_blocks + 1)]
    beta = np.stack(vectors[len(chosen) : len(chosen) + space.n_blocks])
    assert space.encode(space.discretise(alpha, beta, vectors[-1])) == report.architecture_index


@pytest.mark.parametrize("optimizer", list(METHODS))
def test_the_training_loss_falls(optimizer):
    losses = []
    run_search(
        replace(small(optimizer, epochs=12, init_channels=8, learning_rate=0.1), batch_size=50),
        on_epoch=lambda report: losses.append(report.train_loss),
    )
    assert fmean(losses[-3:]) < fmean(losses[:3]) - 0.05


@pytest.mark.parametrize("optimizer", PAPERS)
def test_the_one_shot_validation_error_falls(optimizer):
    errors = []
    run_search(
        small(optimizer, epochs=12, init_channels=8, learning_rate=0.1),
        on_epoch=lambda report: errors.append(report.one_shot_validation_error),
    )
    assert fmean(errors[-3:]) < fmean(errors[:3]) - 0.05
    if issubclass(METHODS[optimizer], Darts):  # the others' errors are of samples
        assert errors[-1] < 0.45 < 0.6 < errors[0]


@pytest.mark.parametrize("optimizer", list(METHODS))
def test_the_same_seed_gives_the_same_search_and_another_seed_another(optimizer):
    runs = []
    for seed in (3, 3, 4):
        reports = []
        run_search(small(optimizer, epochs=2, seed=seed), on_epoch=reports.append)
        runs.append([without_times(report) for report in reports])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("optimizer", list(METHODS))
def test_a_search_in_bfloat16_is_near_that_in_single_precision_and_says_so(optimizer, tmp_path):
    for precision in ("float32", "bf16"):
        run_search(small(optimizer, epochs=1, precision=precision), None, tmp_path / precision)
    assert read_checkpoint(tmp_path / "bf16")["spec"]["precision"] == "bf16"
    exact, rounded = (trajectory(tmp_path / precision)[0]["train_loss"] for precision in ("float32", "bf16"))
    assert exact != rounded == pytest.approx(exact, rel=0.02)


def test_random_ws_alone_of_the_papers_learns_nothing_but_weights():
    assert [name for name in PAPERS if not METHODS[name].updates_architecture] == ["random_ws"]


@pytest.mark.parametrize("compiled", [False, True])
def test_compile_compiles_the_cells(compiled, monkeypatch):
    seen = []
    monkeypatch.setattr(Cell, "compile", lambda self, **_: seen.append(self))
    spec = small(epochs=1, compile=compiled)
    run_search(spec)
    assert len(set(seen)) == compiled * spec.n_stacks * spec.cells_per_stack


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [name for name, method in METHODS.items() if not method.changing_operations])
def test_a_compiled_search_is_the_same_search_within_rounding(optimizer):
    losses = []
    for compiled in (False, True):
        run_search(
            small(optimizer, epochs=2, n_stacks=1, compile=compiled),
            on_epoch=lambda report: losses.append(report.train_loss),
        )
    assert losses[:2] == pytest.approx(losses[2:], rel=1e-3)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"warm_start_epochs": 4}, "warm_start_epochs: got 4, expected fewer than the 4 epochs"),
        (
            {"optimizer": "random_ws", "warm_start_epochs": 1},
            "'random_ws' updates nothing but the weights; leave it out",
        ),
        ({"device": "meta"}, "device: got 'meta', expected 'cpu', 'auto' or a device of this machine"),
        ({"kernels": "native", "precision": "bf16"}, "kernels: got 'native' with precision 'bf16'"),
        ({"kernels": "native", "compile": True}, "kernels: got 'native' with precision 'float32' and compile True"),
    ],
)
def test_searches_that_cannot_be_are_refused(fields, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        run_search(replace(small(), **fields), None, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("optimizer", [name for name, method in METHODS.items() if method.updates_architecture])
def test_warm_start_trains_the_weights_alone(optimizer):
    reports = []
    run_search(small(optimizer, epochs=3, warm_start_epochs=2, arch_learning_rate=0.1), on_epoch=reports.append)
    assert [report.arch_loss is None for report in reports] == [True, True, False]
    if optimizer not in SAMPLING:
        assert reports[0].architecture_index == reports[1].architecture_index != reports[2].architecture_index


class FakeTable:
    """A table that knows the cells of a search but one."""

    budgets = (4, 12)

    def __init__(self, unknown=()):
        self.unknown = unknown

    def query(self, cell, budget):
        if cell.hash in self.unknown:
            raise CellNotInTableError(cell.hash)
        return Entry(cell.hash, budget, (0.1, 0.2, 0.3), (0.2, 0.3, 0.4), (10.0 * budget,) * 3, 5)


def test_each_epochs_cell_is_looked_up_at_every_budget(tmp_path):
    reports = []
    run_search(small(epochs=2), FakeTable(), tmp_path, reports.append)
    for report, line in zip(reports, trajectory(tmp_path), strict=True):
        assert {b: (f.validation_error, f.test_error, f.training_time_s) for b, f in report.table.items()} == {
            4: pytest.approx((0.2, 0.3, 40.0)),
            12: pytest.approx((0.2, 0.3, 120.0)),
        }
        assert line["table"]["12"]["training_time_s"] == 120.0
    unknown = FakeTable({reports[-1].cell_hash})
    again = []
    run_search(small(epochs=2), unknown, None, again.append)
    assert again[-1].table == {}
    assert without_times(again[-1])["architecture_index"] == reports[-1].architecture_index


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "sgd"}, re.escape(f"optimizer: got 'sgd', expected one of {sorted(METHODS)}")),
        ({"search_space": "4"}, r"search_space: got '4', expected one of \['1', '2', '3'\]"),
        ({"dataset": "cifar10", "data_dir": "/nonexistent"}, "--data-dir: got '/nonexistent', expected a folder"),
        ({"optimizer": "gdas", "compile": True}, "compile: got True for 'gdas'"),
        ({"optimizer": "pc_darts", "init_channels": 6}, "init_channels: got 6, expected a multiple of 4"),
        (
            {"optimizer": "random_ws", "arch_learning_rate": 0.1},
            "arch_learning_rate: got 0.1, but 'random_ws' does not",
        ),
        ({"optimizer": "random_ws", "controller_steps": 3}, "controller_steps: got 3, but 'random_ws' does not use it"),
        ({"optimizer": "darts", "final_samples": 9}, "final_samples: got 9, but 'darts' does not use it; leave it out"),
    ],
)
def test_a_wrong_specification_is_one_clear_line_and_writes_nothing(fields, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        run_search(SearchSpec(**fields), None, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_training_time_leaves_reporting_and_writing_out(tmp_path, monkeypatch):
    """A slow report, table and disk do not count; a slow weight step does."""
    clock = [0.0]
    monkeypatch.setattr("nas.oneshot.loop.time.perf_counter", lambda: clock[0])
    step, error = WeightTrainer.step, Evaluator.error

    def slow_step(self, batch, mixtures):
        clock[0] += 1.0
        return step(self, batch, mixtures)

    def slow_report(self, mixtures):
        clock[0] += 100.0
        return error(self, mixtures)

    monkeypatch.setattr(WeightTrainer, "step", slow_step)
    monkeypatch.setattr(Evaluator, "error", slow_report)
    result = run_search(small(epochs=3), None, tmp_path)
    # 400 images in batches of 100: 4 steps an epoch.
    assert result.search_s == 12.0
