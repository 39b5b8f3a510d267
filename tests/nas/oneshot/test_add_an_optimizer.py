"""The optimizer of docs/add-an-optimizer.md works as it is written there."""

import re
import sys
from pathlib import Path

import pytest
import torch

import nas.oneshot
from nas.oneshot import SearchSpec, run_search

DOC = Path(__file__).resolve().parents[3] / "docs" / "add-an-optimizer.md"


@pytest.fixture
def snas(monkeypatch, tmp_path):
    """The document's file among those of ``nas.oneshot``, and its line in METHODS."""
    file, line = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert len(file.splitlines()) < 60
    assert len(line.splitlines()) == 1
    (tmp_path / "snas.py").write_text(file)
    monkeypatch.setattr(nas.oneshot, "__path__", [*nas.oneshot.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "nas.oneshot.snas", raising=False)
    for name, method in eval("{" + line + "}", vars(nas.oneshot)).items():
        monkeypatch.setitem(nas.oneshot.METHODS, name, method)
    yield nas.oneshot.METHODS["snas"]
    del sys.modules["nas.oneshot.snas"]


@pytest.mark.usefixtures("snas")
@pytest.mark.parametrize("space", ["1", "2", "3"])
def test_searches_and_learns_its_architecture(space):
    reports = []
    size = {"n_stacks": 2, "cells_per_stack": 1, "init_channels": 8}
    spec = SearchSpec("snas", space, epochs=6, learning_rate=0.1, arch_learning_rate=0.05, **size)
    assert run_search(spec, on_epoch=reports.append).status == "ok"
    assert reports[-1].train_loss < reports[0].train_loss
    assert len({report.architecture for report in reports}) > 1


def test_mixes_all_operations_by_relaxed_samples(snas, tiny_net, tiny_spec):
    net = tiny_net("3")
    method = snas(net, tiny_spec(epochs=3), torch.Generator().manual_seed(5))
    method.start_epoch(1)
    assert method.temperature == pytest.approx(10**-0.5)
    first, again = method.mixtures(), method.mixtures()
    assert first[0] is first[1]
    assert [weights.tolist() for weights in first[0].beta] != [weights.tolist() for weights in again[0].beta]
    for weights in (*first[0].beta, *first[0].alpha[1:], first[0].gamma):
        assert weights.sum().item() == pytest.approx(1)
        assert (weights > 0).all()


def test_names_every_decision_of_a_method():
    method = nas.oneshot.method.Method
    decisions = {name for name in vars(method) if not name.startswith("_")} - {"resolve"}
    rows = [line.split("|")[1] for line in DOC.read_text().splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    assert named == decisions | {"architecture_gradient"}
    assert hasattr(nas.oneshot.method.GradientMethod, "architecture_gradient")
