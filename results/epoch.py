"""The record of one epoch of a search: a line of ``trajectory.jsonl``.

``nas.oneshot`` writes the lines, the workers pass them on, and the analysis reads them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from results.record_base import Record

#: The file's name in the directory of a search, which may be that of a trial.
TRAJECTORY = "trajectory.jsonl"


class TableAnswer(Record, frozen=True, kw_only=True):
    """A table's answer for a cell at one budget: means over the repeats; errors in [0, 1], times in seconds."""

    validation_error: float
    test_error: float
    training_time_s: float


class EpochRecord(Record, frozen=True, kw_only=True):
    """The state of a search after an epoch.

    Attributes:
        epoch: Number of completed epochs, 1 after the first.
        train_loss: Mean loss of the weight steps.
        arch_loss: Mean loss of the architecture steps; None if there are none.
        one_shot_validation_error: Error of the supernet, or of the selected architecture for methods that sample.
        learning_rate: Learning rate of the weights in this epoch.
        cutout_prob: Probability of cutout in this epoch.
        architecture_index: Index of the discrete architecture in the search space.
        cell_hash: NAS-Bench-101 hash of that architecture's cell.
        search_s: Seconds of search so far; only training and the selection at the end count.
        table: Budget to the table's answer; empty without a table, or if the table lacks the cell.
        architecture_weights: Logits, block by block: first those of the candidate parents, where the block has a
            choice, then those of the operations. The logits of the output's candidates come last. None for methods
            that sample.
    """

    epoch: int
    train_loss: float
    arch_loss: float | None
    one_shot_validation_error: float
    learning_rate: float
    cutout_prob: float
    architecture_index: int
    cell_hash: str
    search_s: float
    table: Mapping[int, TableAnswer] = msgspec.field(default_factory=dict)
    architecture_weights: tuple[tuple[float, ...], ...] | None = None
