"""Downloading: from a server on this machine that can break off, resume or not, and send something else."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nas.tabular.errors import DownloadError, NoSpaceError, TableExistsError, TableNotFoundError
from nas.tabular.nasbench101 import download as download_module
from nas.tabular.nasbench101.download import NASBENCH101_FILES, RemoteFile, download

CONTENTS = bytes(range(256)) * 5000  # 1.28 MB, more than a block


class Server(ThreadingHTTPServer):
    """Serves ``contents`` at any address but ``/missing``; what it was asked for is in ``ranges``."""

    contents = CONTENTS
    resumes = True
    breaks_after: list[int]
    statuses: list[int]
    ranges: list[str | None]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up early is part of the test."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.ranges.append(asked)
        if self.path == "/missing" or server.statuses:
            self.send_error(server.statuses.pop(0) if server.statuses else 404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.resumes else 0
        if start >= len(server.contents):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.contents)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            size = len(server.contents)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(len(server.contents) - start))
        self.end_headers()
        stop = start + server.breaks_after.pop(0) if server.breaks_after else len(server.contents)
        self.wfile.write(server.contents[start:stop])

    def log_message(self, format: str, *args: object) -> None:
        """Tests need no log."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.breaks_after, server.statuses, server.ranges = [], [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def remote(server: Server, path: str = "/file.tfrecord") -> RemoteFile:
    return RemoteFile(f"http://127.0.0.1:{server.server_port}{path}", hashlib.sha256(CONTENTS).hexdigest())


def test_the_published_files() -> None:
    assert {name: file.name for name, file in NASBENCH101_FILES.items()} == {
        "only108": "nasbench_only108.tfrecord",
        "full": "nasbench_full.tfrecord",
    }
    for file in NASBENCH101_FILES.values():
        assert file.url.startswith("https://storage.googleapis.com/nasbench/")
        assert len(bytes.fromhex(file.sha256)) == 32


def test_a_file_arrives_whole(server: Server, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    path = download(remote(server), tmp_path, progress=lambda *progress: done.append(progress))
    assert path == tmp_path / "file.tfrecord"
    assert path.read_bytes() == CONTENTS
    assert [file.name for file in tmp_path.iterdir()] == ["file.tfrecord"]
    assert done == sorted(set(done))
    assert done[-1] == (len(CONTENTS), len(CONTENTS))
    assert len(done) > 1


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.breaks_after = [300_000, 0, 500_000]
    assert download(remote(server), tmp_path, wait_s=0).read_bytes() == CONTENTS
    assert server.ranges == [None, "bytes=300000-", "bytes=300000-", "bytes=800000-"]


def test_a_later_call_goes_on(server: Server, tmp_path: Path) -> None:
    server.breaks_after = [1000, 1000]
    with pytest.raises(DownloadError, match=r"got .* in each of 2 attempts; run it again to go on, or fetch the file"):
        download(remote(server), tmp_path, attempts=2, wait_s=0)
    assert [file.name for file in tmp_path.iterdir()] == ["file.tfrecord.part"]
    assert download(remote(server), tmp_path).read_bytes() == CONTENTS
    assert server.ranges[-1] == "bytes=2000-"


def test_a_server_that_cannot_resume_sends_all(server: Server, tmp_path: Path) -> None:
    server.resumes = False
    (tmp_path / "file.tfrecord.part").write_bytes(CONTENTS[:1000])
    assert download(remote(server), tmp_path).read_bytes() == CONTENTS


def test_a_part_that_is_whole_already_is_verified(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.tfrecord.part").write_bytes(CONTENTS)
    assert download(remote(server), tmp_path).read_bytes() == CONTENTS


def test_a_part_longer_than_the_file_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.tfrecord.part").write_bytes(CONTENTS + b"more")
    assert download(remote(server), tmp_path, wait_s=0).read_bytes() == CONTENTS
    assert server.ranges[-1] is None


@pytest.mark.parametrize("part", [b"", b"a wrong beginning"])
def test_something_else_is_removed(server: Server, tmp_path: Path, part: bytes) -> None:
    if part:
        (tmp_path / "file.tfrecord.part").write_bytes(part)
    else:
        server.contents = CONTENTS[:-1] + b"?"
    with pytest.raises(DownloadError, match=r"got a file with SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}; it was rem"):
        download(remote(server), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_verified_file_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.tfrecord").write_bytes(CONTENTS)
    assert download(remote(server), tmp_path) == tmp_path / "file.tfrecord"
    assert server.ranges == []


def test_another_file_of_that_name_is_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.tfrecord").write_bytes(b"mine")
    with pytest.raises(TableExistsError, match=r"exists already with SHA-256 .* remove it or choose another directory"):
        download(remote(server), tmp_path)
    assert (tmp_path / "file.tfrecord").read_bytes() == b"mine"


def test_what_the_server_lacks_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"got status 404 .*, expected the file; check the address"):
        download(remote(server, "/missing"), tmp_path, wait_s=0)
    assert len(server.ranges) == 1
    assert not list(tmp_path.iterdir())


def test_a_server_in_trouble_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 500]
    assert download(remote(server), tmp_path, wait_s=0).read_bytes() == CONTENTS


def test_no_server_at_all(server: Server, tmp_path: Path) -> None:
    nobody = remote(server)
    server.socket.close()
    with pytest.raises(DownloadError, match=r"no connection, or it broke .* in each of 2 attempts"):
        download(nobody, tmp_path, attempts=2, wait_s=0)


def test_a_directory_has_to_exist(server: Server, tmp_path: Path) -> None:
    with pytest.raises(TableNotFoundError, match="is no directory; create it first"):
        download(remote(server), tmp_path / "missing")


def test_a_disk_with_too_little_room(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    with pytest.raises(NoSpaceError, match="0 MB are free, but the download needs 1 MB"):
        download(remote(server), tmp_path)
    assert not list(tmp_path.iterdir())
