"""The run's own name server, and the file that leads to it."""

from __future__ import annotations

import stat

import Pyro4.errors
import pytest
from msgspec.structs import replace

from master.nameserver import name_server
from master.protocol import configure_pyro, connect, name_server_uri
from results.credentials import credentials_path, read_credentials, write_credentials
from results.run_directory import RunDirectory

from .conftest import MakeRun


@pytest.fixture
def run(make_run: MakeRun) -> RunDirectory:
    configure_pyro()
    return make_run()


def test_the_file_leads_to_the_server_and_goes_with_it(run: RunDirectory) -> None:
    with name_server(run, "test", "127.0.0.1") as credentials:
        assert read_credentials(run) == credentials
        proxy = connect(name_server_uri(credentials.host, credentials.port), credentials.key)
        assert list(proxy.list()) == ["Pyro.NameServer"]
    with pytest.raises(FileNotFoundError):
        read_credentials(run)
    with pytest.raises(Pyro4.errors.CommunicationError):
        connect(name_server_uri(credentials.host, credentials.port), credentials.key).ping()


def test_nobody_else_can_read_the_file(run: RunDirectory) -> None:
    with name_server(run, "test", "127.0.0.1"):
        assert stat.S_IMODE(run.credentials.stat().st_mode) == 0o700
        assert stat.S_IMODE(credentials_path(run).stat().st_mode) == 0o600
        assert list(run.credentials.iterdir()) == [credentials_path(run)]


def test_two_servers_have_different_ports_and_keys(make_run: MakeRun) -> None:
    configure_pyro()
    with name_server(make_run("a"), "test", "127.0.0.1") as a, name_server(make_run("b"), "test", "127.0.0.1") as b:
        assert a.port != b.port
        assert a.key != b.key


def test_a_wrong_key_is_refused(run: RunDirectory) -> None:
    with name_server(run, "test", "127.0.0.1") as credentials:
        with pytest.raises(Pyro4.errors.PyroError):
            connect(name_server_uri(credentials.host, credentials.port), "f" * 64).list()
        assert connect(name_server_uri(credentials.host, credentials.port), credentials.key).count() == 1


def test_damaged_credentials_are_named(run: RunDirectory) -> None:
    with name_server(run, "test", "127.0.0.1") as credentials:
        write_credentials(run, replace(credentials, port="many"))  # type: ignore[arg-type]  # the damage
        with pytest.raises(ValueError, match=r"nameserver.json, port: got 'many'"):
            read_credentials(run)
        credentials_path(run).write_text("{")
        with pytest.raises(ValueError, match=r"nameserver.json: .* should be JSON"):
            read_credentials(run)
