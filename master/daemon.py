"""Pyro's daemon, guarded against slow and many clients, and the descriptors that a master needs."""

from __future__ import annotations

import errno
import resource
import threading
from collections.abc import Callable
from typing import Any

import Pyro4
import Pyro4.naming

from master.ports import ANY_PORTS, Ports
from master.protocol import MAX_CONNECTIONS

#: Seconds that a whole handshake may take, however slowly its bytes arrive.
HANDSHAKE_LIMIT_S = 10.0
#: Descriptors of a master besides those of its workers: files, listening sockets, connections that come and go.
_RESERVED_DESCRIPTORS = 100
#: Descriptors per worker: its signs of life, and a call in either direction.
_DESCRIPTORS_PER_WORKER = 3


class NoFreePortError(ValueError):
    """Other processes listen at all given ports."""


class GuardedDaemon(Pyro4.Daemon):
    """A daemon that ends handshakes which take too long, and knows its connections.

    Differs from Pyro's: there, each received byte starts the time-out of a handshake anew, and the end of a daemon
    leaves its connections open, so that their other sides wait for answers.

    Args:
        host: Address to listen at.
        ports: Ports of which it takes the first free one.
        on_disconnect: Callback with the connection that has ended, in any thread.
        handshake_limit_s: Seconds that a whole handshake may take.
    """

    def __init__(
        self,
        host: str,
        ports: Ports = ANY_PORTS,
        on_disconnect: Callable[[Any], None] | None = None,
        handshake_limit_s: float = HANDSHAKE_LIMIT_S,
    ) -> None:
        self._on_disconnect = on_disconnect
        self._handshake_limit_s = handshake_limit_s
        self._connections: set[Any] = set()
        for port, outside_port in ports.candidates():
            try:
                super().__init__(host=host, port=port, nathost=ports.nat_host, natport=outside_port)
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        raise NoFreePortError(
            f"--port-range: got {ports}, of which no port is free on {host}, expected two free ones for a master, one "
            "for a worker; choose others (`ss -ltn` lists those in use)"
        )

    @property
    def port(self) -> int:
        """The port at which it listens."""
        return int(self.sock.getsockname()[1])

    def _handshake(self, conn: Any, denied_reason: str | None = None) -> bool:
        self._connections.add(conn)
        deadline = threading.Timer(self._handshake_limit_s, conn.close)
        deadline.daemon = True
        deadline.start()
        is_accepted = False
        try:
            is_accepted = super()._handshake(conn, denied_reason)
        finally:
            deadline.cancel()
            if not is_accepted:
                self._connections.discard(conn)
        return is_accepted

    def clientDisconnect(self, conn: Any) -> None:
        """Forgets a connection that has ended, and reports it."""
        self._connections.discard(conn)
        if self._on_disconnect is not None:
            self._on_disconnect(conn)

    def end(self) -> None:
        """Ends the daemon and its connections."""
        self._on_disconnect = None
        for connection in list(self._connections):
            connection.close()
        self.shutdown()


class GuardedNameServer(GuardedDaemon, Pyro4.naming.NameServerDaemon):
    """Pyro's name server, guarded."""


def raise_descriptor_limit() -> int:
    """Raises the soft limit of open files to the hard one; returns the number of workers that a master can have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    n_connected = MAX_CONNECTIONS - _RESERVED_DESCRIPTORS
    if hard == resource.RLIM_INFINITY:
        return n_connected
    return max(1, min(n_connected, (hard - _RESERVED_DESCRIPTORS) // _DESCRIPTORS_PER_WORKER))
