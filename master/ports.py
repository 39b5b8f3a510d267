"""Ports at which a process listens, and the address at which others reach it from outside of its network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LARGEST = 65535


@dataclass(frozen=True)
class Ports:
    """Ports of the daemons of a process: two of a master, one of a worker.

    Attributes:
        first: First port; 0 for any free one.
        last: Last port.
        nat_host: Address at which others reach this machine, in brackets if it is one of IPv6; None for its own.
        nat_first: Port there that leads to ``first``; the next one leads to the next one.
    """

    first: int = 0
    last: int = 0
    nat_host: str | None = None
    nat_first: int | None = None

    @classmethod
    def parse(cls, port_range: str | None, nat_host: str | None) -> Ports:
        """Reads the options of a command.

        Args:
            port_range: First and last port, as ``5000-5010``; None for any free ones.
            nat_host: Address from outside, and perhaps the port there of the first port: ``host:6000``; None for none.

        Raises:
            ValueError: An option is malformed, or a NAT is named without ports or with too few; the message names the
                option.
        """
        first, last = (0, 0) if port_range is None else _range(port_range)
        if nat_host is None:
            return cls(first, last)
        host, port = _outside(nat_host)
        if port_range is None:
            raise ValueError(
                f"--nat-host: got {nat_host} without --port-range, but a NAT forwards given ports; give both"
            )
        outside = first if port is None else port
        if outside + last - first > _LARGEST:
            raise ValueError(
                f"--nat-host: got port {outside} for the first of {last - first + 1} ports, expected at most "
                f"{_LARGEST - (last - first)}, so that the last one has a port, too"
            )
        return cls(first, last, host, outside)

    def candidates(self) -> Iterator[tuple[int, int | None]]:
        """Yields each port, and the one that leads to it from outside."""
        for port in range(self.first, self.last + 1):
            yield port, None if self.nat_first is None else self.nat_first + port - self.first

    def outside(self, host: str, port: int) -> tuple[str, int]:
        """Returns the host and port at which others reach a port of this process."""
        if self.nat_host is None or self.nat_first is None:
            return host, port
        return self.nat_host.strip("[]"), self.nat_first + port - self.first

    def __str__(self) -> str:
        """The range as in the option."""
        return f"{self.first}-{self.last}"


#: Any free ones, in a network that others reach.
ANY_PORTS = Ports()


def _range(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)-(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= _LARGEST:
        raise ValueError(f"--port-range: got {text!r}, expected the first and the last port, as 5000-5010")
    return int(match[1]), int(match[2])


def _outside(text: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]\s@]+)(?::(\d+))?", text)
    if match is None or (match[2] is not None and not 1 <= int(match[2]) <= _LARGEST):
        raise ValueError(
            f"--nat-host: got {text!r}, expected a host, and perhaps a port, as gate.example.org:6000 or [2001:db8::7]"
        )
    return match[1], None if match[2] is None else int(match[2])
