"""How a worker talks to the master: the counterpart of ``master.wire``, which this package may not import."""

from __future__ import annotations

from typing import Any

import Pyro4
import Pyro4.errors
import Pyro4.socketutil

#: What a call may raise when the other side, or the way to it, is gone.
COMMUNICATION_ERRORS = (Pyro4.errors.PyroError, OSError)
#: Seconds that any call may take: all of them only hand something over.
CALL_TIMEOUT_S = 5.0


def configure_pyro() -> None:
    """Sets what Pyro only knows as global settings of the process; to be called before anything is created."""
    Pyro4.config.SERVERTYPE = "multiplex"
    Pyro4.config.SERIALIZERS_ACCEPTED = {"serpent"}
    Pyro4.config.COMMTIMEOUT = CALL_TIMEOUT_S
    Pyro4.config.SOCK_NODELAY = True


def connect(uri: str, key: str) -> Any:
    """A proxy of a Pyro object; it connects with its first call, which may raise COMMUNICATION_ERRORS."""
    proxy = Pyro4.Proxy(uri)
    proxy._pyroHmacKey = key
    proxy._pyroTimeout = CALL_TIMEOUT_S
    return proxy


def name_server_uri(host: str, port: int) -> str:
    """The address of the name server at a host and port."""
    return f"PYRO:{Pyro4.constants.NAMESERVER_NAME}@{host}:{port}"


def own_address(master_host: str) -> str:
    """The address of this machine that its connection to the master comes from."""
    return str(Pyro4.socketutil.getInterfaceAddress(master_host))
