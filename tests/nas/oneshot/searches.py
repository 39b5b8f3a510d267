"""Small searches for tests, and what two of them have in common."""

import json

import torch

from nas.oneshot import METHODS, SearchSpec
from nas.oneshot.checkpoint import read_checkpoint
from nas.oneshot.methods.sampling import SamplingMethod

#: Seconds are measured, everything else is computed.
MEASURED = ("search_s",)
#: The optimizers of the paper, DARTS in both orders.
PAPERS = ["darts", "darts_2nd", "gdas", "pc_darts", "enas", "random_ws"]
#: The optimizers that choose by the errors of samples.
SAMPLING = [name for name, method in METHODS.items() if issubclass(method, SamplingMethod)]


class Killed(BaseException):
    """As a kill -9: nothing of the search may catch it."""


def small(optimizer="darts", **fields):
    """A search of a second: one cell a stack, 4 channels, 4 epochs of 4 steps on the digits."""
    defaults = {"epochs": 4, "n_stacks": 2, "cells_per_stack": 1, "init_channels": 4, "seed": 3}
    own = {name: n for name, n in (("controller_steps", 4), ("final_samples", 8)) if name in METHODS[optimizer].uses}
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
