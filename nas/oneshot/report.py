"""The result of a search."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

SearchStatus = Literal["ok", "diverged", "out_of_memory"]


@dataclass(frozen=True)
class SearchResult:
    """How a search ended.

    Attributes:
        status: ``ok``; or ``diverged`` or ``out_of_memory``, and then the next three fields are those of the
            last completed epoch, None if there is none.
        architecture_index: The found architecture as an index of the search space.
        cell_hash: NAS-Bench-101 hash of its cell.
        one_shot_validation_error: Error in the last epoch's report.
        search_s: Seconds of training and selection.
        epochs: Epochs completed.
        error: Reason of the failure, with the epoch and the hyperparameters; None without one.
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
