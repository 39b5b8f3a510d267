"""A stranger who knows Pyro's protocol: raw messages over any kind of connection, without Pyro's own client."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from Pyro4 import message, util

#: The names of Pyro's own objects, which every daemon and every name server has.
DAEMON, NAME_SERVER = "Pyro.Daemon", "Pyro.NameServer"


def hello(object_name: str) -> bytes:
    """The message that begins every conversation."""
    serializer = util.get_serializer("serpent")
    data, _ = serializer.serializeData({"handshake": "hello", "object": object_name}, False)
    return pyro_message(message.MSG_CONNECT, data, message.FLAGS_META_ON_CONNECT)


def call(object_name: str, method: str, *arguments: Any) -> bytes:
    """The message that calls a method."""
    serializer = util.get_serializer("serpent")
    data, _ = serializer.serializeCall(object_name, method, arguments, {}, False)
    return pyro_message(message.MSG_INVOKE, data)


def pyro_message(kind: int, data: bytes, flags: int = 0) -> bytes:
    """A message of any kind."""
    serializer_id = util.get_serializer("serpent").serializer_id
    return bytes(message.Message(kind, data, serializer_id, flags, 0).to_bytes())


def claiming(size: int) -> bytes:
    """The header of a message of so many bytes."""
    sent = message.Message(message.MSG_CONNECT, b"", util.get_serializer("serpent").serializer_id, 0, 0)
    sent.data_size = size
    return bytes(sent.to_bytes())


def tls_hello() -> bytes:
    """The first message of a TLS handshake, some hundred bytes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        stranger().wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def stranger(certificates: Path | None = None) -> ssl.SSLContext:
    """A client's TLS that trusts everybody, and shows the certificate in a folder, or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificates is not None:
        context.load_cert_chain(certificates / "member.pem")
    return context


@contextlib.contextmanager
def connection(address: tuple[str, int], context: ssl.SSLContext | None) -> Iterator[socket.socket]:
    """A connection, with TLS if there is a context."""
    with socket.create_connection(address, timeout=5) as raw:
        if context is None:
            yield raw
        else:
            with context.wrap_socket(raw) as wrapped:
                yield wrapped


def answers(address: tuple[str, int], context: ssl.SSLContext | None, messages: Sequence[bytes]) -> list[bytes]:
    """Sends messages, one after the answer to another; returns the answers up to the end of the connection."""
    received: list[bytes] = []
    with contextlib.suppress(OSError), connection(address, context) as sock:
        for each in messages:
            sock.sendall(each)
            answer = sock.recv(2**16)
            if not answer:
                break
            received.append(answer)
    return received


def listening(pid: int) -> list[tuple[str, int]]:
    """The addresses and ports at which a process accepts connections (IPv4; Linux alone tells)."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            inodes.add(str(descriptor.readlink()))
    found = []
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *rest = line.split()
        if state == "0A" and f"socket:[{rest[5]}]" in inodes:
            host, port = local.split(":")
            found.append((socket.inet_ntoa(bytes.fromhex(host)[::-1]), int(port, 16)))
    return found
