"""What strangers at the ports of a master do to its rate and its memory.

    python -m benchmarks.intruders          # 16 workers, empty trials, without and with each kind of stranger.

A process without credentials talks to the name server and to the dispatcher all the time, in one of these ways:

* ``slow``: 200 clients that send a TLS handshake byte by byte, one byte a second;
* ``half-open``: 200 clients that send the beginning of a handshake and wait;
* ``garbage``: 2,000 clients that send other bytes and wait;
* ``frames``: 20 clients that announce a message of 2 GB and send 4 MB at a time.

A connection that the server ends is opened again a second later.  The strangers' own processor time is a part of what
is measured, as they run on the same machine.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.master import Cost, alone, measure_ours, serving
from master.protocol import COMMUNICATION_ERRORS, connect, dispatcher_name, name_server_uri
from master.security import become_member
from results.credentials import read_credentials
from results.run_directory import RunDirectory

#: Kind of strangers -> their number.
KINDS = {"none": 0, "slow": 200, "half-open": 200, "garbage": 2000, "frames": 20}
#: The header of a TLS record of 512 bytes that begins a handshake, and the header of a message of Pyro's of 2 GB.
_TLS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(501)
_PYRO = struct.pack("!4sHHHHiHHHH", b"PYRO", 48, 1, 0, 0, 2**31 - 1, 2, 0, 0, 0)


def disturb(path: str, kind: str) -> None:
    """Finds the addresses as a member, and talks to them as a stranger until this process is killed."""
    run = RunDirectory(Path(path))
    addresses: list[tuple[str, int]] = []
    while len(addresses) < 2:
        with contextlib.suppress(OSError, ValueError, *COMMUNICATION_ERRORS):
            credentials = read_credentials(run)
            become_member(run.credentials / credentials.certificates)
            with connect(name_server_uri(credentials.host, credentials.port)) as names:
                uri = names.lookup(dispatcher_name(credentials.run_id))
            addresses = [(credentials.host, credentials.port), (uri.host, uri.port)]
    for i in range(KINDS[kind]):
        threading.Thread(target=talk, args=(addresses[i % 2], kind), daemon=True).start()
    time.sleep(3600)


def talk(address: tuple[str, int], kind: str) -> None:
    """Connects again and again, and talks as this kind of stranger does."""
    while True:
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=60) as sock:
            if kind == "slow":
                for byte in _TLS:
                    sock.sendall(bytes([byte]))
                    time.sleep(1)
            elif kind == "half-open":
                sock.sendall(_TLS[:9])
            elif kind == "garbage":
                sock.sendall(b"\x00\xff" * 50)
            else:
                sock.sendall(_PYRO)
                while True:
                    sock.sendall(bytes(2**22))
            sock.recv(1)
        time.sleep(1)


def measure(kind: str, n_iterations: int, n_workers: int) -> Cost:
    """Runs a study of empty trials among strangers, in this process."""
    strangers: Any = contextlib.ExitStack()

    def before(path: str) -> None:
        strangers.enter_context(serving(disturb, [(path, kind)], patience_s=0.0))
        time.sleep(5)  # until they are there

    with strangers:
        return measure_ours("cs2", n_iterations, n_workers, before)


def main() -> None:
    """Parses the command line, measures, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=256)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    for _ in range(options.repeats):
        for kind in (*KINDS, "none"):
            cost = alone(measure, kind, options.iterations, options.workers)
            print(
                f"{kind:10s} {KINDS[kind]:5d} strangers: {cost.wall_ms:6.2f} ms per job, processor "
                f"{cost.cpu_ms:5.2f} ms, memory {cost.peak_mib:4.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
