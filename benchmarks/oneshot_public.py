"""The public code of NAS-Bench-1Shot1, run here to measure against; it is no part of this project.

Get it with ``git clone https://github.com/automl/nasbench-1shot1`` (measured at cb0f0ec).  What follows changes nothing
of what it computes: calls to ``cuda`` do nothing on the CPU, packages that it imports without needing them here are
replaced by empty modules, and signatures that PyTorch has dropped since are accepted.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

#: Imported by the public code, but not needed for a step.
_UNNEEDED = ("ConfigSpace", "nasbench", "nasbench.api", "seaborn", "torchvision", "torchvision.datasets", "torchvision.transforms")


def load(path: Path, *, on_gpu: bool = False) -> None:
    """Makes the public code importable, for the CPU or for a GPU.

    Raises:
        SystemExit: It is not there.
    """
    if not (path / "optimizers" / "darts" / "model_search.py").is_file():
        raise SystemExit(f"--public: got {path}, expected a clone of https://github.com/automl/nasbench-1shot1")
    sys.path.insert(0, str(path))
    for name in _UNNEEDED:
        module = ModuleType(name)
        module.__dict__.update(NASBench=object, set=lambda *args, **kwargs: None, set_style=lambda *args: None)
        sys.modules.setdefault(name, module)
    sys.modules["nasbench"].__dict__["api"] = sys.modules["nasbench.api"]
    setattr(np, "int", int)  # noqa: B010  # the public code predates NumPy 1.24
    for cls in () if on_gpu else (torch.Tensor, nn.Module):
        setattr(cls, "cuda", lambda self, *args, **kwargs: self)  # noqa: B010  # a method of ours in a class of theirs
    for name in ("add_", "sub", "sub_"):
        setattr(torch.Tensor, name, _with_legacy_signature(getattr(torch.Tensor, name)))


def _with_legacy_signature(method: Callable[..., Any]) -> Callable[..., Any]:
    """Accepts (factor, tensor) for (tensor, alpha=factor)."""

    def call(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 2:
            factor, other = args
            return method(self, factor * other)
        return method(self, *args, **kwargs)

    return call


def public_step(
    optimizer: str, space: str, batch_size: int, channels: int, device: str = "cpu"
) -> Callable[[], None]:
    """One architecture step (where the optimizer has one) and one weight step on random images, as it does them."""
    from importlib import import_module

    number = import_module(f"nasbench_analysis.search_spaces.search_space_{space}")
    search_space = getattr(number, f"SearchSpace{space}")()
    criterion = nn.CrossEntropyLoss()
    settings = SimpleNamespace(
        momentum=0.9, weight_decay=3e-4, arch_learning_rate=3e-4, arch_weight_decay=1e-3, grad_clip=5.0
    )
    sizes = {
        "output_weights": True,
        "steps": search_space.num_intermediate_nodes,
        "search_space": search_space,
    }
    darts = import_module("optimizers.darts.architect")
    if optimizer == "gdas":
        net = import_module("optimizers.gdas.model_search").GDASNetwork(10.0, channels, 10, 9, criterion, **sizes)
        architect = import_module("optimizers.gdas.architect").ArchitectGDAS(net, settings)
    elif optimizer == "pc_darts":
        net = import_module("optimizers.pc_darts.model_search").PCDARTSNetwork(channels, 10, 9, criterion, **sizes)
        architect = darts.Architect(net, settings)
    else:
        net = import_module("optimizers.darts.model_search").Network(channels, 10, 9, criterion, **sizes)
        architect = darts.Architect(net, settings)
    net.to(device)
    sgd = torch.optim.SGD(net.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)
    x, x_val = torch.randn(2, batch_size, 3, 32, 32).to(device)
    y, y_val = torch.randint(10, (2, batch_size)).to(device)
    sampled = optimizer in ("enas", "random_ws")
    random.seed(0)

    def step() -> None:
        if sampled:
            net._arch_parameters = _zeros_and_ones(search_space)
        else:
            architect.step(x, y, x_val, y_val, 0.025, sgd, unrolled=optimizer == "darts_2nd")
        sgd.zero_grad()
        loss = criterion(net(x, discrete=True) if sampled else net(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        sgd.step()

    return step


def _zeros_and_ones(search_space: Any) -> list[torch.Tensor]:
    """As ``DartsWrapper.get_weights_from_arch`` of the public code, for a random architecture."""
    adjacency, operations = search_space.sample(with_loose_ends=True, upscale=False)
    n = len(operations)
    names = ["maxpool3x3", "conv3x3-bn-relu", "conv1x1-bn-relu"]
    beta = torch.zeros(n, len(names))
    for block, name in enumerate(operations):
        beta[block, names.index(name)] = 1
    edges = torch.tensor(adjacency, dtype=torch.float32)
    first = 3 if search_space.search_space_number == 1 else 2
    return [beta, edges[:-1, -1][None], *(edges[:node, node][None] for node in range(first, n + 1))]
