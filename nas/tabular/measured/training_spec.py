"""Settings of the networks of a measured table and of their training: plain records, without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NetworkSize:
    """The skeleton around the cells; the defaults are NAS-Bench-101's own.

    Attributes:
        image_channels: Channels of the images.
        n_classes: Width of the last layer.
        stem_channels: Output channels of the 3x3 stem; they double before every further stack.
        stem_stride: Stride of the stem; 2 halves the image before the first cell.
        n_stacks: Number of stacks, with 2x2 max-pooling between them.
        cells_per_stack: Number of cells in each stack.
        batch_norm_momentum: Momentum of BatchNorm in PyTorch's convention (TensorFlow's decay of 0.997 is 0.003).
        batch_norm_eps: Number that BatchNorm adds to the variance.
    """

    image_channels: int = 3
    n_classes: int = 10
    stem_channels: int = 128
    stem_stride: int = 1
    n_stacks: int = 3
    cells_per_stack: int = 3
    batch_norm_momentum: float = 0.003
    batch_norm_eps: float = 1e-5


@dataclass(frozen=True)
class TrainingSpec:
    """Settings of the training of a table's networks; the defaults are those of the embedded digits table.

    Attributes:
        budgets: Epochs of each training.
        n_repeats: R, number of trainings of each cell at each budget.
        network: Skeleton around the cells.
        batch_size: Number of images per step.
        learning_rate: Learning rate at the start of each training; a cosine schedule leads to zero at its end.
        momentum: Nesterov momentum of SGD.
        weight_decay: L2 penalty on all weights.
        seed: Seed of the whole table, from which repeats and budgets derive theirs.
    """

    budgets: tuple[int, ...] = (1, 4, 12)
    n_repeats: int = 3
    network: NetworkSize = field(
        default_factory=lambda: NetworkSize(
            image_channels=1, stem_channels=16, stem_stride=2, n_stacks=2, cells_per_stack=1, batch_norm_momentum=0.2
        )
    )
    batch_size: int = 80
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    seed: int = 0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainingSpec:
        """Inverts ``dataclasses.asdict``, also after JSON has turned tuples into lists."""
        return cls(**{**data, "network": NetworkSize(**data["network"]), "budgets": tuple(data["budgets"])})
