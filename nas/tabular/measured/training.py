"""Training and evaluation of one cell: all repeats of one budget together.

This follows NAS-Bench-101 (Ying et al., 2019, section 2.3) in what makes a table:

* every budget is a training of its own, with its own cosine schedule to zero;
* repeats differ in their weights and in the order of the images;
* the errors are those of the last epoch.

Differs from the original: images are not augmented, and SGD with Nesterov momentum replaces RMSProp, whose large
epsilon would need tuning anew at these sizes.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.datasets import PARTS, Dataset
from nas.tabular.measured.network import CellNetwork
from nas.tabular.measured.training_spec import TrainingSpec
from spaces import Cell


@dataclass(frozen=True)
class LabelledImages:
    """A data set on a device, with its three parts one after the other.

    Attributes:
        images: [N, C, H, W] float32, pixels normalised by the data set's mean and deviation.
        labels: [N] int64, classes of the images.
        train: [T] Indices of the training images.
        validation: [V] Indices of the validation images.
        test: [S] Indices of the test images.
    """

    images: Tensor
    labels: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor

    @classmethod
    def of(cls, dataset: Dataset, device: str = "cpu") -> LabelledImages:
        """Normalises the images of all parts and moves everything to the device."""
        images = dataset.joined(*PARTS)
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (dataset.mean, dataset.std))
        ends = np.cumsum([len(dataset.parts[part]) for part in PARTS]).tolist()
        indices = torch.arange(ends[-1], device=device)
        return cls(
            torch.from_numpy((images.scaled() - mean) / std).to(device),
            torch.from_numpy(images.labels).to(device),
            *indices.tensor_split(ends[:-1]),
        )


@dataclass(frozen=True)
class BudgetResult:
    """Values [R] of the repeats at one budget; errors are fractions, times are seconds.

    ``training_time_s`` is the processor time (on CUDA: the wall-clock time) of the joint training of all
    repeats, divided by their number.  Evaluation does not count.  Other load on the machine hardly changes
    processor time.
    """

    train_error: tuple[float, ...]
    validation_error: tuple[float, ...]
    test_error: tuple[float, ...]
    training_time_s: tuple[float, ...]


def train_cell(cell: Cell, data: LabelledImages, spec: TrainingSpec, budget: int) -> BudgetResult:
    """Trains ``spec.n_repeats`` networks of a cell for ``budget`` epochs and evaluates them.

    The same arguments give the same errors on one machine, whichever process trains.
    """
    device = data.images.device
    repeats = spec.n_repeats
    generators = [torch.Generator().manual_seed(_seed(spec.seed, budget, repeat)) for repeat in range(repeats)]
    network = CellNetwork(cell, spec.network, repeats)
    network.initialise(generators)
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
    started = _clock(device)
    _fit(network, data, spec, budget, generators)
    seconds = (_clock(device) - started) / repeats
    network.eval()
    errors = [_errors(network, data, part) for part in (data.train, data.validation, data.test)]
    return BudgetResult(errors[0], errors[1], errors[2], (seconds,) * repeats)


def _seed(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def _fit(
    network: CellNetwork, data: LabelledImages, spec: TrainingSpec, budget: int, generators: list[torch.Generator]
) -> None:
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=spec.learning_rate,
        momentum=spec.momentum,
        weight_decay=spec.weight_decay,
        nesterov=True,
        fused=True,
    )
    n_train = len(data.train)
    steps_per_epoch = max(1, n_train // spec.batch_size)
    batch_size = min(spec.batch_size, n_train)
    step = 0
    for _ in range(budget):
        orders = [torch.randperm(n_train, generator=g).to(data.train.device) for g in generators]
        epoch = data.train[torch.stack(orders, dim=1)]  # [T, R]: each repeat has its own order
        for start in range(0, steps_per_epoch * batch_size, batch_size):
            fraction = step / (budget * steps_per_epoch)
            optimizer.param_groups[0]["lr"] = spec.learning_rate * 0.5 * (1 + math.cos(math.pi * fraction))
            indices = epoch[start : start + batch_size]
            images = data.images[indices].flatten(1, 2).contiguous(memory_format=torch.channels_last)
            logits = network(images)
            # The sum over the repeats of each one's mean loss: no repeat's gradient depends on another.
            loss = F.cross_entropy(logits.flatten(0, 1), data.labels[indices].T.flatten()) * len(generators)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1


@torch.no_grad()
def _errors(network: CellNetwork, data: LabelledImages, part: Tensor) -> tuple[float, ...]:
    wrong = torch.zeros(network.replicas, dtype=torch.int64, device=part.device)
    for indices in part.split(512):
        images = data.images[indices].repeat(1, network.replicas, 1, 1)
        predicted = network(images.contiguous(memory_format=torch.channels_last)).argmax(dim=-1)
        wrong += (predicted != data.labels[indices]).sum(dim=1)
    return tuple((wrong.double() / len(part)).tolist())
