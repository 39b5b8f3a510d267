"""The security of a run: Pyro's own TLS, in which both sides show the certificate of the run's members.

Whoever has the certificates in the run's ``credentials/`` is a member, and trusted.  Nobody else gets further than the
TLS handshake.  There is no switch: without certificates, a process reaches and serves nobody.

Pyro makes two TLS contexts for the whole process and keeps them.  Ours take their place, for three reasons:

* Pyro's trust the authorities of the operating system, too; ours trust the run's alone.
* Pyro's check the host name.  A member may have any address, so the authority of the run stands for its members.
* A resumed master has another authority, and a worker that outlived the first master must change to it.

The variables that hold them are private to Pyro; a test says so if another version of it uses others.

Pyro's settings are global, so a process is a member of one run at a time.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import Pyro4
import Pyro4.configuration
import Pyro4.socketutil

from master.protocol import CALL_TIMEOUT_S, MAX_CONNECTIONS, MAX_MESSAGE_BYTES
from results.credentials import AUTHORITY, MEMBER

#: Pyro's settings that are not its defaults, or that matter.  Each connection has a thread: in Pyro's other server, a
#: client that sends a part of a handshake stops the one thread.
_SETTINGS: dict[str, Any] = {
    "SERVERTYPE": "thread",
    "THREADPOOL_SIZE": MAX_CONNECTIONS,
    "MAX_MESSAGE_SIZE": MAX_MESSAGE_BYTES,
    "COMMTIMEOUT": CALL_TIMEOUT_S,
    "SOCK_NODELAY": True,
    # No format that runs code, nothing that a study does not use, nothing in the log.
    "SERIALIZER": "serpent",
    "SERIALIZERS_ACCEPTED": {"serpent"},
    "REQUIRE_EXPOSE": True,
    "FLAME_ENABLED": False,
    "ITER_STREAMING": False,
    "AUTOPROXY": False,
    "COMPRESSION": False,
    "NS_AUTOCLEAN": 0.0,
    "DETAILED_TRACEBACK": False,
    "LOGWIRE": False,
    "SSL": True,
    "SSL_REQUIRECLIENTCERT": True,
}


def become_member(certificates: Path) -> None:
    """Makes this process a member of a run: the Pyro objects that it creates from now on use these certificates.

    Proxies use them with their next connection, daemons of before keep the certificates with which they were made.

    Args:
        certificates: Folder with the certificates of a master.

    Raises:
        FileNotFoundError: The master of the certificates has ended.
        OSError: The files cannot be read.
        ValueError: A file is damaged; the message names the folder.
    """
    server = _context(ssl.PROTOCOL_TLS_SERVER, certificates)
    client = _context(ssl.PROTOCOL_TLS_CLIENT, certificates)
    server.num_tickets = 0  # no member resumes a TLS session
    authority, member = str(certificates / AUTHORITY), str(certificates / MEMBER)
    files = {"SSL_CACERTS": authority, "SSL_SERVERCERT": member, "SSL_CLIENTCERT": member}
    # Each setting changes once, because other threads may use them; PYRO_... variables of the environment have no say.
    for name, value in {**_defaults(), **_SETTINGS, **files}.items():
        setattr(Pyro4.config, name, value)
    Pyro4.socketutil.__ssl_server_context = server
    Pyro4.socketutil.__ssl_client_context = client


def _defaults() -> dict[str, Any]:
    """Pyro's settings where nobody sets any."""
    defaults = Pyro4.configuration.Configuration()
    defaults.reset(useenvironment=False)
    return dict(defaults.asDict())


def _context(protocol: int, certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    authority = (certificates / AUTHORITY).read_text()
    try:
        context.load_verify_locations(cadata=authority)
        context.load_cert_chain(certificates / MEMBER)
    except ssl.SSLError as error:
        raise ValueError(f"{certificates}: the run's certificates are damaged ({error}); resume the master") from error
    return context
