"""A step asks the device for nothing, and masked paths compute what sampled ones do."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nas.oneshot import METHODS
from nas.oneshot.ahead import Ahead
from nas.oneshot.loop import Search
from nas.oneshot.steps import Steps

#: Operators that read a value from a device, or bring one there.
WAITING = ("aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::lift_fresh")


class Operators(TorchDispatchMode):
    """Notes the operators that run."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.add(function.name().split(".")[0])
        return function(*args, **(kwargs or {}))


@pytest.fixture
def steps_seen(monkeypatch):
    """A function that runs an epoch and gives the operators of its steps, without what comes before and after them."""
    recorded = Operators()

    def recording(name):
        original = getattr(Steps, name)

        def step(self):
            with recorded:
                original(self)

        monkeypatch.setattr(Steps, name, step)

    recording("_both_steps")
    recording("_weight_step")

    def run(search):
        search.run_epoch(0)
        return recorded.seen

    return run


@pytest.mark.parametrize("optimizer", list(METHODS))
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_step_reads_nothing_from_the_device(optimizer, precision, steps_seen, tiny_spec, small_data):
    spec = tiny_spec(optimizer, search_space="3", precision=precision, kernels="torch", batch_size=20)
    seen = steps_seen(Search(spec, small_data(), masked=True))
    assert {"aten::convolution", "aten::native_batch_norm"} <= seen, "the test would see nothing"
    assert seen.isdisjoint(WAITING)


def test_a_step_that_reads_a_value_is_noticed(steps_seen, tiny_spec, small_data, monkeypatch):
    """On the CPU, GDAS reads which operation is sampled, and leaves the others out."""
    search = Search(tiny_spec("gdas", kernels="torch", batch_size=20), small_data(), masked=True)
    mixtures = search.method.mixtures

    def reading():
        assert float(search.weights.rate) > 0
        return mixtures()

    monkeypatch.setattr(search.method, "mixtures", reading)
    assert not steps_seen(search).isdisjoint(WAITING)


@pytest.mark.parametrize("space", ["1", "3"])
@pytest.mark.parametrize("optimizer", ["gdas", "enas", "random_ws"])
def test_masked_paths_learn_what_sampled_ones_do(optimizer, space, tiny_spec, small_data):
    """Zeros and a one instead of leaving out: the same weights but for rounding, velocities included."""
    learned = []
    for masked in (False, True):
        spec = tiny_spec(optimizer, search_space=space, kernels="torch", batch_size=20, momentum=0.9, weight_decay=0.1)
        search = Search(spec, small_data(), masked=masked)
        for epoch in range(2):
            search.run_epoch(epoch)
        learned.append(
            torch.cat([t.detach().flatten() for t in (*search.weights.parameters, *search.weights.velocities)])
        )
    assert float((learned[0] - learned[1]).norm() / learned[0].norm()) < 1e-5


def test_what_is_drawn_ahead_comes_in_order_and_refills_in_place():
    ahead = Ahead(torch.device("cpu"))
    for start in (0, 10):
        ahead.fill([(torch.tensor([start + i]), torch.full((2, 2), i)) for i in range(3)])
        for i in range(3):
            first, second = ahead.next()
            assert first.tolist() == [start + i]
            assert second.tolist() == [[i, i], [i, i]]
