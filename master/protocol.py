"""The wire between master and workers: names, calls, messages and time-outs.

The master's dispatcher is in the run's name server under ``dispatcher_name``.  A worker calls these methods of it:

* ``join`` with the worker's name, address and version; a refused worker ends;
* ``heartbeat`` every second, with the tickets of its jobs and the epochs that are saved;
* ``register_result`` with the report of a job;
* ``sign_off`` at its end.

The dispatcher calls the worker's ``start_computation``, ``is_busy`` and ``shutdown``.

A change of these calls, or of a record that goes through them, must raise ``PROTOCOL``; ``join`` must not change.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any, TypedDict

import Pyro4
import Pyro4.errors
import Pyro4.socketutil

from results.run_directory import installed_versions
from results.text import shortened

#: The version of the calls and records on the wire.
PROTOCOL = 3
#: The errors of a call when the other side, or the way to it, is gone.
COMMUNICATION_ERRORS = (Pyro4.errors.PyroError, OSError)
#: Seconds that any call may take; every call only hands something over.
CALL_TIMEOUT_S = 5.0
#: Seconds that a sign of life may take.
PROBE_TIMEOUT_S = 2.0
#: Largest message; a trial and a report have some thousand bytes.
MAX_MESSAGE_BYTES = 4 * 2**20
#: Largest number of connections to one process.
MAX_CONNECTIONS = 4096


class HeartbeatAnswer(TypedDict):
    """The answer to a worker's sign of life.

    Attributes:
        known: True if the worker belongs to the pool; False if it must join again.
        abandon: Tickets of jobs that the worker must abandon, because they are another worker's by now.
        reason: Reason for which the worker could not be admitted so far; None if there is none.
    """

    known: bool
    abandon: list[str]
    reason: str | None


class Version(TypedDict):
    """The version of a process, which determines the computations of a trial and the messages.

    Attributes:
        nasbohb: Version of this distribution; None if it is not installed.
        protocol: ``PROTOCOL`` of the process.
    """

    nasbohb: str | None
    protocol: int


@cache
def own_version() -> Version:
    """Returns the version of this process."""
    return {"nasbohb": installed_versions()["nasbohb"], "protocol": PROTOCOL}


def refusal(worker: str, version: Any) -> str | None:
    """Explains why a worker of this version may not join; None if it may.

    Args:
        worker: Name of the worker in messages.
        version: Version that the worker states, unchecked.
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
    return shortened(f"nasbohb {version['nasbohb']} (protocol {version['protocol']})", 200)


def dispatcher_name(run_id: str) -> str:
    """Names the dispatcher of a run in the name server: hpbandster's name, with the run's id for the wire."""
    return f"hpbandster.run_{wire_id(run_id)}.dispatcher"


def wire_id(run_id: str) -> str:
    """Digests a run's id for the wire, because Pyro allows neither white space nor ``@`` in a name."""
    return hashlib.sha256(run_id.encode(errors="surrogateescape")).hexdigest()[:16]


def short_name(worker: str) -> str:
    """Shortens a worker's name to host, process and random part, for messages."""
    return worker.rpartition(".worker.")[2]


def connect(uri: str, timeout_s: float = CALL_TIMEOUT_S) -> Any:
    """Makes a proxy of a Pyro object; it connects with its first call, which may raise COMMUNICATION_ERRORS.

    The process must be a member of the run, see ``master.security``.
    """
    proxy = Pyro4.Proxy(uri)
    proxy._pyroTimeout = timeout_s
    return proxy


def name_server_uri(host: str, port: int) -> str:
    """Makes the address of the name server at a host and port."""
    return f"PYRO:{Pyro4.constants.NAMESERVER_NAME}@{f'[{host}]' if ':' in host else host}:{port}"


def own_address(master_host: str) -> str:
    """Finds this machine's address in its connections to the master."""
    return str(Pyro4.socketutil.getInterfaceAddress(master_host))


def is_refused(error: BaseException) -> bool:
    """Whether nothing listens at the other side's address, so that its process has ended.

    Any other error of a connection means silence: the other side, or the way to it, may come back.
    """
    return _is_caused_by(error, ConnectionRefusedError, ConnectionResetError)


def is_broken(error: BaseException) -> bool:
    """Whether the other side ended the connection during a call, as a process does that dies."""
    return _is_caused_by(error, Pyro4.errors.ConnectionClosedError, ConnectionResetError, BrokenPipeError)


def _is_caused_by(error: BaseException, *kinds: type[BaseException]) -> bool:
    return any(isinstance(e, kinds) for e in (error, error.__cause__, error.__context__))
