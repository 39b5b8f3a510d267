"""The address at which a worker listens."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from master.certificates import write_certificates
from master.security import become_member
from results.credentials import Credentials
from worker.listener import Listener


class Service:
    """An object to serve, with no calls."""


def test_a_listener_that_is_about_to_begin_has_not_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's main thread asks at any moment, and ends the worker if it has."""
    write_certificates(tmp_path / "certificates")
    become_member(tmp_path / "certificates")
    listener = Listener(Service(), "worker", "127.0.0.1")
    start, seen = threading.Thread.start, []

    def ask_first(thread: threading.Thread) -> None:
        seen.append(listener.has_died)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", ask_first)
    for certificates in ("certificates", "of the next master"):
        listener.listen(Credentials(run_id="test", host="127.0.0.1", port=1, certificates=certificates))
    assert seen
    assert not any(seen)
    assert not listener.has_died
    listener.end()
