"""Whoever is no member of the run gets nowhere, and disturbs nobody."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import Pyro4
import pytest

from master.certificates import write_certificates
from master.dispatcher import Dispatcher
from master.jobs import TrialJob
from master.protocol import connect, dispatcher_name, name_server_uri
from master.security import become_member
from results.bohb_lines import evaluation_to_info
from results.credentials import Credentials, credentials_path, read_credentials
from results.master_status import read_status
from results.records import Evaluation, Status
from results.run_directory import RunDirectory
from tests.waiting import wait_for

from .chaos import study
from .conftest import FakeWorker
from .intruder import DAEMON, NAME_SERVER, answers, call, hello, listening, stranger
from .test_pool import make_job

ROOT = Path(__file__).parents[2]
Address = tuple[str, int]


# Intruders at a study of real processes.


@dataclass
class Target:
    """A study with a master process, and a worker process that is busy for ever."""

    run: RunDirectory
    master: subprocess.Popen[bytes]
    worker: subprocess.Popen[bytes]

    @property
    def credentials(self) -> Credentials:
        return read_credentials(self.run)

    @property
    def certificates(self) -> Path:
        return self.run.credentials / self.credentials.certificates

    @property
    def name_server(self) -> Address:
        return self.credentials.host, self.credentials.port

    @property
    def dispatcher(self) -> Address:
        (address,) = set(listening(self.master.pid)) - {self.name_server}
        return address

    @property
    def service(self) -> Address:
        (address,) = listening(self.worker.pid)
        return address

    def start_master(self) -> None:
        self.master = self._start("master_process.py")

    def _start(self, script: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(Path(__file__).parent / script), str(self.run.path), *arguments]
        with (self.run.path.parent / "processes.log").open("a") as log:
            return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log)

    def worker_name(self) -> str | None:
        """The name of the worker, once it is busy."""
        status = read_status(self.run)
        busy = [] if status is None else [worker for worker in status.workers if worker.config_id is not None]
        return busy[0].name if busy else None

    def state(self) -> tuple[Any, ...]:
        """What an intruder might want to change."""
        become_member(self.certificates)
        with connect(name_server_uri(*self.name_server)) as names:
            known = names.list()
        kept = {path.name: path.read_bytes() for path in self.run.path.glob("*.json*") if path.name != "status.json"}
        return known, kept, self.worker_name(), self.master.poll(), self.worker.poll()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("target")
    target = Target.__new__(Target)
    target.run = study(folder / "run", 0, 1, 1)
    target.start_master()
    target.worker = target._start("worker_process.py", "first_hangs", str(folder / "sentinel"))
    try:
        wait_for(lambda: target.worker_name() is not None)
        yield target
    finally:
        target.worker.kill()
        target.master.kill()
        target.worker.wait()
        target.master.wait()


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """The certificates of another run."""
    write_certificates(tmp_path / "foreign")
    return tmp_path / "foreign"


def conversations(target: Target) -> list[tuple[Address, list[bytes]]]:
    """Everything that there is to call, and to whom."""
    name = f"hpbandster.run_x.worker.{target.worker_name()}"
    ticket = "0_0_0/100/0/0-1"
    dispatcher, report = dispatcher_name(target.credentials.run_id), {"status": "bug", "error": "by an intruder"}
    to_dispatcher: list[tuple[str, list[Any]]] = [
        ("join", ["intruder", "PYRO:x@127.0.0.1:9", {}]),
        ("heartbeat", [name, {}]),
        ("register_result", [ticket, report]),
        ("sign_off", [name, "by an intruder"]),
    ]
    to_names: list[tuple[str, list[Any]]] = [
        ("list", []),
        ("lookup", [dispatcher]),
        ("register", [dispatcher, "PYRO:x@127.0.0.1:9"]),
        ("remove", [dispatcher]),
    ]
    to_worker: list[tuple[str, list[Any]]] = [("is_busy", []), ("start_computation", ["t", {}]), ("shutdown", [])]
    servers = [
        (target.name_server, NAME_SERVER, to_names),
        (target.dispatcher, dispatcher, to_dispatcher),
        (target.service, name, to_worker),
    ]
    found = []
    for address, server, calls in servers:
        found += [(address, [hello(server), call(server, method, *arguments)]) for method, arguments in calls]
        found += [(address, [call(server, method, *arguments)]) for method, arguments in calls]  # without a greeting
        found += [(address, [hello(DAEMON), call(DAEMON, "info")])]
    return found


def test_nothing_listens_beyond_loopback_unless_a_host_is_named(target: Target) -> None:
    assert [host for host, _ in listening(target.master.pid)] == ["127.0.0.1"] * 2
    assert [host for host, _ in listening(target.worker.pid)] == ["127.0.0.1"]


@pytest.mark.parametrize("kind", ["without TLS", "without a certificate", "with a certificate of another run"])
def test_an_intruder_gets_no_answer_and_changes_nothing(target: Target, foreign: Path, kind: str) -> None:
    context = {
        "without TLS": None,
        "without a certificate": stranger(),
        "with a certificate of another run": stranger(foreign),
    }[kind]
    before = target.state()
    for address, messages in conversations(target):
        assert answers(address, context, messages) == []
    assert target.state() == before


def test_a_member_gets_answers(target: Target) -> None:
    """Otherwise the tests above would show nothing."""
    member = stranger(target.certificates)
    greeted, names = answers(target.name_server, member, [hello(NAME_SERVER), call(NAME_SERVER, "list")])
    assert greeted.startswith(b"PYRO")
    assert dispatcher_name(target.credentials.run_id).encode() in names
    for address in (target.dispatcher, target.service):
        greeted, told = answers(address, member, [hello(DAEMON), call(DAEMON, "info")])
        assert b"objects registered" in told


def test_a_server_without_the_runs_certificate_is_not_believed(target: Target, foreign: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(foreign / "member.pem")
    heard: list[bytes] = []

    def pretend(server: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(server.accept()[0], server_side=True) as client:
            heard.append(client.recv(100))

    become_member(target.certificates)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=pretend, args=(server,), daemon=True)
        thread.start()
        with pytest.raises(Pyro4.errors.CommunicationError, match="certificate verify failed"):
            connect(name_server_uri(*server.getsockname())).list()
        thread.join(timeout=10)
    assert heard in ([], [b""])


def test_a_resumed_master_and_its_workers_trust_nobody_of_before(target: Target, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(target.certificates, old)
    worker, first = target.service, target.credentials
    assert answers(worker, stranger(old), [hello(DAEMON)]) != []
    target.master.send_signal(signal.SIGKILL)
    target.master.wait()
    target.start_master()
    wait_for(lambda: credentials_path(target.run).exists() and target.credentials != first)
    wait_for(lambda: target.worker_name() is not None)
    assert target.worker.poll() is None
    for address in (target.name_server, target.dispatcher, target.service):
        assert answers(address, stranger(old), [hello(DAEMON)]) == []
        assert answers(address, stranger(target.certificates), [hello(DAEMON)]) != []
    assert {path.name for path in target.run.credentials.iterdir()} == {
        credentials_path(target.run).name,
        target.credentials.certificates,
    }


# Recorded conversations.


class Tap:
    """A proxy that records what clients say to a server, and can say it again."""

    def __init__(self, server: Address) -> None:
        self.server = server
        self.said: list[list[bytes]] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address: Address = self._socket.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                server = socket.create_connection(self.server)
                self.said.append([])
                threading.Thread(target=self._pass_on, args=(client, server, self.said[-1]), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, []), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, record: list[bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                record.append(data)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def repeat(self) -> None:
        """Says everything again, each conversation over a connection of its own."""
        for conversation in list(self.said):
            with contextlib.suppress(OSError), socket.create_connection(self.server, timeout=2) as sock:
                for data in conversation:
                    sock.sendall(data)
                    sock.recv(2**16)


def test_f18_a_recorded_conversation_tells_nothing_and_does_nothing_when_sent_again(credentials: Credentials) -> None:
    dispatcher = Dispatcher(credentials, "127.0.0.1")
    dispatcher.run()
    worker = FakeWorker(credentials)
    name = dispatcher_name("test")
    with connect(name_server_uri(credentials.host, credentials.port)) as names:
        uri = names.lookup(name)
    to_dispatcher, to_worker = Tap((uri.host, uri.port)), Tap(worker.daemon.sock.getsockname())
    tapped = f"{worker.uri.rpartition(':')[0]}:{to_worker.address[1]}"
    with connect(f"PYRO:{name}@127.0.0.1:{to_dispatcher.address[1]}") as proxy:
        proxy.join("hpbandster.run_test.worker.tapped", tapped, worker.version)
        wait_for(lambda: len(dispatcher.workers()) == 2)
        for index in range(2):  # one of them goes through the tap
            dispatcher.submit(make_job(index))
        tickets = [worker.wait_for_job(n)[0] for n in (1, 2)]
        proxy.heartbeat("hpbandster.run_test.worker.tapped", {})
        for ticket in tickets:
            assert proxy.register_result(ticket, evaluation_to_info(Evaluation(status=Status.OK, validation_error=0.5)))
        proxy.sign_off("hpbandster.run_test.worker.tapped", "it has finished")
    finished: list[TrialJob] = []
    wait_for(lambda: len(finished) == 2 or bool(finished.extend(dispatcher.finished(0.1))))
    recorded = b"".join(data for tap in (to_dispatcher, to_worker) for each in tap.said for data in each)
    assert len(recorded) > 2000
    assert not any(word.encode() in recorded for word in ("register_result", "is_busy", name, *tickets))
    before = dispatcher.workers(), list(worker.jobs), worker.n_offers
    to_dispatcher.repeat()
    to_worker.repeat()
    assert (dispatcher.workers(), list(worker.jobs), worker.n_offers) == before
    assert dispatcher.late() == []
    assert dispatcher.finished(0.1) == []
    dispatcher.check()
    to_dispatcher.close()
    to_worker.close()
    dispatcher.shutdown()
    worker.die()


# Members that are broken.


@pytest.mark.parametrize(
    ("method", "arguments", "reason"),
    [
        ("join", (7, "PYRO:x@127.0.0.1:9", {}), "worker_name: "),
        ("join", ("w", "x" * 501, {}), "uri: "),
        ("heartbeat", ("w", {"ticket": "many"}), "tickets: "),
        ("heartbeat", ("w", {str(n): 0 for n in range(17)}), "tickets: "),
        ("heartbeat", ("w", ["ticket"]), "tickets: "),
        ("register_result", ("", {}), "ticket: "),
        ("register_result", (["ticket"], {}), "ticket: "),
        ("sign_off", ("w", "x" * 20_001), "reason: "),
    ],
)
def test_an_argument_of_another_type_or_size_is_the_callers_error(
    credentials: Credentials, method: str, arguments: tuple[Any, ...], reason: str
) -> None:
    dispatcher = Dispatcher(credentials, "127.0.0.1")
    dispatcher.run()
    with connect(name_server_uri(credentials.host, credentials.port)) as names:
        uri = str(names.lookup(dispatcher_name("test")))
    with connect(uri) as proxy:
        with pytest.raises(ValueError, match=reason):
            getattr(proxy, method)(*arguments)
        assert proxy.heartbeat("w", {}) == {"known": False, "abandon": [], "reason": None}
    dispatcher.check()
    dispatcher.shutdown()


# Nothing that came from outside is run.


def test_pyro_takes_no_serializer_that_runs_code(membership: Path) -> None:
    assert set(Pyro4.config.SERIALIZERS_ACCEPTED) == {"serpent"}
    assert Pyro4.config.SERIALIZER == "serpent"


def test_pyros_environment_variables_change_nothing(tmp_path: Path) -> None:
    """Of these, a retried call hands a job over twice, and without a pause the server's threads run all the time."""
    program = (
        "import json, sys\nfrom pathlib import Path\nimport Pyro4\nfrom master.security import become_member\n"
        "become_member(Path(sys.argv[1]))\nprint(json.dumps(Pyro4.config.asDict(), default=sorted))"
    )
    write_certificates(tmp_path / "certificates")
    given = {
        "PYRO_SSL": "0",
        "PYRO_SERIALIZERS_ACCEPTED": "pickle,serpent",
        "PYRO_MAX_RETRIES": "3",
        "PYRO_POLLTIMEOUT": "0",
        "PYRO_PREFER_IP_VERSION": "6",
        "PYRO_NATHOST": "elsewhere",
    }
    settings, expected = (
        json.loads(
            subprocess.run(
                [sys.executable, "-c", program, str(tmp_path / "certificates")],
                env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, check=True,
            ).stdout
        )
        for environment in (given, {})
    )  # fmt: skip
    assert settings == expected
    assert settings["SSL"] is True
    assert settings["SERIALIZERS_ACCEPTED"] == ["serpent"]


def test_pyro_uses_the_contexts_of_the_run(membership: Path) -> None:
    """They are put into private variables of Pyro, which another version may name otherwise."""
    member = str(membership / "member.pem")
    server, client = (Pyro4.socketutil.getSSLcontext(**{side: member}) for side in ("servercert", "clientcert"))
    assert server.num_tickets == 0
    for context in (server, client):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert not context.check_hostname
        (authority,) = context.get_ca_certs(binary_form=True)  # none of the operating system's
        assert authority == ssl.PEM_cert_to_DER_cert((membership / "authority.pem").read_text())


def test_every_file_of_arrays_or_weights_is_read_without_pickles() -> None:
    """``tests/test_imports.py`` holds that nothing imports pickle to write or read a run."""
    found = []
    for package in ("analysis", "master", "nas", "results", "spaces", "worker"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load", "torch.load"):
                    safe = (ast.unparse(node.func).startswith("torch") and "weights_only=True") or "allow_pickle=False"
                    found.append(safe in ast.unparse(node))
    assert found
    assert all(found)
