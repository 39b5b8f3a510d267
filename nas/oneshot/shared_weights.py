"""One-shot errors of many architectures with the weights of a search, beside what their cells reach by themselves.

Source: paper, section 5.2, which correlates the two over all architectures of a space.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from scipy.stats import spearmanr

from nas.oneshot import checkpoint
from nas.oneshot.data import load_data
from nas.oneshot.loop import Search
from nas.oneshot.model.batches import fixed_batches
from nas.oneshot.model.evaluation import EVALUATION_BATCH_SIZE
from nas.oneshot.resolve import device_of, relocate
from nas.oneshot.search import restore, table_figures, what_was_computed
from nas.tabular.table import Table
from results import journal
from results.epoch import TableAnswer
from results.record_base import Record

logger = logging.getLogger("nasbohb.search")

#: Architectures that are evaluated between two writes to the disk.
CHUNK = 20


class OneShotError(Record, frozen=True, kw_only=True):
    """A line of the file.

    Attributes:
        weights: Which they were: the start of a SHA-256 of the supernet's.
        epoch: After which they were taken.
        n_images: Of the architecture's half, on which the error was measured.
        architecture_index: An index of the search space.
        cell_hash: Its NAS-Bench-101 hash.
        one_shot_validation_error: With the shared weights.
        table: Budget to the table's figures; empty where the table lacks the cell, or there is none.
    """

    weights: str
    epoch: int
    n_images: int
    architecture_index: int
    cell_hash: str
    one_shot_validation_error: float
    table: Mapping[int, TableAnswer] = msgspec.field(default_factory=dict)


class SharedWeights:
    """The supernet of a search after its last completed epoch.

    Args:
        directory: Of a search: ``search --directory``, or a trial of a study.
        placement: Fields of ``SearchSpec`` that say where to compute (``spec.PLACEMENT_FIELDS``), if elsewhere.

    Attributes:
        epoch: Epochs that trained the weights.
        fingerprint: Of the weights.

    Raises:
        CheckpointError: There is no checkpoint, or it cannot be read.
        DatasetError: The images of the search are not here.
        ValueError: Its optimizer or the device is not here.
    """

    def __init__(self, directory: Path | str, **placement: Any) -> None:
        directory = Path(directory)
        state = checkpoint.read_checkpoint(directory)
        if state is None:
            raise checkpoint.CheckpointError(
                f"{directory}: holds no {checkpoint.CHECKPOINT}; expected the directory of a search, or of a trial "
                "of a study at a budget (trials/0_0_0/25)"
            )
        computed, reports = what_was_computed(state, directory)
        self.settings = relocate(computed, **placement)
        if self.settings.threads is not None and device_of(self.settings).type == "cpu":
            torch.set_num_threads(self.settings.threads)
        self.search = Search(self.settings, load_data(self.settings))
        restore(self.search, state, directory)
        self.epoch = len(reports)
        self.fingerprint = _fingerprint(state["supernet"])

    def n_images(self, at_most: int | None) -> int:
        """How many images of the architecture's half that are; all of them if None."""
        return len(self.search.data.architecture.first(at_most))

    def errors(
        self, architectures: Sequence[int], n_images: int | None = None, table: Table | None = None
    ) -> Iterator[list[OneShotError]]:
        """Evaluates architectures, some at a time, on the first images of the architecture's half; on all if None.

        Raises:
            DivergedError: What the supernet says is not finite.
        """
        space, evaluator = self.search.space, self.search.evaluator
        batches = fixed_batches(self.search.data.architecture.first(n_images), EVALUATION_BATCH_SIZE)
        for start in range(0, len(architectures), CHUNK):
            chunk = architectures[start : start + CHUNK]
            errors = evaluator.architecture_errors([space.decode(index) for index in chunk], batches)
            cells = [space.cell_of(index) for index in chunk]
            yield [
                OneShotError(
                    weights=self.fingerprint,
                    epoch=self.epoch,
                    n_images=self.n_images(n_images),
                    architecture_index=index,
                    cell_hash=cell.hash,
                    one_shot_validation_error=error,
                    table=table_figures(cell, table),
                )
                for index, cell, error in zip(chunk, cells, errors.tolist(), strict=True)
            ]

    def beside(self, errors: Sequence[OneShotError], table: Table | None) -> list[OneShotError]:
        """The same errors with what a table says of their cells now."""
        space = self.search.space
        return [
            msgspec.structs.replace(error, table=table_figures(space.cell_of(error.architecture_index), table))
            for error in errors
        ]


def _fingerprint(weights: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


class ErrorFile:
    """JSON lines that grow; what a killed process left unfinished is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[OneShotError]:
        """What is there, nothing if there is no file.

        Raises:
            ValueError: It is another file: none of its lines is a one-shot error.
        """
        text = self.path.read_text(errors="replace") if self.path.exists() else ""
        errors = []
        others: list[int] = []
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                errors.append(OneShotError.from_dict(json.loads(line), f"{self.path}, line {number}"))
            except ValueError:
                others.append(number)
        if not errors and "\n" in text:  # but for the torn first line of a killed process
            raise ValueError(f"{self.path}: holds no one-shot error; expected a new file, or one of them")
        for number in others:
            logger.warning("%s: passed over line %d, which is no one-shot error", self.path, number)
        return errors

    def append(self, errors: Sequence[OneShotError]) -> None:
        """Adds lines, the first one on a line of its own, and hands them to the disk."""
        with self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
        journal.append(self.path, *(error.to_dict() for error in errors))


def rank_correlations(errors: Sequence[OneShotError]) -> dict[int, tuple[float, int]]:
    """Budget to Spearman's coefficient of one-shot validation error and the table's test error, and of how many."""
    pairs: dict[int, list[tuple[float, float]]] = {}
    for error in errors:
        for budget, figures in error.table.items():
            pairs.setdefault(budget, []).append((error.one_shot_validation_error, figures.test_error))
    return {
        budget: (float(spearmanr(*zip(*of_budget, strict=True)).statistic), len(of_budget))
        for budget, of_budget in sorted(pairs.items())
        if len(of_budget) > 2
    }
