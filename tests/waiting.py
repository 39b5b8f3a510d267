"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool], limit_s: float = 60.0, pause_s: float = 0.01) -> None:
    """Waits until the condition holds; a test that waits in vain fails."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit_s:g} s"
        time.sleep(pause_s)
