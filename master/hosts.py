"""Addresses that the master can listen at."""

from __future__ import annotations

import logging
import socket

logger = logging.getLogger("nasbohb.master")


def outward_address() -> str:
    """The address of this machine on the way to others; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address reserved for documentation
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def checked_host(host: str) -> str:
    """Returns ``host`` after a check that this machine can listen there; warns where others cannot reach it.

    Raises:
        ValueError: The host is no address of this machine.
    """
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
