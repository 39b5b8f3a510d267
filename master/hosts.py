"""Addresses that the master can listen at."""

from __future__ import annotations

import logging
import socket

logger = logging.getLogger("nasbohb.master")


def outward_address() -> str:
    """The address of this machine on the way to others; nothing is sent to find it.

    Without a way to others, it is the local address, and a warning says so.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address reserved for documentation
            return str(probe.getsockname()[0])
        except OSError as error:
            logger.warning(
                "this machine has no route to others (%s), so only workers on it will reach the master; name an "
                "address of it by --host",
                error.strerror,
            )
            return "127.0.0.1"


def checked_host(host: str) -> str:
    """Returns ``host`` after a check that this machine can listen there; warns where others cannot reach it.

    Raises:
        ValueError: The host is no address of this machine, or stands for all of them.
    """
    if host in ("", "0.0.0.0", "::"):
        raise ValueError(
            f"host: got {host!r}, which tells workers no address to connect to; expected one address of this machine; "
            "see `hostname -I`"
        )
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            address = probe.getsockname()[0]
    except OSError as error:
        raise ValueError(
            f"host: got {host!r}, expected an address of this machine ({error}); see `hostname -I`"
        ) from None
    if address.startswith("127.") and host not in ("127.0.0.1", "localhost"):
        logger.warning("host %s is %s: only workers on this machine will reach it", host, address)
    return host
