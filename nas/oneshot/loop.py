"""The one loop of training and selection that every optimizer runs in."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch

from nas.oneshot.data import SearchData
from nas.oneshot.methods import METHODS
from nas.oneshot.methods.method import Method
from nas.oneshot.model.batches import Batches
from nas.oneshot.model.evaluation import Evaluator
from nas.oneshot.model.rounding import allow_tf32
from nas.oneshot.model.supernet import Supernet
from nas.oneshot.model.weight_trainer import WeightTrainer
from nas.oneshot.randomness import Streams
from nas.oneshot.resolve import captures, device_of
from nas.oneshot.spec import Settings
from nas.oneshot.steps import Steps
from results.epoch import EpochRecord
from spaces import SEARCH_SPACES


class Search:
    """The parts of a search and one epoch of it.

    Args:
        settings: Settings of the search, none of them open.
        data: Data set of the search.
        masked: Whether an optimizer that samples computes all that it might sample; by default on a GPU.

    Attributes:
        search_s: Seconds spent so far in training and in the selection at the end.
    """

    def __init__(self, settings: Settings, data: SearchData, *, masked: bool | None = None) -> None:
        self.settings = settings
        self.space = SEARCH_SPACES[settings.search_space]
        self.streams = Streams.from_seed(settings.seed)
        self.device = device_of(settings)
        method = METHODS[settings.optimizer]
        if masked is None:
            masked = self.device.type == "cuda"
        self.data = data.to(self.device)
        self.supernet = Supernet(
            self.space,
            n_classes=data.n_classes,
            image_channels=data.image_channels,
            n_stacks=settings.n_stacks,
            cells_per_stack=settings.cells_per_stack,
            init_channels=settings.init_channels,
            channel_groups=method.channel_groups,
            generator=self.streams.init,
        ).to(self.device)
        self.supernet.precision = settings.precision
        allow_tf32(settings.precision == "tf32")
        self.supernet.native = settings.kernels == "native"
        self.supernet.masked = method.changing_operations and masked
        if settings.compile:
            self.supernet.compile_cells()
        self.weights = WeightTrainer(self.supernet, settings)
        self.method: Method = method(self.supernet, settings, self.streams.architecture)
        self.weight_batches, self.architecture_batches = (
            Batches(
                half,
                self.data,
                batch_size=settings.batch_size,
                cutout_length=settings.cutout_length,
                shuffling=self.streams.batches,
                augmentation=self.streams.augmentation,
            )
            for half in (self.data.weights, self.data.architecture)
        )
        self.steps = Steps(
            self.method,
            self.weights,
            self.weight_batches,
            self.architecture_batches,
            captured=captures(settings),
        )
        self.evaluator = Evaluator(self.supernet, self.data, settings.batch_size)
        self.search_s = 0.0

    def cutout_prob(self, epoch: int) -> float:
        """Rises linearly from 0 in the first epoch to the specified value in the last."""
        return self.settings.cutout_prob * epoch / max(self.settings.epochs - 1, 1)

    def run_epoch(self, epoch: int) -> EpochRecord:
        """Trains epoch 0, 1, ... and selects its architecture.

        Raises:
            DivergedError: A loss or an architecture weight is not finite.
        """
        final = epoch == self.settings.epochs - 1
        with self._stopwatch():
            train_loss, arch_loss = self._train(epoch)
        selecting = self.streams.architecture if final else self.streams.report
        with self._stopwatch(running=final), self.method.drawing_from(selecting):
            selected = self.method.select(self.evaluator, final=final)
        with self.method.drawing_from(self.streams.report):
            one_shot_error = self.method.one_shot_error(self.evaluator, selected)
        weights = self.method.architecture_weights()
        return EpochRecord(
            epoch=epoch + 1,
            train_loss=train_loss,
            arch_loss=arch_loss,
            one_shot_validation_error=one_shot_error,
            learning_rate=self.weights.learning_rate,
            cutout_prob=self.cutout_prob(epoch),
            architecture_index=self.space.encode(selected),
            cell_hash=self.space.cell(selected).hash,
            search_s=self.search_s,
            architecture_weights=None if weights is None else tuple(map(tuple, weights)),
        )

    def _train(self, epoch: int) -> tuple[float, float | None]:
        """The steps of an epoch; returns the mean losses of weights and architecture."""
        self.weights.start_epoch(epoch)
        self.method.start_epoch(epoch)
        warming_up = epoch < self.settings.warm_start_epochs
        cutout_prob = self.cutout_prob(epoch)
        train_loss, arch_loss = self.steps.run_epoch(cutout_prob, warming_up=warming_up)
        later = [] if warming_up else self.method.end_epoch(self.architecture_batches.passes(cutout_prob))
        return train_loss, fmean(later) if later else arch_loss

    @contextmanager
    def _stopwatch(self, running: bool = True) -> Iterator[None]:
        """Adds the time within to ``search_s``."""
        start = time.perf_counter()
        try:
            yield
        finally:  # what fails has cost something, too
            if running:
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                self.search_s += time.perf_counter() - start

    def state_dict(self) -> dict[str, Any]:
        """All that a later epoch depends on."""
        return {
            "supernet": self.supernet.state_dict(),
            "weights": self.weights.state_dict(),
            "method": self.method.state_dict(),
            "streams": self.streams.state_dict(),
            "search_s": self.search_s,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        self.supernet.load_state_dict(state["supernet"])
        self.weights.load_state_dict(state["weights"])
        self.method.load_state_dict(state["method"])
        self.streams.load_state_dict(state["streams"])
        self.search_s = state["search_s"]
