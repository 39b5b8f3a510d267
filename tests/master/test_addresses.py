"""Studies at given ports, behind a NAT, and over IPv6: a master and a worker in one process, over real sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import run_bohb
from master.daemon import NoFreePortError
from master.hosts import checked_host
from master.loop import Progress
from master.ports import Ports
from master.signals import StopFlag
from master.study import run_master
from results.credentials import read_credentials
from results.master_status import Ending

from .conftest import MakeRun, StartWorkers

ROOT = Path(__file__).parents[2]


def free_ports(n: int) -> int:
    """The first of n ports in a row that are free now."""
    for first in range(20_000, 60_000, 97):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + n):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise AssertionError("no ports are free")


def listening(first: int, n: int) -> list[int]:
    """The ports in a range at which somebody listens."""
    found = []
    for port in range(first, first + n):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            found.append(port)
    return found


@pytest.fixture
def gate() -> Iterator[Any]:
    """Forwards connections from one port of the machine to another, as a NAT does."""
    servers: list[socket.socket] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(server: socket.socket, to: int, counts: dict[int, int]) -> None:
        with contextlib.suppress(OSError):
            while True:
                outer, _ = server.accept()
                counts[to] = counts.get(to, 0) + 1
                inner = socket.create_connection(("127.0.0.1", to))
                for pair in ((outer, inner), (inner, outer)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    def forward(first: int, to: int, n: int) -> dict[int, int]:
        counts: dict[int, int] = {}
        for index in range(n):
            server = socket.create_server(("127.0.0.2", first + index))
            servers.append(server)
            threading.Thread(target=serve, args=(server, to + index, counts), daemon=True).start()
        return counts

    yield forward
    for server in servers:
        server.close()


def test_a_study_keeps_to_its_ports(make_run: MakeRun, start_workers: StartWorkers) -> None:
    """Two of the master, one of the worker; one in their midst belongs to somebody else."""
    run, first, seen = make_run(n_iterations=2), free_ports(4), []

    def on_progress(progress: Progress) -> None:
        if progress.last is not None and not seen:
            seen.extend(listening(first, 4))
            seen.append(read_credentials(run).port)

    ports = Ports(first, first + 3)
    with socket.create_server(("127.0.0.1", first + 1)):
        start_workers(run, ports=ports)
        assert run_master(run, ports=ports, on_progress=on_progress).n_done == 10
    assert seen == [first, first + 1, first + 2, first + 3, first]


def test_a_worker_takes_its_only_port_again_for_the_next_master(make_run: MakeRun) -> None:
    """In a process of its own, because certificates are those of a process; both masters have the same ports."""
    run, first = make_run(n_iterations=2), free_ports(3)
    program = (
        "import sys\nfrom master.ports import Ports\nfrom tests.master.worker_process import smooth\n"
        "from worker.service import run_worker\nport = int(sys.argv[2])\n"
        "print(run_worker(sys.argv[1], objective=smooth, ports=Ports(port, port)))\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program, str(run.path), str(first + 2)], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    stop = StopFlag()

    def pause(progress: Progress) -> None:
        if progress.n_done == 3:
            stop.signal = signal.SIGUSR1

    master = Ports(first, first + 1)
    assert run_master(run, ports=master, stop=stop, comes_back=True, on_progress=pause).ending is Ending.SUSPENDED
    assert run_master(run, ports=master, resume=True).n_done == 10
    assert worker.wait(timeout=30) == 0


def test_ports_that_are_taken_are_told_in_a_sentence(make_run: MakeRun) -> None:
    run, first = make_run(), free_ports(2)
    message = rf"--port-range: got {first}-{first}, of which no port is free on 127\.0\.0\.1, expected two free ones"
    with pytest.raises(NoFreePortError, match=message):
        run_master(run, ports=Ports(first, first))
    assert listening(first, 1) == []


def test_workers_and_master_meet_through_a_nat(make_run: MakeRun, start_workers: StartWorkers, gate: Any) -> None:
    """Each is told the other's address at the gate, 127.0.0.2, where all ports are 100 higher."""
    run, first = make_run(n_iterations=2), free_ports(3)
    to_master, to_worker = gate(first + 100, first, 2), gate(first + 102, first + 2, 1)
    seen = []

    def on_progress(progress: Progress) -> None:
        if progress.last is not None:
            credentials = read_credentials(run)
            seen.append((credentials.host, credentials.port))

    start_workers(run, ports=Ports(first + 2, first + 2, "127.0.0.2", first + 102), host="127.0.0.1")
    ports = Ports(first, first + 1, "127.0.0.2", first + 100)
    assert run_master(run, ports=ports, on_progress=on_progress).n_done == 10
    assert set(seen) == {("127.0.0.2", first + 100)}
    assert set(to_master) == {first, first + 1}
    assert set(to_worker) == {first + 2}


def test_a_study_over_ipv6(make_run: MakeRun, start_workers: StartWorkers) -> None:
    run, seen = make_run(n_iterations=2), []

    def on_progress(progress: Progress) -> None:
        if progress.last is not None:
            seen.append(read_credentials(run).host)

    start_workers(run)  # which listen at the address that leads to the master
    host = checked_host("::1")
    assert run_master(run, host=host, on_progress=on_progress).n_done == 10
    assert set(seen) == {"::1"}


def test_an_address_of_ipv6_that_is_not_this_machines_is_refused() -> None:
    with pytest.raises(ValueError, match="--host: got '2001:db8::1', expected an address of this machine"):
        checked_host("2001:db8::1")


@pytest.mark.parametrize("command", [["master"], ["launch", "--slurm"], ["study"]])
def test_malformed_ports_are_refused_before_anything_is_written(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    study = ["--dataset", "digits", "--min-budget", "1", "--max-budget", "2", "--port-range", "5000"]
    assert run_bohb.main([*command, *study, "--run-dir", "run"]) == 2
    assert "--port-range: got '5000', expected the first and the last port, as 5000-5010" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
