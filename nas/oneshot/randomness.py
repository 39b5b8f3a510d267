"""The generators of a search: one for each purpose, all derived from its seed.

They are CPU generators whatever the device, so that a search draws the same numbers everywhere, and so
that a checkpoint restores all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Streams:
    """The random streams of a search; drawing more from one leaves the others as they are.

    Attributes:
        init: Initial weights.
        batches: Order of the images in the mini-batches.
        augmentation: Crops, flips and cutout.
        architecture: Samples of the optimizer while it trains.
        report: Samples of the optimizer for the reports of epochs.
    """

    init: torch.Generator
    batches: torch.Generator
    augmentation: torch.Generator
    architecture: torch.Generator
    report: torch.Generator

    @classmethod
    def from_seed(cls, seed: int) -> Streams:
        """Independent streams of one seed >= 0."""
        children = np.random.SeedSequence(seed).generate_state(len(fields(cls)), dtype=np.uint64)
        return cls(*(torch.Generator().manual_seed(int(child >> np.uint64(1))) for child in children))

    def state_dict(self) -> dict[str, Tensor]:
        """The state of each generator by name."""
        return {f.name: getattr(self, f.name).get_state() for f in fields(self)}

    def load_state_dict(self, states: dict[str, Tensor]) -> None:
        """The inverse of ``state_dict``."""
        for name, state in states.items():
            getattr(self, name).set_state(state)
