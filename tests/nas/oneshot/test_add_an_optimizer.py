"""The optimizer of docs/add-an-optimizer.md works as it is written there."""

import ast
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nas.oneshot import METHODS, SearchSpec, methods
from nas.oneshot.methods.method import GradientMethod, Method
from nas.oneshot.search import run_search

ROOT = Path(__file__).resolve().parents[3]
DOC = ROOT / "docs" / "add-an-optimizer.md"
#: What the checks of a clone read.
FOLDERS = ("analysis", "benchmarks", "docs", "master", "nas", "results", "spaces", "tests", "worker")
FILES = ("run_bohb.py", "setup.cfg", "pyproject.toml")
#: Keeps the clone from cloning itself.
IN_A_CLONE = "NASBOHB_TEST_IN_A_CLONE"


def file_and_line():
    """The document's two pieces of code."""
    file, line = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert len(file.splitlines()) < 60
    assert len(line.splitlines()) == 1
    return file, line


@pytest.fixture
def snas(monkeypatch, tmp_path):
    """The document's file among those of ``nas.oneshot.methods``, and its line in METHODS."""
    file, line = file_and_line()
    (tmp_path / "snas.py").write_text(file)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "nas.oneshot.methods.snas", raising=False)
    for name, place in ast.literal_eval("{" + line.strip() + "}").items():
        monkeypatch.setitem(METHODS, name, pkgutil.resolve_name(place))
    yield METHODS["snas"]
    del sys.modules["nas.oneshot.methods.snas"]


@pytest.fixture
def clone(tmp_path):
    """A copy of the project to which the document's reader has added the file and the line."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    add(tmp_path, "snas", *file_and_line())
    return tmp_path


def add(clone, name, file, line):
    """One file, and one line."""
    package = clone / "nas" / "oneshot" / "methods"
    (package / f"{name}.py").write_text(file)
    registered, end = (package / "__init__.py").read_text().split("\n    }\n)\n")
    (package / "__init__.py").write_text(f"{registered}\n{line}    }}\n)\n{end}")


def passed(clone, *command):
    """What a check of the clone prints; it must pass."""
    run = subprocess.run(
        [sys.executable, "-m", *command], cwd=clone, env={**os.environ, IN_A_CLONE: "1"}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.skipif(IN_A_CLONE in os.environ, reason="is what is being tested")
def test_the_file_and_the_line_pass_the_tests_of_each_optimizer_and_the_lint(clone):
    said = passed(clone, "pytest", "-k", "snas", "tests/nas/oneshot")
    assert int(re.search(r"(\d+) passed", said)[1]) > 10
    passed(clone, "ruff", "check", ".")
    passed(clone, "ruff", "format", "--check", ".")


@pytest.mark.skipif(IN_A_CLONE in os.environ, reason="is what is being tested")
def test_so_does_an_optimizer_that_learns_no_architecture(clone):
    """Sampling, with nothing but the weights to train, and with a default of its own."""
    file = (
        "from nas.oneshot.methods.sampling import SamplingMethod\n"
        "from spaces.search_space import Architecture\n\n\n"
        "class First(SamplingMethod):\n"
        '    defaults = SamplingMethod.defaults | {"batch_size": 32, "weight_decay": 0.0, "final_samples": 20}\n\n'
        "    def sample(self, n: int) -> list[Architecture]:\n"
        "        return [self.space.decode(i) for i in range(n)]\n"
    )
    add(clone, "lexical", file, '        "lexical": "nas.oneshot.methods.lexical:First",\n')
    said = passed(clone, "pytest", "-k", "lexical", "tests/nas/oneshot")
    assert int(re.search(r"(\d+) passed", said)[1]) > 10


@pytest.mark.slow
@pytest.mark.skipif(IN_A_CLONE in os.environ, reason="is what is being tested")
def test_the_file_and_the_line_pass_all_checks(clone):
    passed(clone, "pytest")
    passed(clone, "mypy")


@pytest.mark.usefixtures("snas")
@pytest.mark.parametrize("space", ["1", "2", "3"])
def test_searches_and_learns_its_architecture(space):
    reports = []
    size = {"n_stacks": 2, "cells_per_stack": 1, "init_channels": 8}
    spec = SearchSpec("snas", space, epochs=6, learning_rate=0.1, arch_learning_rate=0.05, **size)
    assert run_search(spec, on_epoch=reports.append).status == "ok"
    assert reports[-1].train_loss < reports[0].train_loss
    assert len({report.architecture_index for report in reports}) > 1


def test_mixes_all_operations_by_relaxed_samples(snas, tiny_net, tiny_spec):
    net = tiny_net("3")
    method = snas(net, tiny_spec(epochs=3), torch.Generator().manual_seed(5))
    method.start_epoch(1)
    assert float(method.temperature) == pytest.approx(10**-0.5)
    first, again = method.mixtures(), method.mixtures()
    assert first[0] is first[1]
    assert [weights.tolist() for weights in first[0].beta] != [weights.tolist() for weights in again[0].beta]
    for weights in (*first[0].beta, *first[0].alpha[1:], first[0].gamma):
        assert weights.sum().item() == pytest.approx(1)
        assert (weights > 0).all()


def test_names_every_decision_of_a_method():
    decisions = {name for name in vars(Method) if not name.startswith("_")} - {"drawing_from"}
    rows = [line.split("|")[1] for line in DOC.read_text().splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    assert named == decisions | {"architecture_gradient"}
    assert hasattr(GradientMethod, "architecture_gradient")
