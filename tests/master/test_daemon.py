"""A daemon among strangers in great numbers, slow ones, and those who come when it ends."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import Pyro4
import pytest

from master.daemon import MAX_HANDSHAKES, GuardedDaemon
from master.protocol import connect
from tests.waiting import wait_for

from .intruder import claiming, connection, stranger, tls_hello

Address = tuple[str, int]


class Greeter:
    @Pyro4.expose
    def greet(self) -> str:
        return "hello"


def test_a_daemon_that_ends_serves_nobody_who_comes_meanwhile(membership: Path) -> None:
    """Pyro goes on to accept connections for some hundredths of a second."""
    daemon = GuardedDaemon("127.0.0.1")
    uri = str(daemon.register(Greeter()))
    threading.Thread(target=daemon.requestLoop, daemon=True).start()
    members: list[Any] = []
    is_over = threading.Event()

    def come_again_and_again() -> None:
        while not is_over.is_set():
            with contextlib.suppress(Pyro4.errors.CommunicationError):
                member = connect(uri)
                member.greet()
                members.append(member)

    coming = threading.Thread(target=come_again_and_again)
    coming.start()
    wait_for(lambda: len(members) > 5)
    daemon.end()
    is_over.set()
    coming.join()
    for member in members:
        with pytest.raises(Pyro4.errors.CommunicationError):
            member.greet()


@pytest.fixture
def greeter(membership: Path) -> Iterator[tuple[Address, str]]:
    """The address of a guarded daemon, and that of its object."""
    daemon = GuardedDaemon("127.0.0.1")
    uri = str(daemon.register(Greeter()))
    threading.Thread(target=daemon.requestLoop, daemon=True).start()
    yield daemon.sock.getsockname(), uri
    daemon.end()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.0\r\n\r\n", tls_hello()[:9], tls_hello()])
def test_many_strangers_take_neither_threads_nor_descriptors_from_members(
    greeter: tuple[Address, str], sent: bytes
) -> None:
    address, uri = greeter
    n_strangers = 2 * MAX_HANDSHAKES + 50
    with connect(uri) as early, contextlib.ExitStack() as stack:
        assert early.greet() == "hello"
        n_threads, n_descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
        strangers = [stack.enter_context(socket.create_connection(address)) for _ in range(n_strangers)]
        for each in strangers:
            with contextlib.suppress(OSError):
                each.sendall(sent)
        with connect(uri) as late:
            assert late.greet() == "hello"
        assert early.greet() == "hello"
        wait_for(lambda: threading.active_count() <= n_threads + MAX_HANDSHAKES + 8)
        own = n_descriptors + n_strangers
        wait_for(lambda: len(os.listdir("/proc/self/fd")) <= own + MAX_HANDSHAKES + 8)
        for each in strangers[:MAX_HANDSHAKES]:  # the oldest have given way
            each.settimeout(5)
            with contextlib.suppress(ConnectionError):
                while each.recv(2**16):
                    pass


@pytest.mark.parametrize("kind", ["a stranger", "a member"])
def test_a_message_that_claims_two_gigabytes_takes_no_memory(
    greeter: tuple[Address, str], membership: Path, kind: str
) -> None:
    address, uri = greeter
    context = stranger(membership) if kind == "a member" else None
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        with contextlib.suppress(ConnectionError, ssl.SSLError), connection(address, context) as sock:
            sock.sendall(claiming(2**31 - 1))
            for _ in range(64):
                sock.sendall(bytes(2**16))
            while sock.recv(2**16):
                pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 64 * 1024
    with connect(uri) as proxy:
        assert proxy.greet() == "hello"
