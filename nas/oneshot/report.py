"""What a search tells: a line an epoch, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SearchStatus = Literal["ok", "diverged", "out_of_memory"]


@dataclass(frozen=True)
class TableFigures:
    """What the table says of a cell at one budget, means over the repeats; errors in [0, 1], seconds."""

    validation_error: float
    test_error: float
    training_time_s: float


@dataclass(frozen=True)
class EpochReport:
    """The state of a search after an epoch: a line of ``trajectory.jsonl``.

    Attributes:
        epoch: Epochs completed, 1 for the first.
        train_loss: Mean loss of the weight steps.
        arch_loss: Mean loss of the architecture steps; None where there are none.
        one_shot_validation_error: Of the supernet, or of the selected architecture for methods that sample.
        learning_rate: Of the weights in this epoch.
        cutout_prob: In this epoch.
        architecture_index: The discrete architecture as an index of the search space.
        cell_hash: Its NAS-Bench-101 hash.
        table: Budget to the table's figures; empty where there is no table, or none of this cell.
        search_s: Seconds of search so far: training, and the selection at the end, alone.
        architecture_weights: Logits, block by block, of the candidate parents where there is a choice, then of the
            operations, and of the output's candidates last; None for methods that sample.
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
    table: Mapping[int, TableFigures] = field(default_factory=dict)
    architecture_weights: tuple[tuple[float, ...], ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Built-in types; the budgets of ``table`` become strings, as in JSON."""
        return {**asdict(self), "table": {str(budget): asdict(figures) for budget, figures in self.table.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EpochReport:
        """The inverse of ``to_dict``."""
        table = {int(budget): TableFigures(**figures) for budget, figures in data["table"].items()}
        weights = data.get("architecture_weights")
        return cls(**{**data, "table": table, "architecture_weights": weights and tuple(map(tuple, weights))})


@dataclass(frozen=True)
class SearchResult:
    """How a search ended.

    Attributes:
        status: ``ok``; or ``diverged`` or ``out_of_memory``, and then the next three fields are those of the
            last completed epoch, None if there is none.
        architecture_index: The found architecture as an index of the search space.
        cell_hash: Its NAS-Bench-101 hash.
        one_shot_validation_error: As in the last epoch's report.
        search_s: Seconds of training and selection.
        epochs: Epochs completed.
        error: What went wrong, with the epoch and the hyperparameters; None if nothing did.
    """

    status: SearchStatus
    architecture_index: int | None
    cell_hash: str | None
    one_shot_validation_error: float | None
    search_s: float
    epochs: int
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Built-in types."""
        return asdict(self)
