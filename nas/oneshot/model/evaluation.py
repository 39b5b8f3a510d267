"""One-shot errors: of the supernet as it mixes, and of discrete architectures with the shared weights.

Differs from the public code: images are evaluated without augmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from math import isnan

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nas.oneshot.data import Half, SearchData
from nas.oneshot.model.batches import fixed_batches, normalise
from nas.oneshot.model.mixture import Mixture
from nas.oneshot.model.supernet import Supernet
from nas.oneshot.model.weight_trainer import DivergedError
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
        return fixed_batches(self.data.architecture.first(n_mini_batches * self.batch_size), EVALUATION_BATCH_SIZE)

    @torch.inference_mode()
    def error(self, mixtures: Callable[[], Sequence[Mixture]]) -> float:
        """The fraction of the half that is misclassified; ``mixtures`` is asked anew for each batch.

        Raises:
            DivergedError: An output of the supernet is not finite.
        """
        (error,) = self._errors([self._wrong(self.batches, mixtures)], self.batches)
        return error

    @torch.inference_mode()
    def architecture_errors(
        self, architectures: Sequence[Architecture], batches: Sequence[Half], *, average_parents: bool = False
    ) -> npt.NDArray[np.float64]:
        """[n] the error of each architecture on the same batches.

        Architectures that are equal but for their loose ends are computed once.

        Args:
            architectures: The architectures.
            batches: Images and labels.
            average_parents: Whether blocks average the parents that they chose instead of summing them.

        Raises:
            DivergedError: An output of the supernet is not finite.
        """
        mixtures = [Mixture.discrete(architecture) for architecture in architectures]
        wrong = {}
        for mixture in dict.fromkeys(mixtures):
            mixed = mixture.averaging(self.supernet.space, self.supernet.gamma.device) if average_parents else mixture
            wrong[mixture] = self._wrong(batches, partial(repeat, mixed, len(self.supernet.cells)))
        errors = dict(zip(wrong, self._errors(list(wrong.values()), batches), strict=True))
        return np.array([errors[mixture] for mixture in mixtures])

    def _wrong(self, batches: Sequence[Half], mixtures: Callable[[], Iterable[Mixture]]) -> Tensor:
        """How many are misclassified; not a number if a logit is not finite.  It stays on the device."""
        wrong = []
        for batch in batches:
            logits = self.supernet(normalise(batch.images, self.data), tuple(mixtures()))
            count = (logits.argmax(1) != batch.labels).sum()
            wrong.append(torch.where(logits.isfinite().all(), count.double(), torch.nan))
        return torch.stack(wrong).sum()

    @staticmethod
    def _errors(wrong: Sequence[Tensor], batches: Sequence[Half]) -> list[float]:
        """The fractions: one wait for the device, however many there are."""
        errors = (torch.stack(list(wrong)) / sum(map(len, batches))).tolist() if wrong else []
        if any(map(isnan, errors)):
            raise DivergedError("an output of the supernet is not finite")
        return errors
