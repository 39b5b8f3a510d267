"""The credentials with which the processes of a run reach and trust each other, in ``credentials/``:

* ``nameserver.json``: address of the name server, and the name of the folder with the certificates;
* ``<folder>/authority.pem``: certificate of the authority that was drawn for this master;
* ``<folder>/member.pem``: certificate and private key of the run's members.

Whoever can read the files can take part in the run. Therefore folders (mode 0700) and files (mode 0600) are open to
their owner alone. Each master has a folder of its own, and ``nameserver.json`` is replaced at once. Therefore a reader
never has the address of one master and the certificates of another.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from results import journal
from results.atomic_file import write_atomically
from results.record_base import Record
from results.run_directory import RunDirectory

FILE = "nameserver.json"
AUTHORITY = "authority.pem"
MEMBER = "member.pem"


class Credentials(Record, frozen=True, kw_only=True):
    """What a process needs to talk to the other processes of a run.

    Attributes:
        run_id: Name of the study.
        host: Address of the name server.
        port: Port of the name server; each run has another one.
        certificates: Name of the folder, beside the file, with the certificates; each master has another one.
    """

    run_id: str
    host: str
    port: int
    certificates: str


def credentials_path(run: RunDirectory) -> Path:
    """Path of the run's credentials; the file exists while the master lives."""
    return run.credentials / FILE


def write_credentials(run: RunDirectory, credentials: Credentials) -> None:
    """Writes the credentials, whose certificates lie there already, and removes the certificates of earlier masters.

    A reader sees the credentials whole or not at all.
    """
    write_atomically(credentials_path(run), journal.encode(credentials.to_dict(), FILE) + "\n", mode=0o600)
    for path in run.credentials.iterdir():
        if path.is_dir() and path.name != credentials.certificates:
            shutil.rmtree(path, ignore_errors=True)


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
