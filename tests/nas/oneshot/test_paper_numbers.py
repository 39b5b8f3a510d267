"""The numbers of the paper and of its public code, wherever nas/oneshot writes them down.

Sources: the paper's sections 3 to 5 and appendix C; automl/nasbench-1shot1.
"""

import pytest
import torch

from nas.oneshot import SearchSpec
from nas.oneshot.data import Half, SearchData
from nas.oneshot.loop import Search
from nas.oneshot.methods import controller, darts_2nd, enas, gdas
from nas.oneshot.methods.sampling import SamplingMethod
from nas.oneshot.model.supernet import ARCHITECTURE_INIT_STD, Cell
from nas.oneshot.resolve import resolve
from nas.oneshot.shared_weights import POLICY_DRAWS
from tests.nas.oneshot.searches import PAPERS


def search(optimizer, **fields):
    """A search of the paper's size on a few images as large as CIFAR-10's."""

    def half():
        return Half(torch.zeros(4, 32, 32, 3, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))

    data = SearchData("zeros", half(), half(), 10, (0.5,) * 3, (0.25,) * 3, crop_padding=4, flip=True)
    return Search(resolve(SearchSpec(optimizer, device="cpu", **fields)), data)


def test_three_stacks_of_three_cells_from_sixteen_channels_on():
    cells = [cell for cell in search("darts").supernet.cells if isinstance(cell, Cell)]
    assert [cell.channels for cell in cells] == [16] * 3 + [32] * 3 + [64] * 3
    assert ARCHITECTURE_INIT_STD == 1e-3


def test_fifty_epochs_on_halves_that_leave_the_tables_images_alone():
    spec = SearchSpec()
    assert (spec.epochs, spec.split, spec.cutout_length, spec.cutout_prob, spec.warm_start_epochs) == (
        50,
        "tuning",
        16,
        0.0,
        0,
    )


@pytest.mark.parametrize("optimizer", PAPERS)
def test_the_weights_optimizer(optimizer):
    weights = search(optimizer).weights
    assert (weights.learning_rate, weights.momentum) == (0.025, 0.9)
    assert weights.weight_decay == (1e-4 if optimizer == "enas" else 3e-4)
    settings = resolve(SearchSpec(optimizer))
    sampling = optimizer in ("enas", "random_ws")
    assert (settings.learning_rate_min, settings.batch_size, settings.grad_clip) == (
        0.001,
        64 if sampling else 96,
        0.25 if sampling else 5.0,
    )


@pytest.mark.parametrize("optimizer", ["darts", "darts_2nd", "gdas", "pc_darts"])
def test_the_architecture_optimizer(optimizer):
    made = search(optimizer).method.optimizer
    (group,) = made.param_groups
    assert isinstance(made, torch.optim.Adam)
    assert (group["lr"], group["betas"], group["weight_decay"]) == (3e-4, (0.5, 0.999), 1e-3)


def test_the_methods_own_constants():
    assert darts_2nd.FINITE_DIFFERENCE_STEP == 0.01
    assert (gdas.FIRST_TEMPERATURE, gdas.LAST_TEMPERATURE) == (10.0, 1.0)
    assert [block.channel_groups for block in search("pc_darts").supernet.cells[0].blocks] == [4] * 4


def test_enas():
    method = search("enas").method
    (group,) = method.optimizer.param_groups
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (3.5e-4, (0.1, 0.999), 1e-3, 0.0)
    assert (method.settings.controller_steps, method.settings.final_samples, POLICY_DRAWS) == (300, 100, 100)
    assert (enas.ENTROPY_WEIGHT, enas.BASELINE_DECAY) == (1e-4, 0.99)
    assert (controller.HIDDEN_UNITS, controller.INIT_RANGE) == (64, 0.1)
    assert (controller.TEMPERATURE, controller.TANH_CONSTANT) == (5.0, 2.5)


def test_random_search_with_weight_sharing():
    assert search("random_ws").method.settings.final_samples == 1000
    assert (SamplingMethod.RANKING_BATCHES, SamplingMethod.FINALISTS) == (10, 5)
