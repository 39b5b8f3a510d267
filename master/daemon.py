"""Pyro's daemon, guarded against strangers, slow ones and many, and the descriptors that a master needs."""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import Pyro4
import Pyro4.naming

from master.ports import ANY_PORTS, Ports
from master.protocol import COMMUNICATION_ERRORS, MAX_CONNECTIONS

logger = logging.getLogger("nasbohb.pyro")

#: Seconds that a whole handshake, TLS's and Pyro's, may take, however slowly its bytes arrive.
HANDSHAKE_LIMIT_S = 10.0
#: Largest number of connections to one daemon that are in their handshake.
MAX_HANDSHAKES = 128
#: Descriptors of a master besides those of its workers: files, listening sockets, connections that come and go.
_RESERVED_DESCRIPTORS = 100 + 2 * MAX_HANDSHAKES
#: Descriptors per worker: its signs of life, and a call in either direction.
_DESCRIPTORS_PER_WORKER = 3


class NoFreePortError(OSError):
    """Other processes listen at all given ports."""


class GuardedDaemon(Pyro4.Daemon):
    """A daemon that strangers can neither stop nor fill, and that knows its connections.

    Differs from Pyro's:

    * There, the thread that accepts connections also does their TLS handshakes, without a time-out.  Here, each
      connection's own thread does it.
    * There, each received byte starts the time-out of a handshake anew.  Here, the whole handshake has one.
    * Here, the oldest connection in its handshake gives way when there are too many.  A member's handshake takes
      milliseconds, so whoever gives way has been waiting for long.
    * There, the end of a daemon leaves its connections open, so that their other sides wait for answers.

    Args:
        host: Address to listen at.
        ports: Ports of which it takes the first free one.
        on_disconnect: Callback with the connection that has ended, in any thread.
        handshake_limit_s: Seconds that a whole handshake may take; looked at every two seconds.
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
        self._lock = threading.Lock()
        # Under the lock:
        self._has_ended = False
        self._connections: set[Any] = set()
        self._strangers: dict[Any, float] = {}  # connections in their handshake, the oldest first: when it began
        self._listen(host, ports)
        self.sock.do_handshake_on_connect = False  # else by accept, in the thread of all connections

    def _listen(self, host: str, ports: Ports) -> None:
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
        if denied_reason is not None:
            return False  # it would be told in the thread that accepts connections
        with self._lock:
            if self._has_ended:
                return False  # Pyro goes on to accept connections for a moment
            if len(self._strangers) == MAX_HANDSHAKES:
                self._cut_stranger(next(iter(self._strangers)))
            self._strangers[conn] = time.monotonic()
        is_accepted = False
        try:
            conn.sock.do_handshake()
            is_accepted = super()._handshake(conn)
        except COMMUNICATION_ERRORS as error:
            logger.debug("a handshake failed: %s", error)
        finally:
            with self._lock:
                self._strangers.pop(conn, None)
                if is_accepted:
                    self._connections.add(conn)
        return is_accepted

    def housekeeping(self) -> None:
        """Cuts connections whose handshake takes too long; Pyro calls this every two seconds."""
        with self._lock:
            latest_s = time.monotonic() - self._handshake_limit_s
            for connection in [each for each, began_s in self._strangers.items() if began_s < latest_s]:
                self._cut_stranger(connection)

    def _cut_stranger(self, connection: Any) -> None:
        """Ends a connection in its handshake; the lock is held, so its thread has not closed it yet."""
        del self._strangers[connection]
        _cut(connection)

    def clientDisconnect(self, conn: Any) -> None:
        """Forgets a connection that has ended, and reports it."""
        with self._lock:
            self._connections.discard(conn)
        on_disconnect = self._on_disconnect  # another thread may end the daemon
        if on_disconnect is not None:
            on_disconnect(conn)

    def end(self) -> None:
        """Ends the daemon and its connections."""
        self._on_disconnect = None
        with self._lock:
            self._has_ended = True
            for connection in (*self._connections, *self._strangers):
                _cut(connection)
        self.shutdown()


def _cut(connection: Any) -> None:
    """Ends a connection that another thread uses; that thread notices, and closes it."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)  # TLS's own would take away the thread's TLS object


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
