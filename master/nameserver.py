"""The name server of one run, on a free port; workers find it through a file of the run."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from master.daemon import GuardedNameServer
from master.ports import ANY_PORTS, Ports
from results.credentials import Credentials, credentials_path, write_credentials
from results.run_directory import RunDirectory


@contextmanager
def name_server(run: RunDirectory, run_id: str, host: str, ports: Ports = ANY_PORTS) -> Iterator[Credentials]:
    """Serves names while the context lasts, in a daemon thread of this process.

    Differs from hpbandster's: the port is always a free one, so two runs never meet; every message must be
    signed with a key that is drawn for the run; the credentials are JSON and appear atomically.

    Args:
        run: Run in whose ``credentials/`` the workers find the name server.
        run_id: Name of the study.
        host: Address to listen at, which the workers can reach.
        ports: Ports to listen at; workers find the address from outside in the file.

    Yields:
        The credentials with the address for this process.

    Raises:
        NoFreePortError: None of the ports is free.
        OSError: The host is no address of this machine.
    """
    key = secrets.token_hex(32)
    daemon = GuardedNameServer(host, ports)
    daemon._pyroHmacKey = key
    thread = threading.Thread(target=daemon.requestLoop, name="name server", daemon=True)
    thread.start()
    try:
        credentials = Credentials(run_id=run_id, host=host, port=daemon.port, key=key)
        outside_host, outside_port = ports.outside(host, daemon.port)
        write_credentials(run, msgspec.structs.replace(credentials, host=outside_host, port=outside_port))
        yield credentials
    finally:
        credentials_path(run).unlink(missing_ok=True)
        daemon.end()
        thread.join(timeout=5)
