"""The address at which a worker listens to its master."""

from __future__ import annotations

import threading

from master.daemon import GuardedDaemon
from master.ports import ANY_PORTS, Ports
from results.credentials import Credentials


class Listener:
    """Serves the calls of a master to an object; begins anew when another master has written its credentials.

    Attributes:
        uri: Address of the object; empty before ``listen``.
    """

    def __init__(self, service: object, name: str, host: str, ports: Ports = ANY_PORTS) -> None:
        """Prepares to listen.

        Args:
            service: Object that is served.
            name: Name of the object.
            host: Address to listen at.
            ports: Ports to listen at.
        """
        self.uri = ""
        self._service = service
        self._name = name
        self._address = (host, ports)
        self._lock = threading.Lock()
        # Under the lock:
        self._has_ended = False
        self._credentials: Credentials | None = None
        self._daemon: GuardedDaemon | None = None
        self._thread: threading.Thread | None = None

    @property
    def has_died(self) -> bool:
        """Whether the thread that serves has ended by itself."""
        thread = self._thread
        return thread is not None and not thread.is_alive()

    def listen(self, credentials: Credentials) -> None:
        """Serves the members by these credentials; has no effect if it does already, or has ended.

        A daemon keeps the certificates with which it was made.  Therefore another master gets another daemon.

        Raises:
            OSError: The host is no address of this machine, or none of the ports is free.
        """
        with self._lock:
            if self._has_ended or credentials == self._credentials:
                return
            self._close()
            self._daemon = GuardedDaemon(*self._address)
            self.uri = str(self._daemon.register(self._service, self._name))
            thread = threading.Thread(target=self._daemon.requestLoop, name="calls of the master", daemon=True)
            thread.start()
            self._thread = thread  # only now, because ``has_died`` asks without the lock
            self._credentials = credentials

    def end(self) -> None:
        """Serves no more."""
        with self._lock:
            self._has_ended = True
            self._close()

    def _close(self) -> None:
        daemon, self._daemon, self._thread, self._credentials = self._daemon, None, None, None
        if daemon is not None:
            daemon.unregister(self._service)
            daemon.end()
