"""The run's own name server, and the files that lead to it."""

from __future__ import annotations

import stat

import Pyro4.errors
import pytest
from cryptography import x509
from msgspec.structs import replace

from master.nameserver import name_server
from master.protocol import connect, name_server_uri
from results.credentials import credentials_path, read_credentials, write_credentials
from results.run_directory import RunDirectory

from .conftest import MakeRun


@pytest.fixture
def run(make_run: MakeRun) -> RunDirectory:
    return make_run()


def test_the_files_lead_to_the_server_and_go_with_it(run: RunDirectory) -> None:
    with name_server(run, "test", "127.0.0.1") as credentials:
        assert read_credentials(run) == credentials
        proxy = connect(name_server_uri(credentials.host, credentials.port))
        assert list(proxy.list()) == ["Pyro.NameServer"]
    assert list(run.credentials.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        read_credentials(run)
    with pytest.raises(Pyro4.errors.CommunicationError):
        connect(name_server_uri(credentials.host, credentials.port)).ping()


def test_nobody_else_can_read_the_files(run: RunDirectory) -> None:
    with name_server(run, "test", "127.0.0.1") as credentials:
        folder = run.credentials / credentials.certificates
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (run.credentials, *run.credentials.rglob("*"))}
    assert modes == {
        run.credentials: 0o700,
        credentials_path(run): 0o600,
        folder: 0o700,
        folder / "authority.pem": 0o600,
        folder / "member.pem": 0o600,
    }


def test_the_authoritys_private_key_is_nowhere(run: RunDirectory) -> None:
    with name_server(run, "test", "127.0.0.1") as credentials:
        files = {path.name: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
        assert read_credentials(run) == credentials
    assert [name for name, content in files.items() if b"PRIVATE KEY" in content] == ["member.pem"]
    assert files["member.pem"].count(b"PRIVATE KEY") == 2  # its beginning and its end
    authority = x509.load_pem_x509_certificate(files["authority.pem"])
    member = x509.load_pem_x509_certificate(files["member.pem"])
    member.verify_directly_issued_by(authority)
    assert member.public_key() != authority.public_key()
    assert member.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


def test_each_master_has_certificates_of_its_own_and_removes_those_of_earlier_ones(run: RunDirectory) -> None:
    with name_server(run, "test", "127.0.0.1") as first:
        killed = {path.name: path.read_bytes() for path in (run.credentials / first.certificates).iterdir()}
    folder = run.credentials / first.certificates
    folder.mkdir()
    for name, content in killed.items():
        (folder / name).write_bytes(content)
    with name_server(run, "test", "127.0.0.1") as second:
        assert {path.name for path in run.credentials.iterdir()} == {"nameserver.json", second.certificates}
        for name, content in killed.items():
            assert (run.credentials / second.certificates / name).read_bytes() != content


def test_two_servers_have_different_ports(make_run: MakeRun) -> None:
    with name_server(make_run("a"), "test", "127.0.0.1") as a, name_server(make_run("b"), "test", "127.0.0.1") as b:
        assert a.port != b.port


def test_a_host_that_is_not_this_machines_leaves_nothing_behind(run: RunDirectory) -> None:
    with pytest.raises(OSError, match="assign"), name_server(run, "test", "192.0.2.1"):
        pass
    assert list(run.credentials.iterdir()) == []


def test_damaged_credentials_are_named(run: RunDirectory) -> None:
    with name_server(run, "test", "127.0.0.1") as credentials:
        write_credentials(run, replace(credentials, port="many"))  # type: ignore[arg-type]  # the damage
        with pytest.raises(ValueError, match=r"nameserver.json, port: got 'many'"):
            read_credentials(run)
        credentials_path(run).write_text("{")
        with pytest.raises(ValueError, match=r"nameserver.json: .* should be JSON"):
            read_credentials(run)
