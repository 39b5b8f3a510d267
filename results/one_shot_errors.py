"""The file of one-shot errors: architectures with the shared weights of a search, beside what a table says of them.

``nas.oneshot`` writes the lines, and the analysis reads them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from results import journal
from results.epoch import TableAnswer
from results.record_base import Record

logger = logging.getLogger("nasbohb.results")

#: The file's name in the directory of a search.
ONE_SHOT_ERRORS = "one_shot_errors.jsonl"


class OneShotError(Record, frozen=True, kw_only=True):
    """A line of the file.

    Attributes:
        fingerprint: First 16 hexadecimal digits of the SHA-256 of the shared weights.
        epoch: Epochs that trained these weights.
        n_images: Number of images of the architecture's half on which the error was measured.
        architecture_index: The architecture as an index of the search space.
        cell_hash: NAS-Bench-101 hash of its cell.
        one_shot_validation_error: Error with the shared weights, in [0, 1].
        table: Budget to the table's answer; empty where the table lacks the cell, or there is none.
    """

    fingerprint: str
    epoch: int
    n_images: int
    architecture_index: int
    cell_hash: str
    one_shot_validation_error: float
    table: Mapping[int, TableAnswer] = msgspec.field(default_factory=dict)


class ErrorFile:
    """A journal of one-shot errors, to which several processes may append.

    Args:
        path: The file, which may be new.

    Raises:
        ValueError: There is something at the path that is no file.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_file():
            raise ValueError(f"{path}: this is no regular file; name a new path, or a file of one-shot errors")
        self.path = path

    def read(self) -> list[OneShotError]:
        """The errors in the file, none where it is missing; lines that a killed process tore are left out.

        Raises:
            ValueError: A line holds something else, or no line is whole: this is another file.
        """
        lines = journal.read_shared(self.path)
        if lines.n_torn and not lines.records:
            raise ValueError(f"{self.path}: holds no one-shot error; name a new path, or a file of them")
        if lines.n_torn:
            logger.warning("%s: left out %d torn lines", self.path, lines.n_torn)
        return [OneShotError.from_dict(record, str(self.path)) for record in lines.records]

    def append(self, errors: Sequence[OneShotError]) -> None:
        """Adds lines and hands them to the disk."""
        journal.append_shared(self.path, *(error.to_dict() for error in errors))
