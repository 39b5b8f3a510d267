"""The ports of a process, and the address from outside."""

from __future__ import annotations

import pytest

from master.ports import Ports


def test_any_free_port_is_the_default() -> None:
    ports = Ports.parse(None, None)
    assert list(ports.candidates()) == [(0, None)]
    assert ports.outside("10.0.0.7", 5001) == ("10.0.0.7", 5001)


def test_ports_are_tried_in_order() -> None:
    assert list(Ports.parse("5000-5002", None).candidates()) == [(5000, None), (5001, None), (5002, None)]
    assert list(Ports.parse("65535-65535", None).candidates()) == [(65535, None)]


def test_a_nat_forwards_each_port_to_the_one_in_its_place() -> None:
    same, moved = Ports.parse("5000-5001", "gate.example.org"), Ports.parse("5000-5001", "203.0.113.9:6000")
    assert list(same.candidates()) == [(5000, 5000), (5001, 5001)]
    assert list(moved.candidates()) == [(5000, 6000), (5001, 6001)]
    assert moved.outside("10.0.0.7", 5001) == ("203.0.113.9", 6001)
    inner = Ports.parse("5000-5001", "[2001:db8::7]:6000")
    assert (inner.nat_host, inner.outside("::1", 5000)) == ("[2001:db8::7]", ("2001:db8::7", 6000))


@pytest.mark.parametrize("text", ["5000", "0-10", "5010-5000", "5000-65536", "a-b", "5000-", "-5000-5010"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--port-range: got '.*', expected the first and the last port, as 5000-5010"):
        Ports.parse(text, None)


@pytest.mark.parametrize("text", ["", ":6000", "gate:0", "gate:70000", "2001:db8::7", "a b", "[2001:db8::7", "u@gate"])
def test_what_is_no_address_from_outside_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--nat-host: got '.*', expected a host, and perhaps a port"):
        Ports.parse("5000-5010", text)


def test_a_nat_wants_given_ports() -> None:
    with pytest.raises(ValueError, match="--nat-host: got gate without --port-range"):
        Ports.parse(None, "gate")


def test_a_nat_has_a_port_for_each_of_the_range() -> None:
    assert list(Ports.parse("5000-5010", "gate:65525").candidates())[-1] == (5010, 65535)
    with pytest.raises(
        ValueError, match="--nat-host: got port 65526 for the first of 11 ports, expected at most 65525"
    ):
        Ports.parse("5000-5010", "gate:65526")
