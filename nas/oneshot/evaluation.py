"""One-shot errors: of the supernet as it mixes, and of discrete architectures with the shared weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nas.oneshot.augment import fixed_batches, normalise
from nas.oneshot.data import Half, SearchData
from nas.oneshot.mixture import Mixture
from nas.oneshot.supernet import Supernet
from nas.oneshot.weights import DivergedError
from spaces.search_space import Architecture

#: Images a batch of evaluation; BatchNorm uses the statistics of such a batch.
EVALUATION_BATCH_SIZE = 500


class Evaluator:
    """Errors on the architecture's half, without augmentation.

    Args:
        supernet: The one-shot model.
        data: The data set on the device.
        batch_size: Images of a training batch, in which ``first_batches`` counts.

    Attributes:
        batches: The whole half.
        n_mini_batches: Training batches that the half fills, the last one perhaps in part.
    """

    def __init__(self, supernet: Supernet, data: SearchData, batch_size: int) -> None:
        self.supernet = supernet
        self.data = data
        self.batch_size = batch_size
        self.batches = fixed_batches(data.architecture, EVALUATION_BATCH_SIZE)
        self.n_mini_batches = -(-len(data.architecture) // batch_size)

    def first_batches(self, n_mini_batches: int) -> list[Half]:
        """The images of the first mini-batches, joined: fewer passes through the supernet for the same images."""
        n = n_mini_batches * self.batch_size
        half = self.data.architecture
        return fixed_batches(Half(half.images[:n], half.labels[:n]), EVALUATION_BATCH_SIZE)

    @torch.inference_mode()
    def error(self, mixtures: Callable[[], Sequence[Mixture]]) -> float:
        """The fraction of the half that is misclassified; ``mixtures`` is asked anew for each batch.

        Raises:
            DivergedError: What the supernet says is not finite.
        """
        return self._error([self._wrong(batch, mixtures()) for batch in self.batches], len(self.data.architecture))

    @torch.inference_mode()
    def architecture_errors(
        self, architectures: Sequence[Architecture], batches: Sequence[Half]
    ) -> npt.NDArray[np.float64]:
        """[n] the error of each architecture on the same batches.

        Architectures that are equal but for their loose ends are computed once.

        Raises:
            DivergedError: What the supernet says is not finite.
        """
        n_images = sum(map(len, batches))
        errors: dict[Mixture, float] = {}
        for architecture in architectures:
            mixture = Mixture.discrete(architecture)
            if mixture not in errors:
                wrong = [self._wrong(batch, [mixture] * len(self.supernet.cells)) for batch in batches]
                errors[mixture] = self._error(wrong, n_images)
        return np.array([errors[Mixture.discrete(a)] for a in architectures])

    def _wrong(self, batch: Half, mixtures: Sequence[Mixture]) -> Tensor:
        """How many are misclassified; not a number if a logit is not finite."""
        logits = self.supernet(normalise(batch.images, self.data), mixtures)
        wrong = (logits.argmax(1) != batch.labels).sum()
        return torch.where(logits.isfinite().all(), wrong.double(), torch.nan)

    @staticmethod
    def _error(wrong: Sequence[Tensor], n_images: int) -> float:
        error = float(torch.stack(list(wrong)).sum()) / n_images
        if isnan(error):
            raise DivergedError("an output of the supernet is not finite")
        return error
