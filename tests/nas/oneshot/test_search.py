import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import torch

from nas.oneshot import METHODS, SearchSpec, run_search
from nas.oneshot.checkpoint import CheckpointError, UnreadableCheckpointError, read_checkpoint, write_checkpoint
from nas.oneshot.darts import Darts
from nas.oneshot.evaluation import Evaluator
from nas.oneshot.loop import Search
from nas.oneshot.report import EpochReport
from nas.oneshot.sampling import SamplingMethod
from nas.oneshot.supernet import Supernet
from nas.oneshot.weights import WeightTrainer
from nas.tabular.errors import CellNotInTableError
from nas.tabular.table import Entry
from spaces import SEARCH_SPACES

ROOT = Path(__file__).resolve().parents[3]
#: Seconds are measured, everything else is computed.
MEASURED = ("search_s",)
#: The optimizers that choose by the errors of samples.
SAMPLING = [name for name, method in METHODS.items() if issubclass(method, SamplingMethod)]
#: The paper's; what an optimizer promises beyond the contract is tested by its name.
PAPERS = ["darts", "darts_2nd", "gdas", "pc_darts", "enas", "random_ws"]


def small(optimizer="darts", **fields):
    """A search of a second: one cell a stack, 4 channels, 4 epochs of 4 steps on the digits."""
    defaults = {"epochs": 4, "n_stacks": 2, "cells_per_stack": 1, "init_channels": 4, "seed": 3}
    own = {
        name: n for name, n in (("controller_steps", 4), ("final_samples", 8)) if name in METHODS[optimizer].defaults
    }
    return SearchSpec(optimizer=optimizer, batch_size=100, device="cpu", threads=1, **{**defaults, **own, **fields})


def without_times(report):
    return {key: value for key, value in report.to_dict().items() if key not in MEASURED}


def trajectory(directory):
    return [json.loads(line) for line in (directory / "trajectory.jsonl").read_text().splitlines()]


def assert_same_search(one, two):
    """Two directories hold the same search, bit for bit but for the times."""
    lines = [[{k: v for k, v in line.items() if k not in MEASURED} for line in trajectory(d)] for d in (one, two)]
    assert lines[0] == lines[1]
    states = [read_checkpoint(d) for d in (one, two)]
    for key in ("supernet", "weights", "method", "streams"):
        assert_equal(states[0][key], states[1][key], key)


def assert_equal(a, b, where):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}[{i}]")
    else:
        assert a == b, where


@pytest.mark.parametrize("optimizer", list(METHODS))
@pytest.mark.parametrize("space", ["1", "3"])
def test_contract_of_a_search(optimizer, space, tmp_path):
    seen = []
    result = run_search(small(optimizer, search_space=space, epochs=2), None, tmp_path, seen.append)

    assert result.status == "ok"
    assert result.error is None
    assert [report.epoch for report in seen] == [1, 2]
    assert [EpochReport.from_dict(line) for line in trajectory(tmp_path)] == seen
    last = seen[-1]
    assert (result.architecture, result.cell_hash) == (last.architecture, last.cell_hash)
    architecture = SEARCH_SPACES[space].decode(result.architecture)
    assert SEARCH_SPACES[space].cell(architecture).hash == result.cell_hash
    assert result.one_shot_validation_error == last.one_shot_validation_error
    assert 0 < seen[0].search_s < last.search_s == result.search_s
    assert (last.arch_loss is None) == (optimizer == "random_ws")
    found = json.loads((tmp_path / "architecture.json").read_text())
    assert found.pop("spec")["epochs"] == result.epochs
    assert found == result.to_dict()


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


class Killed(BaseException):
    """As a kill -9: nothing of the search may catch it."""


#: The sizes that tests use for speed, and the narrowest for which every kernel is native.
KILLED = [*((optimizer, 4) for optimizer in METHODS), ("darts", 16), ("gdas", 16)]


@pytest.mark.parametrize(("optimizer", "channels"), KILLED)
def test_a_search_killed_within_an_epoch_goes_on_to_the_same_result(optimizer, channels, tmp_path, monkeypatch):
    spec = small(optimizer, init_channels=channels)
    whole = run_search(spec, None, tmp_path / "whole")
    step, calls = WeightTrainer.step, []

    def fails_in_the_third_epoch(self, batch, mixtures):
        calls.append(None)
        if len(calls) == 2 * 4 + 3:
            raise Killed
        return step(self, batch, mixtures)

    with monkeypatch.context() as patch:
        patch.setattr(WeightTrainer, "step", fails_in_the_third_epoch)
        with pytest.raises(Killed):
            run_search(spec, None, tmp_path / "killed")
    assert len(trajectory(tmp_path / "killed")) == 2
    assert not (tmp_path / "killed" / "architecture.json").exists()

    again = []
    result = run_search(spec, None, tmp_path / "killed", again.append)

    assert [report.epoch for report in again] == [3, 4]
    assert (result.architecture, result.one_shot_validation_error) == (
        whole.architecture,
        whole.one_shot_validation_error,
    )
    assert_same_search(tmp_path / "whole", tmp_path / "killed")


def test_a_search_killed_between_line_and_checkpoint_repeats_the_epoch(tmp_path, monkeypatch):
    run_search(small(), None, tmp_path / "whole")

    def fails(directory, state):
        if len(state["reports"]) == 3:
            raise Killed
        return write(directory, state)

    from nas.oneshot import checkpoint

    write = checkpoint.write_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_checkpoint", fails)
        with pytest.raises(Killed):
            run_search(small(), None, tmp_path / "killed")
    assert len(trajectory(tmp_path / "killed")) == 3
    run_search(small(), None, tmp_path / "killed")
    assert_same_search(tmp_path / "whole", tmp_path / "killed")


def test_a_process_killed_with_signal_9_goes_on_to_the_same_result(tmp_path):
    spec = small("gdas", epochs=10)
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from nas.oneshot import SearchSpec, run_search
        run_search(SearchSpec(**eval(sys.argv[2])), None, Path(sys.argv[1]))
        """
    )
    killed = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", script, str(killed), repr(spec.to_dict())], cwd=ROOT)
    try:
        deadline = time.monotonic() + 120
        while not (killed / "checkpoint").exists() or len(trajectory(killed)) < 3:
            assert process.poll() is None, "the search ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert len(trajectory(killed)) < 10

    resumed = run_search(spec, None, killed)
    whole = run_search(spec, None, tmp_path / "whole")

    assert resumed.architecture == whole.architecture
    assert_same_search(tmp_path / "whole", killed)


def test_a_finished_search_answers_again_without_training(tmp_path, caplog):
    first = run_search(small(), None, tmp_path)
    epochs = []
    caplog.set_level("INFO")
    assert run_search(small(), None, tmp_path, epochs.append) == first
    assert epochs == []
    assert "goes on after epoch 4 of 4" in caplog.text


def test_what_a_killed_process_was_writing_goes_away(tmp_path):
    (tmp_path / ".checkpoint.0123abcd").write_bytes(b"half a")
    run_search(small(epochs=1), None, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["architecture.json", "checkpoint", "trajectory.jsonl"]


def test_a_line_of_a_worker_that_was_believed_dead_does_not_stay(tmp_path):
    def writes_late(report):
        if report.epoch == 3:
            path = tmp_path / "trajectory.jsonl"
            path.write_text(path.read_text() + path.read_text().splitlines(keepends=True)[0])

    run_search(small(), None, tmp_path, writes_late)
    assert [line["epoch"] for line in trajectory(tmp_path)] == [1, 2, 3, 4]


def test_a_directory_of_another_search_is_refused(tmp_path):
    run_search(small(), None, tmp_path)
    before = (tmp_path / "trajectory.jsonl").read_text()
    with pytest.raises(CheckpointError, match=r"another specification.*learning_rate 0\.5 instead of 0\.025"):
        run_search(small(learning_rate=0.5), None, tmp_path)
    assert (tmp_path / "trajectory.jsonl").read_text() == before


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    path = tmp_path / "notes"
    path.write_text("mine")
    with pytest.raises(CheckpointError, match="notes, which is a file; expected a directory or a new path"):
        run_search(small(), None, path)
    assert path.read_text() == "mine"


def test_a_checkpoint_damaged_anywhere_is_refused_in_one_line(tmp_path):
    run_search(small(epochs=1), None, tmp_path)
    path = tmp_path / "checkpoint"
    whole = path.read_bytes()
    middle, weights = len(whole) // 2, slice(len(whole) // 3, len(whole) // 3 + 4096)
    zeroed = bytearray(whole)
    zeroed[weights] = bytes(4096)
    damaged = {b"", whole[:middle], whole[:-1], whole + b"x", bytes(zeroed)}
    for place in range(0, len(whole), len(whole) // 40):  # the archive's records, their names, weights, the checksum
        flipped = bytearray(whole)
        flipped[place] ^= 4
        damaged.add(bytes(flipped))
    assert whole not in damaged
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(UnreadableCheckpointError, match=r"expected a whole .*; remove it to start again") as e:
            run_search(small(epochs=1), None, tmp_path)
        assert "\n" not in str(e.value)
        assert path.read_bytes() == content


@pytest.mark.parametrize("state", [{"format": 1}, {"spec": {"no_field": 1}}, {"spec": {}, "reports": [{}]}, {}])
def test_a_whole_checkpoint_of_another_version_is_refused_in_one_line(state, tmp_path):
    write_checkpoint(tmp_path, state)
    with pytest.raises(UnreadableCheckpointError, match="expected a whole checkpoint of this version") as e:
        run_search(small(epochs=1), None, tmp_path)
    assert "\n" not in str(e.value)


def test_a_finished_search_keeps_saying_what_computed_it(tmp_path):
    run_search(small(epochs=1, init_channels=16), None, tmp_path)
    found = (tmp_path / "architecture.json").read_text()
    assert json.loads(found)["spec"]["kernels"] == "native"
    run_search(small(epochs=1, init_channels=16, kernels="torch"), None, tmp_path)
    assert (tmp_path / "architecture.json").read_text() == found


def test_going_on_with_other_kernels_says_so_and_keeps_those_of_the_end(tmp_path, monkeypatch, caplog):
    def stops(report):
        if report.epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        run_search(small(init_channels=16), None, tmp_path, before_save=stops)
    run_search(small(init_channels=16, kernels="torch"), None, tmp_path)
    assert "goes on with torch kernels after native ones, which round differently" in caplog.text
    assert json.loads((tmp_path / "architecture.json").read_text())["spec"]["kernels"] == "torch"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"warm_start_epochs": 4}, "warm_start_epochs: got 4, expected fewer than the 4 epochs"),
        ({"kernels": "native", "precision": "bf16"}, "kernels: got 'native' with precision 'bf16'"),
        ({"kernels": "native", "compile": True}, "kernels: got 'native' with precision 'float32' and compile True"),
    ],
)
def test_searches_that_cannot_be_are_refused(fields, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        run_search(replace(small(), **fields), None, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("optimizer", [name for name in METHODS if name != "random_ws"])
def test_warm_start_trains_the_weights_alone(optimizer):
    reports = []
    run_search(small(optimizer, epochs=3, warm_start_epochs=2, arch_learning_rate=0.1), on_epoch=reports.append)
    assert [report.arch_loss is None for report in reports] == [True, True, False]
    if optimizer not in SAMPLING:
        assert reports[0].architecture == reports[1].architecture != reports[2].architecture


def test_a_diverging_search_says_when_and_with_what_and_keeps_its_trajectory(tmp_path, monkeypatch):
    step, calls = WeightTrainer.step, []

    def poisons_the_second_epoch(self, batch, mixtures):
        calls.append(None)
        if len(calls) == 6:
            with torch.no_grad():
                self.parameters[0].fill_(float("inf"))
        return step(self, batch, mixtures)

    monkeypatch.setattr(WeightTrainer, "step", poisons_the_second_epoch)
    result = run_search(small(weight_decay=0.00123), None, tmp_path)
    assert result.status == "diverged"
    assert result.epochs == 1
    assert "in epoch 2" in result.error
    assert "weight_decay 0.00123" in result.error
    assert result.search_s > trajectory(tmp_path)[0]["search_s"]  # the epoch that failed has cost something
    assert [line["epoch"] for line in trajectory(tmp_path)] == [1]
    assert result.architecture == trajectory(tmp_path)[0]["architecture"]
    assert not (tmp_path / "architecture.json").exists()
    failure = json.loads((tmp_path / "failure.json").read_text())
    assert failure.pop("spec")["weight_decay"] == 0.00123
    assert failure == result.to_dict()


def test_an_absurd_learning_rate_diverges_by_itself():
    result = run_search(small(learning_rate=1e30, grad_clip=1e30, epochs=2))
    assert (result.status, result.epochs, result.architecture) == ("diverged", 0, None)


@pytest.mark.parametrize("optimizer", list(METHODS))
def test_weights_that_diverge_in_the_last_step_end_the_search(optimizer, monkeypatch):
    step, calls = WeightTrainer.step, []

    def poisons_afterwards(self, batch, mixtures):
        loss = step(self, batch, mixtures)
        calls.append(None)
        if len(calls) == 3:
            with torch.no_grad():
                self.supernet.classifier.bias.fill_(float("nan"))
        return loss

    monkeypatch.setattr(WeightTrainer, "step", poisons_afterwards)
    result = run_search(small(optimizer=optimizer, epochs=1))
    assert (len(calls), result.status) == (3, "diverged")


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_running_out_of_memory_is_a_result(failure, tmp_path, monkeypatch):
    forward, calls = Supernet.forward, []

    def fails_in_the_second_epoch(self, images, mixtures):
        calls.append(None)
        if len(calls) > 12:
            raise failure
        return forward(self, images, mixtures)

    monkeypatch.setattr(Supernet, "forward", fails_in_the_second_epoch)
    result = run_search(small(), None, tmp_path)
    assert (result.status, result.epochs) == ("out_of_memory", 1)
    assert result.search_s > trajectory(tmp_path)[0]["search_s"]
    assert "in epoch 2; optimizer darts" in result.error
    assert len(trajectory(tmp_path)) == 1
    assert json.loads((tmp_path / "failure.json").read_text())["status"] == "out_of_memory"

    monkeypatch.undo()
    assert run_search(small(), None, tmp_path).status == "ok"
    assert not (tmp_path / "failure.json").exists()


@pytest.mark.parametrize("where", ["torch.load", "Search.load_state_dict", "Search.__init__"])
def test_running_out_of_memory_while_going_on_keeps_what_is_there(where, tmp_path, monkeypatch):
    run_search(small(), None, tmp_path)
    kept = {name: (tmp_path / name).read_bytes() for name in ("checkpoint", "trajectory.jsonl")}

    def fails(*args, **kwargs):
        raise RuntimeError("Could not allocate bytes object!")

    owner, name = where.split(".")
    monkeypatch.setattr({"torch": torch, "Search": Search}[owner], name, fails)
    result = run_search(small(), None, tmp_path)
    assert result.status == "out_of_memory"
    assert result.epochs == (0 if owner == "torch" else 4)
    assert json.loads((tmp_path / "failure.json").read_text())["error"] == result.error
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept


def test_a_real_allocation_that_cannot_be_had_is_out_of_memory(monkeypatch):
    monkeypatch.setattr(Evaluator, "error", lambda self, mixtures: torch.empty(1 << 60))
    assert run_search(small()).status == "out_of_memory"


def test_other_errors_are_not_swallowed(monkeypatch):
    def broken(self, images, mixtures):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Supernet, "forward", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        run_search(small())


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
    assert without_times(again[-1])["architecture"] == reports[-1].architecture


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "sgd"}, re.escape(f"optimizer: got 'sgd', expected one of {sorted(METHODS)}")),
        ({"search_space": "4"}, r"search_space: got '4', expected one of \['1', '2', '3'\]"),
        ({"dataset": "cifar10", "data_dir": "/nonexistent"}, "data_dir: got '/nonexistent', expected a folder"),
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
