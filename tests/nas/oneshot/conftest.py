"""Tiny supernets, specifications and data for the tests of the one-shot search."""

import pytest
import torch

from nas.oneshot import METHODS, SearchSpec
from nas.oneshot.data import Half, SearchData
from nas.oneshot.loop import Search
from nas.oneshot.model.batches import Batch
from nas.oneshot.model.supernet import Supernet
from nas.oneshot.model.weight_trainer import WeightTrainer
from nas.oneshot.resolve import resolve
from spaces import SEARCH_SPACES

#: The smallest network with two stacks.
TINY = {"n_stacks": 2, "cells_per_stack": 1, "init_channels": 4}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_spec():
    """A specification of the tiny network on the digits, its open fields filled in; keywords override."""

    def make(optimizer="darts", **fields):
        fewer = {"controller_steps": 3, "final_samples": 20}
        own = {name: n for name, n in fewer.items() if name in METHODS[optimizer].uses}
        return resolve(SearchSpec(optimizer, **{**TINY, "epochs": 2, "device": "cpu", **own, **fields}))

    return make


@pytest.fixture
def tiny_net():
    """A double precision supernet whose affine and architecture parameters are far from their initial values."""

    def make(space="1", groups=1, seed=0, **fields):
        generator = torch.Generator().manual_seed(seed)
        sizes = {**TINY, **fields}
        net = Supernet(
            SEARCH_SPACES[space],
            n_classes=10,
            image_channels=3,
            channel_groups=groups,
            generator=generator,
            **sizes,
        ).double()
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                if name.endswith(("scale", "shift")) or name.split(".")[0] in ("alpha", "beta", "gamma"):
                    parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        return net

    return make


@pytest.fixture
def tiny_method(tiny_net, tiny_spec):
    """(method, trainer of its weights) on a tiny double precision network."""

    def make(optimizer, space="1", net=None, **fields):
        cls = METHODS[optimizer]
        spec = tiny_spec(optimizer=optimizer, search_space=space, **fields)
        net = net if net is not None else tiny_net(space, groups=cls.channel_groups)
        return cls(net, spec, torch.Generator().manual_seed(spec.seed)), WeightTrainer(net, spec)

    return make


@pytest.fixture
def batch():
    """Random images [8, 3, 8, 8] in double precision with labels."""

    def make(seed=0, n=8, size=8):
        generator = torch.Generator().manual_seed(1000 + seed)
        images = torch.randn(n, 3, size, size, generator=generator, dtype=torch.float64)
        return Batch(images, torch.randint(10, (n,), generator=generator))

    return make


@pytest.fixture
def small_data():
    """Random 8-bit images [n, 8, 8, 3] in both halves."""

    def make(n=40, size=8, flip=True, crop_padding=1):
        generator = torch.Generator().manual_seed(7)

        def half():
            images = torch.randint(256, (n, size, size, 3), generator=generator, dtype=torch.uint8)
            return Half(images, torch.randint(10, (n,), generator=generator))

        return SearchData("small", half(), half(), 10, (0.5,) * 3, (0.25,) * 3, crop_padding=crop_padding, flip=flip)

    return make


@pytest.fixture
def tiny_search(tiny_spec, small_data):
    """A search on random images."""

    def make(**fields):
        return Search(tiny_spec(**fields), small_data())

    return make
