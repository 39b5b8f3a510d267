"""Nothing mixes devices: PyTorch's ``meta`` device computes shapes alone, and refuses tensors of the CPU among its own.

It stands for the GPU that is not at hand; ``run_bohb.py search --device cuda --epochs 2`` is the check on a real one.
"""

import pytest
import torch
import torch.nn.functional as F

from nas.oneshot import METHODS
from nas.oneshot.model.batches import Batches
from nas.oneshot.model.supernet import Supernet
from nas.oneshot.model.weight_trainer import WeightTrainer
from nas.oneshot.resolve import resolve
from nas.oneshot.spec import SearchSpec
from spaces import SEARCH_SPACES

META = torch.device("meta")


@pytest.fixture(autouse=True)
def _values_of_meta_tensors_are_zeros(monkeypatch):
    """Where a sampled operation is read back: the only values that a forward pass waits for."""
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(
        torch.Tensor, "tolist", lambda self: tolist(torch.zeros(self.shape, dtype=self.dtype) if self.is_meta else self)
    )


@pytest.mark.parametrize("optimizer", list(METHODS))
@pytest.mark.parametrize("space", ["1", "3"])
def test_a_step_stays_on_its_device(optimizer, space, small_data):
    method = METHODS[optimizer]
    spec = resolve(SearchSpec(optimizer, space, init_channels=4, cells_per_stack=1, n_stacks=2, batch_size=8))
    generator = torch.Generator().manual_seed(0)
    net = Supernet(
        SEARCH_SPACES[space], n_classes=10, image_channels=3, n_stacks=2, cells_per_stack=1, init_channels=4,
        channel_groups=method.channel_groups, generator=generator,
    ).to(META)  # fmt: skip
    data = small_data().to(META)
    batches = Batches(
        data.weights, data, batch_size=8, cutout_length=16, shuffling=generator, augmentation=generator
    )  # fmt: skip
    batch = next(batches.one_pass(cutout_prob=1.0))
    running, weights = method(net, spec, generator), WeightTrainer(net, spec)
    loss = F.cross_entropy(net(batch.images, running.mixtures()), batch.labels)
    learned = [*weights.parameters, *getattr(running, "parameters", [])]
    gradients = torch.autograd.grad(loss, learned, allow_unused=True)
    assert batch.images.device == loss.device == META
    assert {gradient.device for gradient in gradients if gradient is not None} == {META}


def test_a_tensor_of_another_device_is_noticed():
    with pytest.raises(RuntimeError, match="device"):
        torch.ones(3, device=META) @ torch.ones(3)
