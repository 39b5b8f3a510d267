"""A step asks the device for nothing, and masked paths compute what sampled ones do."""

import copy
import gc
import weakref

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from nas.oneshot import METHODS
from nas.oneshot.ahead import Ahead
from nas.oneshot.loop import Search
from nas.oneshot.steps import Steps

#: Operators and methods that read a value from a device, or bring one there; and draws on the CPU.
WAITING = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::lift_fresh", "aten::exponential_", "aten::randint",
    "tolist", "item", "cpu", "numpy", "to", "__float__", "__int__", "__bool__", "__index__",
}  # fmt: skip


class Methods(TorchFunctionMode):
    """Notes the methods of tensors that are called; of ``to``, those that name a device."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name != "to" or any(isinstance(each, torch.device | str) for each in args):
            self.seen.add(name)
        return function(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    """Notes the operators that run."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.add(function.name().split(".")[0])
        return function(*args, **(kwargs or {}))


@pytest.fixture
def steps_seen(monkeypatch):
    """A function that runs an epoch and gives the operators of its steps, without what comes before and after them."""
    seen = set()

    def recording(name):
        original = getattr(Steps, name)

        def step(self):
            with Operators(seen), Methods(seen):
                original(self)

        monkeypatch.setattr(Steps, name, step)

    recording("_both_steps")
    recording("_weight_step")

    def run(search):
        search.run_epoch(0)
        return seen

    return run


@pytest.mark.parametrize("optimizer", list(METHODS))
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_step_reads_nothing_from_the_device(optimizer, precision, steps_seen, tiny_spec, small_data):
    spec = tiny_spec(optimizer, search_space="3", precision=precision, kernels="torch", batch_size=20)
    seen = steps_seen(Search(spec, small_data(), masked=True))
    assert {"aten::convolution", "aten::native_batch_norm"} <= seen, "the test would see nothing"
    assert seen.isdisjoint(WAITING)


def test_a_step_that_reads_a_value_is_noticed(steps_seen, tiny_spec, small_data):
    """On the CPU, GDAS reads which operation is sampled, and leaves the others out."""
    assert "tolist" in steps_seen(Search(tiny_spec("gdas", kernels="torch", batch_size=20), small_data()))


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


def test_a_search_that_is_dropped_is_freed_at_once(tiny_spec, small_data):
    """A worker runs one search after the other: the next one needs the memory, before garbage is collected."""
    search = Search(tiny_spec("darts", batch_size=20), small_data())
    search.run_epoch(0)
    supernet = weakref.ref(search.supernet)
    gc.disable()
    try:
        del search
        assert supernet() is None
    finally:
        gc.enable()


def test_the_architectures_optimizer_goes_on_on_another_device(tiny_spec, small_data):
    """A state from a GPU says that it may be captured, which PyTorch refuses on the CPU, and the other way round."""
    first, second = (Search(tiny_spec("darts", batch_size=20), small_data()) for _ in range(2))
    first.run_epoch(0)
    state = copy.deepcopy(first.state_dict())
    state["method"]["optimizer"]["param_groups"][0]["capturable"] = True
    second.load_state_dict(state)
    assert second.run_epoch(1).train_loss == first.run_epoch(1).train_loss
