"""Searches that diverge or run out of memory are results; anything else is an error."""

import json

import pytest
import torch

from nas.oneshot import METHODS
from nas.oneshot.loop import Search
from nas.oneshot.model.batches import Batch
from nas.oneshot.model.evaluation import Evaluator
from nas.oneshot.model.supernet import Supernet
from nas.oneshot.model.weight_trainer import DivergedError, WeightTrainer, finite_loss
from nas.oneshot.search import run_search
from tests.nas.oneshot.searches import small, trajectory


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
    assert result.architecture_index == trajectory(tmp_path)[0]["architecture_index"]
    assert not (tmp_path / "architecture.json").exists()
    failure = json.loads((tmp_path / "failure.json").read_text())
    assert failure.pop("spec")["weight_decay"] == 0.00123
    assert failure == result.to_dict()


@pytest.mark.parametrize("optimizer", ["darts", "darts_2nd", "gdas", "pc_darts"])
def test_a_validation_loss_that_is_no_number_ends_the_epoch(optimizer, tiny_method, batch):
    method, weights = tiny_method(optimizer, "1")
    images, labels = batch(1).images, batch(1).labels
    loss = method.architecture_step(batch(0), Batch(images * torch.nan, labels), weights)
    with pytest.raises(DivergedError, match="validation loss is nan"):
        finite_loss(loss, "validation")


@pytest.mark.parametrize("optimizer", ["darts", "darts_2nd", "gdas", "pc_darts"])
def test_an_architecture_weight_that_is_no_number_selects_nothing(optimizer, tiny_method):
    method, _ = tiny_method(optimizer, "1")
    with torch.no_grad():
        method.parameters[-1][0] = torch.nan
    with pytest.raises(DivergedError, match="architecture weight is not finite"):
        method.select(None, final=True)


def test_an_absurd_learning_rate_diverges_by_itself():
    result = run_search(small(learning_rate=1e30, grad_clip=1e30, epochs=2))
    assert (result.status, result.epochs, result.architecture_index) == ("diverged", 0, None)


@pytest.mark.parametrize("optimizer", list(METHODS))
def test_weights_that_diverge_in_the_last_step_end_the_search(optimizer, monkeypatch):
    step, calls = WeightTrainer.step, []

    def poisons_afterwards(self, batch, mixtures):
        loss = step(self, batch, mixtures)
        calls.append(None)
        if len(calls) == 4:
            with torch.no_grad():
                self.supernet.classifier.bias.fill_(float("nan"))
        return loss

    monkeypatch.setattr(WeightTrainer, "step", poisons_afterwards)
    result = run_search(small(optimizer=optimizer, epochs=1))
    assert (len(calls), result.status) == (4, "diverged")


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
