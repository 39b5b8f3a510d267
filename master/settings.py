"""Intervals and limits of a master."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class DispatcherSettings:
    """Intervals and limits at which the dispatcher looks after its workers and gives them up.

    Attributes:
        ping_interval_s: Seconds between two looks at silent workers.
        suspicion_s: Seconds without a sign of life after which a worker is asked for one.
        silence_limit_s: Seconds without an answer after which a worker is lost.
        max_losses: Number of lost workers without progress between, after which a job is recorded as ``worker_lost``.
        farewell_s: Seconds in which workers may sign off at the end.
        epoch_timeout_s: Seconds after which an epoch counts as hung.
        trial_timeout_s: Seconds after which a trial is given up.
        max_workers: Largest number of workers; None for as many as the descriptors of this process allow.
    """

    ping_interval_s: float = 1.0
    suspicion_s: float = 3.0
    silence_limit_s: float = 20.0
    max_losses: int = 3
    farewell_s: float = 3.0
    epoch_timeout_s: float = math.inf
    trial_timeout_s: float = math.inf
    max_workers: int | None = None


@dataclass(frozen=True)
class WaitSettings:
    """Limits of the master's waits.

    Attributes:
        min_workers: Number of workers that must register before the first job is handed out.
        message_interval_s: Seconds between two messages while the master waits.
        no_worker_limit_s: Seconds without a single worker after which the study fails.
        write_limit_s: Seconds for which results are kept in memory when they cannot be written; then the study fails.
    """

    min_workers: int = 1
    message_interval_s: float = 5.0
    no_worker_limit_s: float = 24 * 3600.0
    write_limit_s: float = 3600.0
