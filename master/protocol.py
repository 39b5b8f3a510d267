"""The wire: how master and workers find each other, what they say, and how long they wait.

The master's dispatcher stands in the run's name server under ``dispatcher_name``.  A worker calls its ``join`` with
its name, its address and its version; refused, it ends.  Then it calls ``heartbeat`` every second,
``register_result`` with the report of a job, and ``sign_off`` in the end.  The dispatcher calls the worker's
``start_computation``, ``is_busy`` and ``shutdown``.

Whatever changes these calls, or a record that goes through them, raises ``PROTOCOL``; ``join`` itself stays.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any, TypedDict

import Pyro4
import Pyro4.errors
import Pyro4.socketutil

from results.run_directory import installed_versions

#: The version of what goes over the wire.
PROTOCOL = 1
#: What a call may raise when the other side, or the way to it, is gone.
COMMUNICATION_ERRORS = (Pyro4.errors.PyroError, OSError)
#: Seconds that any call may take: all of them only hand something over.
CALL_TIMEOUT_S = 5.0
#: Seconds that a sign of life may take.
PROBE_TIMEOUT_S = 2.0


class HeartbeatAnswer(TypedDict):
    """What a worker's sign of life is answered with.

    Attributes:
        known: Whether the worker belongs to the pool, or must join again.
        abandon: The tickets of jobs that it must give up, because they are somebody else's by now.
    """

    known: bool
    abandon: list[str]


class Version(TypedDict):
    """What a process runs: it decides what a trial computes, and how its outcome is told.

    Attributes:
        nasbohb: The version of this distribution; None where it is not installed.
        protocol: Its ``PROTOCOL``.
    """

    nasbohb: str | None
    protocol: int


@cache
def own_version() -> Version:
    """The version of this process."""
    return {"nasbohb": installed_versions()["nasbohb"], "protocol": PROTOCOL}


def refusal(worker: str, version: Any) -> str | None:
    """Why a worker of this version may not join; None if it may.

    Args:
        worker: What messages call the worker.
        version: What it says it is, unchecked.
    """
    own = own_version()
    if version == own:
        return None
    return (
        f"worker {worker} runs {_version_text(version)}, its master {_version_text(own)}; "
        "install the same version on both"
    )


def _version_text(version: Any) -> str:
    if not isinstance(version, dict) or not {"nasbohb", "protocol"} <= set(version):
        return "an unknown version"
    return f"nasbohb {version['nasbohb']} (protocol {version['protocol']})"


def dispatcher_name(run_id: str) -> str:
    """What the dispatcher of a run is called in the name server: hpbandster's name, over an id made for the wire."""
    return f"hpbandster.run_{wire_id(run_id)}.dispatcher"


def wire_id(run_id: str) -> str:
    """A run's id as the wire needs it: Pyro allows neither white space nor ``@`` in a name, a directory does."""
    return hashlib.sha256(run_id.encode(errors="surrogateescape")).hexdigest()[:16]


def short_name(worker: str) -> str:
    """Host, process and random part of a worker's name, for messages."""
    return worker.rpartition(".worker.")[2]


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


def own_address(master_host: str) -> str:
    """The address of this machine that its connection to the master comes from."""
    return str(Pyro4.socketutil.getInterfaceAddress(master_host))


def end_daemon(daemon: Pyro4.Daemon) -> None:
    """Ends a daemon and its connections, which Pyro leaves open: their other sides would wait for answers."""
    connections = [connection for connection in daemon.sockets if connection is not daemon.sock]
    daemon.shutdown()
    for connection in connections:
        connection.close()


def is_timeout(error: BaseException) -> bool:
    """Whether a communication error means silence, rather than a refused or broken connection."""
    return any(isinstance(e, Pyro4.errors.TimeoutError | TimeoutError) for e in (error, error.__cause__))
