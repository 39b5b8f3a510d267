"""What only a GPU can show; skipped without one."""

from dataclasses import replace

import msgspec
import pytest
import torch

from nas.oneshot import METHODS, SearchSpec
from nas.oneshot.data import Half, SearchData
from nas.oneshot.loop import Search
from nas.oneshot.model.weight_trainer import DivergedError
from nas.oneshot.resolve import choose_kernels, resolve

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

#: The smallest network with two stacks whose convolutions are our own kernels' (16 channels), and one of fewer.
NETWORK = {"n_stacks": 2, "cells_per_stack": 1, "init_channels": 16, "batch_size": 24}


@pytest.fixture
def search():
    """A search on random images, eight steps an epoch."""

    def make(optimizer="darts", **fields):
        own = {n: v for n, v in (("controller_steps", 3), ("final_samples", 20)) if n in METHODS[optimizer].uses}
        spec = SearchSpec(optimizer, **{**NETWORK, "epochs": 2, "device": "cuda", **own, **fields})
        generator = torch.Generator().manual_seed(7)

        def half():
            images = torch.randint(256, (8 * 24, 16, 16, 3), generator=generator, dtype=torch.uint8)
            return Half(images, torch.randint(10, (len(images),), generator=generator))

        data = SearchData("small", half(), half(), 10, (0.5,) * 3, (0.25,) * 3, crop_padding=2, flip=True)
        return Search(choose_kernels(resolve(spec)), data)

    return make


def weights_after(running, epochs=1):
    for epoch in range(epochs):
        running.run_epoch(epoch)
    return torch.cat([p.detach().flatten().cpu() for p in running.supernet.parameters()])


def distance(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("channels", [8, 16])
@pytest.mark.parametrize("optimizer", list(METHODS))
def test_a_gpu_computes_what_the_cpu_does(optimizer, channels, search):
    fields = {"init_channels": channels, "search_space": "3", "graph": "off"}
    on_gpu, on_cpu = search(optimizer, **fields), search(optimizer, **fields, device="cpu", kernels="torch")
    assert on_gpu.settings.kernels == "native"
    assert distance(weights_after(on_gpu), weights_after(on_cpu)) < 1e-3


@pytest.mark.parametrize("optimizer", list(METHODS))
def test_a_captured_search_is_the_eager_one_to_the_last_bit(optimizer, search):
    captured, eager = (search(optimizer, graph=graph, warm_start_epochs=0) for graph in ("on", "off"))
    assert torch.equal(weights_after(captured, 2), weights_after(eager, 2))


def test_warming_up_and_architecture_steps_have_a_graph_each(search):
    captured, eager = (search(graph=graph, warm_start_epochs=1) for graph in ("on", "off"))
    assert torch.equal(weights_after(captured, 2), weights_after(eager, 2))


def test_learning_rate_temperature_and_cutout_change_within_a_graph(search):
    fields = {"epochs": 4, "learning_rate": 0.1, "cutout_prob": 1.0}
    captured, eager = (search("gdas", graph=graph, **fields) for graph in ("on", "off"))
    reports = [[running.run_epoch(epoch) for epoch in range(4)] for running in (captured, eager)]
    for one, other in zip(*reports, strict=True):
        assert one == msgspec.structs.replace(other, search_s=one.search_s)


def test_a_search_goes_on_from_its_state(search):
    whole, first, second = (search("gdas", epochs=3) for _ in range(3))
    for epoch in range(3):
        whole.run_epoch(epoch)
    first.run_epoch(0)
    second.load_state_dict(first.state_dict())
    for epoch in (1, 2):
        second.run_epoch(epoch)
    for one, other in zip(whole.supernet.parameters(), second.supernet.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_divergence_is_noticed_at_the_end_of_its_epoch(search):
    with pytest.raises(DivergedError):
        weights_after(search(learning_rate=1e30), epochs=2)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_other_precisions_are_near_float32(precision, search):
    rough, exact = search(precision=precision), search()
    assert rough.settings == replace(exact.settings, precision=precision, kernels=rough.settings.kernels)
    assert 1e-7 < distance(weights_after(rough), weights_after(exact)) < 0.05
