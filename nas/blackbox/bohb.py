"""BOHB: Hyperband whose architectures come from two kernel densities, of good and of bad ones.

Sources: Falkner, Klein and Hutter (2018), *BOHB*; automl/nasbench-1shot1 (``discrete/bohb.py``), which has these
settings:

* a minimum bandwidth of 0.3, and a bandwidth factor of 3;
* 64 samples, and a third of the proposals drawn at random;
* the top 15 % as good observations;
* d + 1 points for a density, where d counts every choice of the encoding, those with a single value, too.
"""

from __future__ import annotations

from master.samplers import Sampler
from master.samplers.kde import KdeSampler, KdeSettings
from nas.blackbox.hyperband import Hyperband


class Bohb(Hyperband):
    """See the module."""

    def sampler(self, seed: int) -> Sampler:
        """The sampler of the studies, with the settings of the baseline."""
        settings = KdeSettings(
            min_points_in_model=len(self.task.space.radices) + 1,
            top_n_percent=15,
            n_samples=64,
            random_fraction=0.33,
            bandwidth_factor=3.0,
            min_bandwidth=0.3,
        )
        return KdeSampler(self._encoding.config_space(seed), settings)
