"""Random search with weight sharing (Algorithm 4): a new random architecture for every mini-batch.

Source: Li and Talwalkar (2019), *Random Search and Reproducibility for Neural Architecture Search*.

Differs from the public code: all samples are ranked on the same mini-batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from nas.oneshot.sampling import SamplingMethod
from spaces.search_space import Architecture


class RandomWs(SamplingMethod):
    """Uniform over all choices of parents and operations of the space, loose ends included."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "batch_size": 64,
        "grad_clip": 0.25,
        "weight_decay": 3e-4,
        "final_samples": 1000,
    }

    def sample(self, n: int) -> list[Architecture]:
        indices = torch.randint(self.space.size, (n,), generator=self.generator)
        return [self.space.decode(index) for index in indices.tolist()]
