"""How the master's processes talk: Pyro's settings, and proxies with a time-out and the run's signature."""

from __future__ import annotations

from typing import Any

import Pyro4
import Pyro4.errors

#: What a call may raise when the other side, or the way to it, is gone.
COMMUNICATION_ERRORS = (Pyro4.errors.PyroError, OSError)
#: Seconds that any call may take: all of them only hand something over.
CALL_TIMEOUT_S = 5.0


def configure_pyro() -> None:
    """Sets what Pyro only knows as global settings of the process; to be called before anything is created.

    One thread serves all connections ("multiplex"): Pyro's pool of threads would refuse the 41st.
    """
    Pyro4.config.SERVERTYPE = "multiplex"
    Pyro4.config.SERIALIZERS_ACCEPTED = {"serpent"}
    Pyro4.config.COMMTIMEOUT = CALL_TIMEOUT_S
    Pyro4.config.SOCK_NODELAY = True


def connect(uri: str, key: str, timeout_s: float = CALL_TIMEOUT_S) -> Any:
    """A proxy of a Pyro object; it connects with its first call, which may raise COMMUNICATION_ERRORS."""
    proxy = Pyro4.Proxy(uri)
    proxy._pyroHmacKey = key
    proxy._pyroTimeout = timeout_s
    return proxy


def name_server_uri(host: str, port: int) -> str:
    """The address of the name server at a host and port."""
    return f"PYRO:{Pyro4.constants.NAMESERVER_NAME}@{host}:{port}"


def end_daemon(daemon: Pyro4.Daemon) -> None:
    """Ends a daemon and its connections, which Pyro leaves open: their other sides would wait for answers."""
    connections = [connection for connection in daemon.sockets if connection is not daemon.sock]
    daemon.shutdown()
    for connection in connections:
        connection.close()


def is_timeout(error: BaseException) -> bool:
    """Whether a communication error means silence, rather than a refused or broken connection."""
    return any(isinstance(e, Pyro4.errors.TimeoutError | TimeoutError) for e in (error, error.__cause__))
