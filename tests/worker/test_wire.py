"""Workers and master talk alike: the worker's package may not import the master's, so both set Pyro up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import Pyro4

import master.wire
import worker.wire


def settings_after(configure: Callable[[], None]) -> dict[str, Any]:
    Pyro4.config.reset()
    configure()
    return dict(Pyro4.config.asDict())


def test_both_sides_set_pyro_up_alike() -> None:
    try:
        of_master, of_worker = settings_after(master.wire.configure_pyro), settings_after(worker.wire.configure_pyro)
    finally:
        master.wire.configure_pyro()
    assert of_master == of_worker
    assert of_worker["SERIALIZERS_ACCEPTED"] == {"serpent"}
    assert worker.wire.CALL_TIMEOUT_S == master.wire.CALL_TIMEOUT_S
