"""What both sides of the wire agree on."""

from __future__ import annotations

import threading
from pathlib import Path

import Pyro4
import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.daemon import GuardedDaemon
from master.protocol import (
    PROTOCOL,
    connect,
    dispatcher_name,
    own_version,
    refusal,
    short_name,
    wire_id,
)


class Greeter:
    @Pyro4.expose
    def greet(self) -> str:
        return "hello"


@pytest.mark.parametrize("run_id", ["darts@home", "my study", "größe ✓ 大", "a/b", "PYRO:x@y:1", "", "\udcff"])
def test_any_run_id_makes_a_name_that_pyro_takes(run_id: str, membership: Path) -> None:
    daemon = GuardedDaemon("127.0.0.1")
    uri = str(daemon.register(Greeter(), dispatcher_name(run_id)))
    thread = threading.Thread(target=daemon.requestLoop, daemon=True)
    thread.start()
    with connect(uri) as proxy:
        assert proxy.greet() == "hello"
    daemon.end()
    thread.join(timeout=5)


@given(st.text(), st.text())
def test_different_runs_have_different_names(one: str, other: str) -> None:
    assert (wire_id(one) == wire_id(other)) == (one == other)
    assert wire_id(one).isalnum()


def test_only_the_same_version_may_join() -> None:
    own = own_version()
    assert own["protocol"] == PROTOCOL
    assert refusal("x", dict(own)) is None
    for other in (own | {"protocol": PROTOCOL + 1}, own | {"nasbohb": "0"}, {}, None, "0.1.0", own | {"more": 1}):
        message = refusal("x", other)
        assert message is not None
        assert message.startswith("worker x runs ")
        assert message.endswith("install the same version on both")


def test_messages_call_a_worker_by_host_process_and_random_part() -> None:
    assert short_name("hpbandster.run_0f.worker.node-7.123.ab") == "node-7.123.ab"
