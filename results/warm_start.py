"""Results of earlier runs that teach a study before its first proposal: ``warm_start.jsonl``.

The file is a copy, so that a study goes on without the earlier runs.  It has one line per result, in the order in
which the sampler learns them: ``{"run": path, "result": {...}}``, with the fields of ``EarlierResult``.
"""

from __future__ import annotations

from collections.abc import Iterable

from results import journal
from results.record_base import Record
from results.records import TrialResult
from results.run_directory import RunDirectory

FILE = "warm_start.jsonl"


class EarlierResult(Record, frozen=True, kw_only=True):
    """A result of another study of the same configuration space and objective.

    Attributes:
        run: Path of the run that it comes from, as it was when the study began.
        result: The result, with the id and the times that it has there.
    """

    run: str
    result: TrialResult


def warm_start_content(earlier: Iterable[EarlierResult]) -> str:
    """Encodes earlier results as the content of the file."""
    return "".join(f"{journal.encode(each.to_dict(), FILE)}\n" for each in earlier)


def read_warm_start(run: RunDirectory) -> list[TrialResult]:
    """Reads the earlier results of a run, in the order in which its sampler learned them; none without a warm start.

    Raises:
        ValueError: The run was warm-started and the file is missing, or a line is damaged; the message names it.
    """
    path = run.path / FILE
    named = run.spec().warm_start
    if named and not path.exists():
        raise ValueError(
            f"{path}: the results that this study began with are missing; restore the file from a copy, or start a new "
            f"study with --warm-start {' '.join(named)}"
        )
    return [
        EarlierResult.from_dict(line, f"{path}, line {number}").result
        for number, line in enumerate(journal.read(path), start=1)
    ]
