"""REINFORCE: a vector of logits for each categorical choice, moved towards what was better than usual.

Notation:
    n: number of repeats. C: number of choices. M: the largest number of values of a choice.

In each step every choice is drawn from the softmax of its logits; the reward is 1 - validation error. The baseline is
an exponential moving average of the rewards with decay 0.9, divided by the sum of its weights, and contains the newest
reward. So the first step changes nothing. The logits move by ``rate * (reward - baseline) * gradient``, in which the
gradient of the logarithm of the draw's probability is one-hot minus softmax.

Sources: Williams (1992); Ying et al. (2019), *NAS-Bench-101*; automl/nas_benchmarks (``run_rl.py``).

Differs from the original: plain NumPy in double precision; every draw comes from the generator of the repeat.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.blackbox.baseline import Baseline, FloatArray, IntArray, Questions, Task, UniformNumbers


class Reinforce(Baseline):
    """See the module.

    Attributes:
        logits: [n, C, M] minus infinity where a choice has fewer than M values.
    """

    def __init__(
        self, task: Task, rngs: Sequence[np.random.Generator], *, learning_rate: float = 0.1, decay: float = 0.9
    ) -> None:
        super().__init__(task, rngs)
        radices = np.array(task.space.radices)
        self._learning_rate, self._decay = learning_rate, decay
        self._values = np.arange(radices.max())
        self.logits: FloatArray = np.tile(
            np.where(self._values < radices[:, None], 0.0, -np.inf), (self.n_repeats, 1, 1)
        )
        self._last = radices - 1
        self._uniform = UniformNumbers(rngs, width=len(radices))
        self._numerator: FloatArray = np.zeros(self.n_repeats)
        self._denominator = 0.0
        self._choices: IntArray = np.zeros((self.n_repeats, len(radices)), dtype=np.int64)

    def probabilities(self) -> FloatArray:
        """[n, C, M] the softmax of the logits."""
        powers = np.exp(self.logits - self.logits.max(axis=2, keepdims=True))
        return np.asarray(powers / powers.sum(axis=2, keepdims=True))

    def ask(self) -> Questions:
        """A draw of every choice, for each repeat."""
        cumulative = self.probabilities().cumsum(axis=2)
        drawn = (cumulative <= self._uniform.next()[:, :, None]).sum(axis=2)
        self._choices = np.minimum(drawn, self._last)  # where rounding leaves the sum below 1
        return self._at_most_epochs(self.task.space.encode_choices(self._choices))

    def tell(self, validation_error: FloatArray) -> None:
        """Updates the baseline, then the logits."""
        reward = 1.0 - validation_error
        self._numerator = self._decay * self._numerator + (1 - self._decay) * reward
        self._denominator = self._decay * self._denominator + (1 - self._decay)
        advantage = reward - self._numerator / self._denominator
        gradient = (self._choices[:, :, None] == self._values) - self.probabilities()
        self.logits += self._learning_rate * advantage[:, None, None] * gradient
