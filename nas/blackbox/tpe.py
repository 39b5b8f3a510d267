"""TPE: Optuna's tree-structured Parzen estimator over categorical choices, with its defaults.

Source: Bergstra et al. (2011), *Algorithms for Hyper-Parameter Optimization*; Optuna's ``TPESampler``.

Differs from the original: automl/nasbench-1shot1 (``discrete/tpe.py``) uses hyperopt's, which it leaves unseeded.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nas.blackbox.baseline import SingleBaseline
from nas.blackbox.encoding import Encoding


class Tpe(SingleBaseline):
    """See the module; needs ``optuna``."""

    needs: ClassVar[str | None] = "optuna"

    def begin(self, rng: np.random.Generator) -> None:
        """Makes a study in memory."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._encoding = Encoding(self.task.space)
        self._distributions: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.CategoricalDistribution(range(n)) for name, n in self._encoding.n_values.items()
        }
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=int(rng.integers(2**32))))

    def ask_one(self) -> tuple[int, int]:
        """Optuna's next trial."""
        self._trial = self._study.ask(self._distributions)
        return self._encoding.index(self._trial.params), self.task.epochs[-1]

    def tell_one(self, validation_error: float) -> None:
        """Tells Optuna."""
        self._study.tell(self._trial, validation_error)
