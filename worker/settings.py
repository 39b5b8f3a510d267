"""Waits and limits of a worker."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerSettings:
    """Waits and limits of a worker, all in seconds.

    Attributes:
        wait_s: Longest wait for the master: to start, and to come back after it fell silent.
        message_interval_s: Time between two messages while the worker waits for the master.
        heartbeat_s: Time between two signs of life.
        walltime_s: Time after which the process will be ended from outside; the worker ends before.
    """

    wait_s: float = 3600.0
    message_interval_s: float = 10.0
    heartbeat_s: float = 1.0
    walltime_s: float = math.inf
