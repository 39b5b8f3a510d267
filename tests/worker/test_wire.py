"""Workers and master talk alike: the worker's package may not import the master's, so both set Pyro up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import Pyro4
import pytest

import master.wire
import worker.wire
from nas.oneshot.report import EpochReport, TableFigures
from results.records import EpochRecord, TableAnswer


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


@pytest.mark.parametrize(("written", "read"), [(EpochReport, EpochRecord), (TableFigures, TableAnswer)])
def test_what_a_search_writes_has_the_fields_that_are_read(written: type, read: type) -> None:
    assert {f.name for f in fields(written)} == {f.name for f in fields(read)}
