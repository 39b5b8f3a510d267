"""The workers whose trials have bugs that other workers do not have."""

from __future__ import annotations

from master.jobs import TrialJob


class OwnBugs:
    """The numbers of bugs in a row, by worker, that no other worker had.

    Args:
        at_most: Number after which a worker is barred.
    """

    def __init__(self, at_most: int = 3) -> None:
        self._at_most = at_most
        self._in_a_row: dict[str, int] = {}

    def note_success(self, job: TrialJob, worker: str) -> list[str]:
        """Notes that a worker evaluated a job without a bug.

        Returns:
            The names of the workers that had a bug in it, and are to be barred.
        """
        self._in_a_row.pop(worker, None)
        return [name for name in job.bugs if self._is_one_too_many(name)]

    def note_alone(self, worker: str) -> bool:
        """Notes a bug of a worker where no other one is there to try the job; returns whether it is to be barred."""
        return self._is_one_too_many(worker)

    def _is_one_too_many(self, worker: str) -> bool:
        self._in_a_row[worker] = self._in_a_row.get(worker, 0) + 1
        return self._in_a_row[worker] >= self._at_most
