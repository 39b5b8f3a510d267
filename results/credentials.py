"""The credentials with which the workers of a run reach its name server: ``credentials/nameserver.json``.

Whoever can read the file can take part in the run. Therefore the directory (mode 0700) and the file (mode 0600)
are open to their owner alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from results import journal
from results.atomic_file import write_atomically
from results.record_base import Record
from results.run_directory import RunDirectory

FILE = "nameserver.json"


class Credentials(Record, frozen=True, kw_only=True):
    """Address and secret that a process needs to talk to the other processes of a run.

    Attributes:
        run_id: Name of the study.
        host: Address of the name server.
        port: Port of the name server; each run has another one.
        key: Secret of the run, in hexadecimal digits; every message is signed with it.
    """

    run_id: str
    host: str
    port: int
    key: str


def credentials_path(run: RunDirectory) -> Path:
    """Path of the run's credentials; the file exists while the master lives."""
    return run.credentials / FILE


def write_credentials(run: RunDirectory, credentials: Credentials) -> None:
    """Writes the credentials; a reader sees them whole or not at all."""
    run.credentials.mkdir(mode=0o700, exist_ok=True)
    write_atomically(credentials_path(run), journal.encode(credentials.to_dict(), FILE) + "\n", mode=0o600)


def read_credentials(run: RunDirectory) -> Credentials:
    """Reads the credentials of a run whose master lives.

    Raises:
        FileNotFoundError: The master has not started yet, or has ended.
        ValueError: The file is damaged; the message names the field.
    """
    path = credentials_path(run)
    try:
        data = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: a run's credentials should be JSON, but are not ({error})") from error
    return Credentials.from_dict(data, str(path))
