"""PC-DARTS (Algorithm 2): DARTS with a quarter of the channels in the mixed operations.

Source: Xu et al. (2020), *PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search*.

The channels that go through are always the first ones, as in its authors' code and in the public code; this paper
speaks of a random sample.  The channels left out pass by unchanged, and a shuffle lets later blocks mix others
(``nas.oneshot.model.supernet.ChoiceBlock``).  The edge normalisation of PC-DARTS is what alpha already is.
"""

from __future__ import annotations

from nas.oneshot.methods.darts import Darts


class PcDarts(Darts):
    """DARTS on a supernet with K = 4."""

    channel_groups = 4
