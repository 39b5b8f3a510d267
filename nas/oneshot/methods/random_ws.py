"""Random search with weight sharing (Algorithm 4): a new random architecture for every mini-batch.

Source: Li and Talwalkar (2019), *Random Search and Reproducibility for Neural Architecture Search*.

Differs from the public code: all samples are ranked on the same mini-batches.
"""

from __future__ import annotations

import torch

from nas.oneshot.methods.sampling import SamplingMethod
from spaces.search_space import Architecture


class RandomWs(SamplingMethod):
    """Uniform over all choices of parents and operations of the space, loose ends included."""

    defaults = SamplingMethod.defaults | {"batch_size": 64, "grad_clip": 0.25}

    def sample(self, n: int) -> list[Architecture]:
        indices = torch.randint(self.space.size, (n,), generator=self.generator)
        return [self.space.decode(index) for index in indices.tolist()]
