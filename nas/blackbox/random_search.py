"""Random search: every architecture is drawn uniformly from the encoding, with replacement.

Source: Ying et al. (2019), *NAS-Bench-101*, section 5; automl/nasbench-1shot1 (``discrete/regularized_evolution.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.blackbox.baseline import Baseline, FloatArray, Questions, Task, UniformNumbers


class RandomSearch(Baseline):
    """Draws uniformly and learns nothing."""

    def __init__(self, task: Task, rngs: Sequence[np.random.Generator]) -> None:
        super().__init__(task, rngs)
        self._uniform = UniformNumbers(rngs, width=1)

    def ask(self) -> Questions:
        """A uniform draw for each repeat."""
        return self._at_most_epochs((self._uniform.next()[:, 0] * self.task.space.size).astype(np.int64))

    def tell(self, validation_error: FloatArray) -> None:
        """Learns nothing."""
