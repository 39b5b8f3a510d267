"""How the workers of a run find and convince its name server: ``credentials/nameserver.json``.

Whoever can read the file can take part in the run, so its directory is open to its owner alone (mode 0700),
and so is the file (0600).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from results import journal
from results.atomic_file import temporary_sibling
from results.record_base import Record
from results.run_directory import RunDirectory

FILE = "nameserver.json"


class Credentials(Record, frozen=True, kw_only=True):
    """What a process needs to talk to the others of a run.

    Attributes:
        run_id: The name of the study.
        host: The name server's address.
        port: The name server's port, another one for each run.
        key: Secret of the run, in hexadecimal digits; every message is signed with it.
    """

    run_id: str
    host: str
    port: int
    key: str


def credentials_path(run: RunDirectory) -> Path:
    """Where the run's credentials stand while its master lives."""
    return run.credentials / FILE


def write_credentials(run: RunDirectory, credentials: Credentials) -> None:
    """Writes the credentials; a reader sees them whole or not at all."""
    run.credentials.mkdir(mode=0o700, exist_ok=True)
    path = credentials_path(run)
    temporary = temporary_sibling(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(journal.encode(credentials.to_dict(), FILE) + "\n")
    temporary.replace(path)


def read_credentials(run: RunDirectory) -> Credentials:
    """The credentials of a run whose master lives.

    Raises:
        FileNotFoundError: Its master has not started yet, or has ended.
        ValueError: The file is damaged; the message names the field.
    """
    path = credentials_path(run)
    try:
        data = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: got no JSON ({error}), expected a run's credentials") from error
    return Credentials.from_dict(data, str(path))
