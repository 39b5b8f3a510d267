"""Studies on several hosts: network namespaces, which this test joins by a switch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from results.reading import read_results
from results.records import Status, TrialResult
from results.run_directory import RunDirectory

from .conftest import MakeRun

FOLDER = Path(__file__).parent
IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
GATEWAY = 254


def ip(*arguments: str) -> None:
    assert IP is not None
    subprocess.run([IP, *arguments], check=True, capture_output=True, text=True)


class Network:
    """Hosts 10.77.0.1, 10.77.0.2, ... on one switch; each has a default route, which leads no further."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._switch = f"{name}-switch"
        self._namespaces: list[str] = []
        self._processes: list[subprocess.Popen[str]] = []

    def open(self, n_hosts: int) -> None:
        self._add(self._switch)
        ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", self._switch, "address", "add", f"10.77.0.{GATEWAY}/24", "dev", "bridge")
        ip("-n", self._switch, "link", "set", "bridge", "up")
        for host in range(1, n_hosts + 1):
            self._add(self._namespace(host))
            ip("-n", self._namespace(host), "link", "add", "eth0", "type", "veth", "peer", f"port{host}",
               "netns", self._switch)  # fmt: skip
            ip("-n", self._switch, "link", "set", f"port{host}", "master", "bridge", "up")
            ip("-n", self._namespace(host), "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", self._namespace(host), "link", "set", device, "up")
            ip("-n", self._namespace(host), "route", "add", "default", "via", f"10.77.0.{GATEWAY}")

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        for namespace in self._namespaces:
            ip("netns", "delete", namespace)

    def address(self, host: int) -> str:
        return f"10.77.0.{host}"

    def remove_default_route(self, host: int) -> None:
        ip("-n", self._namespace(host), "route", "delete", "default")

    def cut_off(self, host: int) -> None:
        """Drops whatever goes to the host or comes from it, without an error on either side."""
        ip("-n", self._switch, "link", "set", f"port{host}", "nomaster")

    def reconnect(self, host: int) -> None:
        ip("-n", self._switch, "link", "set", f"port{host}", "master", "bridge")

    def start(self, host: int, script: str, *arguments: str) -> subprocess.Popen[str]:
        assert IP is not None
        command = [IP, "netns", "exec", self._namespace(host), sys.executable, str(FOLDER / script), *arguments]
        environment = os.environ | {"PYTHONPATH": str(FOLDER.parents[1])}
        self._processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
        return self._processes[-1]

    def _namespace(self, host: int) -> str:
        return f"{self._name}-{host}"

    def _add(self, namespace: str) -> None:
        ip("netns", "add", namespace)
        self._namespaces.append(namespace)


@pytest.fixture
def network() -> Iterator[Network]:
    """Three hosts; host 1 is for the master."""
    network = Network(f"nasbohb{os.getpid()}")
    try:
        network.open(n_hosts=3)
    except (OSError, AssertionError, subprocess.CalledProcessError) as error:
        network.close()
        pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', error)}")
    yield network
    network.close()


def results_of(run: RunDirectory, process: subprocess.Popen[str]) -> list[TrialResult]:
    return [r for r in read_results(run) if str(r.evaluation.worker).split(".")[-2] == str(process.pid)]


def wait_for_result(run: RunDirectory, process: subprocess.Popen[str], after_s: float, limit_s: float = 60.0) -> None:
    """Waits until a trial is recorded that the worker began after the given time."""
    deadline = time.monotonic() + limit_s
    while not any(r.started > after_s for r in results_of(run, process)):
        assert time.monotonic() < deadline, "the worker has recorded nothing"
        time.sleep(0.1)


@pytest.mark.parametrize("seconds", [6.0, pytest.param(90.0, marks=pytest.mark.slow)])
def test_a_host_that_is_cut_off_for_a_while_loses_nothing(make_run: MakeRun, network: Network, seconds: float) -> None:
    run = make_run(n_iterations=int(10 + 0.7 * seconds))
    network.remove_default_route(3)
    master = network.start(1, "master_process.py", str(run.path), network.address(1))
    cut, other = (network.start(host, "worker_process.py", str(run.path), "formula") for host in (2, 3))
    for worker in (cut, other):
        wait_for_result(run, worker, after_s=0.0)
    network.cut_off(2)
    began_s = time.time()
    time.sleep(seconds)
    ended_s = time.time()
    network.reconnect(2)
    wait_for_result(run, cut, after_s=ended_s)  # it has come back
    output, _ = master.communicate(timeout=30 + 3 * seconds)
    assert master.returncode == 0, output
    assert "it was silent for" in output
    results = read_results(run)
    assert {r.evaluation.status for r in results} == {Status.OK}
    assert len({(r.config_id, r.budget) for r in results}) == len(results)
    assert f"finished: {len(results)} of {len(results)}" in output
    # What the cut one had finished, the other may have found on the disk that they share.
    assert len([r for r in results_of(run, cut) if began_s + 1.0 < r.finished < ended_s]) <= 1
    assert [r for r in results_of(run, other) if began_s + 4.0 < r.started < ended_s]  # the study went on
    assert (cut.wait(timeout=20), other.wait(timeout=20)) == (0, 0)


def test_a_master_without_a_default_route_says_so_and_takes_an_address(make_run: MakeRun, network: Network) -> None:
    run = make_run(n_iterations=2)
    network.remove_default_route(1)
    worker = network.start(2, "worker_process.py", str(run.path), "formula")
    lonely = network.start(1, "master_process.py", str(run.path), "outward")
    assert lonely.stdout is not None
    said = next(line for line in lonely.stdout if "no route" in line)
    assert "name an address of it by --host" in said
    lonely.kill()
    lonely.wait()
    master = network.start(1, "master_process.py", str(run.path), network.address(1))
    output, _ = master.communicate(timeout=60)
    assert master.returncode == 0, output
    assert {r.evaluation.status for r in read_results(run)} == {Status.OK}
    assert worker.wait(timeout=20) == 0
