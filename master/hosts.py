"""Addresses that the master can listen at."""

from __future__ import annotations

import logging
import socket

logger = logging.getLogger("nasbohb.master")

#: Addresses reserved for documentation, of either kind.
_OTHERS = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_LOCAL = ("127.0.0.1", "::1", "localhost")


def outward_address() -> str:
    """The address of this machine on the way to others, of IPv4 if it has one; nothing is sent to find it.

    Without a way to others, it is the local address, and a warning says so.
    """
    reasons = []
    for family, other in _OTHERS:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((other, 9))
                return str(probe.getsockname()[0])
        except OSError as error:
            reasons.append(error.strerror)
    logger.warning(
        "this machine has no route to others (%s), so only workers on it will reach the master; name an address of it "
        "by --host",
        reasons[0],
    )
    return "127.0.0.1"


def checked_host(host: str) -> str:
    """Returns ``host`` after a check that this machine can listen there; warns where others cannot reach it.

    Raises:
        ValueError: The host is no address of this machine, or stands for all of them.
    """
    if host in ("", "0.0.0.0", "::"):
        raise ValueError(
            f"--host: got {host!r}, which tells workers no address to connect to; expected one address of this "
            "machine; see `hostname -I`"
        )
    try:
        with socket.create_server((host, 0), family=family_of(host)) as probe:
            address = probe.getsockname()[0]
    except OSError as error:
        raise ValueError(
            f"--host: got {host!r}, expected an address of this machine ({error}); see `hostname -I`"
        ) from None
    if (address.startswith("127.") or address == "::1") and host not in _LOCAL:
        logger.warning("host %s is %s: only workers on this machine will reach it", host, address)
    return host


def family_of(host: str) -> socket.AddressFamily:
    """Finds out whether Pyro listens at a host by IPv4, which it prefers, or by IPv6.

    Raises:
        OSError: The host has no address.
    """
    families = {found[0] for found in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)}
    return socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
