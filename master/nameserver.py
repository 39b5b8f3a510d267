"""The name server of one run, on a free port; workers find it through a file of the run."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from master.certificates import write_certificates
from master.daemon import GuardedNameServer
from master.ports import ANY_PORTS, Ports
from master.security import become_member
from results.credentials import Credentials, credentials_path, write_credentials
from results.run_directory import RunDirectory


@contextmanager
def name_server(run: RunDirectory, run_id: str, host: str, ports: Ports = ANY_PORTS) -> Iterator[Credentials]:
    """Makes this process a member of the run and serves names while the context lasts, in a daemon thread.

    Differs from hpbandster's: the port is always a free one, so two runs never meet; only who has the certificates
    that are drawn here is served; the credentials are JSON and appear atomically.

    Args:
        run: Run in whose ``credentials/`` the workers find the name server and the certificates.
        run_id: Name of the study.
        host: Address to listen at, which the workers can reach.
        ports: Ports to listen at; workers find the address from outside in the file.

    Yields:
        The credentials with the address for this process.

    Raises:
        NoFreePortError: None of the ports is free.
        OSError: The host is no address of this machine, or the credentials cannot be written.
    """
    run.credentials.mkdir(mode=0o700, exist_ok=True)
    folder = run.credentials / secrets.token_hex(8)
    write_certificates(folder)
    try:
        become_member(folder)
        daemon = GuardedNameServer(host, ports)
        thread = threading.Thread(target=daemon.requestLoop, name="name server", daemon=True)
        thread.start()
        try:
            credentials = Credentials(run_id=run_id, host=host, port=daemon.port, certificates=folder.name)
            outside_host, outside_port = ports.outside(host, daemon.port)
            write_credentials(run, msgspec.structs.replace(credentials, host=outside_host, port=outside_port))
            yield credentials
        finally:
            credentials_path(run).unlink(missing_ok=True)
            daemon.end()
            thread.join(timeout=5)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
