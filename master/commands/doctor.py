"""The command ``run_bohb.py doctor``."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
import fcntl
import os
import platform
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from typing_extensions import Doc

from nas.datasets import DATASETS
from nas.tabular import TABLES

#: What a study of 280 evaluations leaves on the disk, with its checkpoints, in bytes.
_STUDY_BYTES = 5 * 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        what: Thing that was looked at.
        found: What was found.
        remedy: What to do about it; None if all is well.
        is_fatal: True if no study runs like this.
    """

    what: str
    found: str
    remedy: str | None = None
    is_fatal: bool = False


@dataclass(frozen=True)
class Doctor:
    """Look whether a study can run on this machine, and say what to do about what is missing.

    Attributes:
        runs: Folder in which runs are to be.
        data_dir: Folder of the data set's files, if they are not where they are by default.
        workers: Number of workers of the study.
        host: Address at which the master is to listen; by default this machine's outward address.
    """

    run_dir: Annotated[
        Path | None,
        Doc("Directory of a run whose master this machine is to reach, as a worker."),
        tyro.conf.arg(name="run"),
    ] = None
    runs: Path = Path("runs")
    dataset: Annotated[str, Doc(f"Images to search on: {' or '.join(DATASETS)}, or an .npz file's path.")] = "digits"
    data_dir: Path | None = None
    table: Annotated[
        str | None, Doc(f"Table: {' or '.join(TABLES)}, or its path; by default the data set's own table.")
    ] = None
    workers: int = 16
    host: str | None = None

    def run(self) -> int:
        """Prints a line for each thing; returns 1 if no study can run like this."""
        is_well = True
        for finding in self._findings():
            mark = "ok     " if finding.remedy is None else "FAILED " if finding.is_fatal else "warning"
            print(f"{mark} {finding.what}: {finding.found}", flush=True)
            if finding.remedy is not None:
                print(f"        -> {finding.remedy}", flush=True)
            is_well = is_well and not finding.is_fatal
        return 0 if is_well else 1

    def _findings(self) -> Iterator[Finding]:
        yield from versions()
        yield from network(self.host)
        yield from name_resolution()
        yield from descriptors(self.workers)
        yield from disk(self.runs)
        yield from data(self.dataset, self.data_dir, self.table)
        yield from gpu()
        if self.run_dir is not None:
            yield from reach_master(self.run_dir)


def versions() -> Iterator[Finding]:
    """The versions of Python and of the libraries."""
    from results.run_directory import installed_versions

    found = installed_versions()
    missing = [name for name, version in found.items() if version is None]
    text = ", ".join(f"{name} {version}" for name, version in found.items() if version is not None)
    if missing:
        yield Finding("versions", text, f"install {', '.join(missing)}: pip install -e .", is_fatal=True)
    else:
        yield Finding("versions", text)


def network(host: str | None) -> Iterator[Finding]:
    """The address at which a master would listen, and whether a connection to it succeeds."""
    from master.hosts import checked_host, family_of, outward_address

    try:
        address = checked_host(host or outward_address())
        with (
            socket.create_server((address, 0), family=family_of(address)) as server,
            socket.create_connection(server.getsockname()[:2], timeout=5),
        ):
            port = server.getsockname()[1]
    except (OSError, ValueError) as error:
        yield Finding("interface", str(error), "name an address of this machine by --host; see `hostname -I`", True)
        return
    if address.startswith("127.") or address == "::1":
        yield Finding(
            "interface", f"{address}, which only this machine reaches", "for a cluster, name another one by --host"
        )
    else:
        yield Finding("interface", address)
    yield Finding(
        "ports", f"a free one was found and reached ({port}); a run takes any, so open all, or those of --port-range"
    )


def name_resolution() -> Iterator[Finding]:
    """Whether this machine's name leads to an address of it."""
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
    except OSError as error:
        yield Finding("name", f"{name} has no address ({error})", "use addresses instead of names with --host")
        return
    remedy = "use an address with --host: others would connect to themselves" if address.startswith("127.") else None
    yield Finding("name", f"{name} is {address}", remedy)


def descriptors(n_workers: int) -> Iterator[Finding]:
    """How many workers the limit of open files allows."""
    from master.daemon import raise_descriptor_limit

    n_fit = raise_descriptor_limit()
    remedy = None if n_fit >= n_workers else f"raise the hard limit, `ulimit -Hn`, for {n_workers} workers"
    yield Finding("descriptors", f"enough for {n_fit} workers", remedy, is_fatal=remedy is not None)


def disk(folder: Path) -> Iterator[Finding]:
    """Whether runs can be written, locked and synchronised in a folder, and how much space there is."""
    present = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=present) as file:
            file.write(b"x" * 4096)
            file.flush()
            begun_s = time.perf_counter()
            os.fsync(file.fileno())
            took_ms = 1000 * (time.perf_counter() - begun_s)
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield Finding("locks", f"{present} has them")
            except OSError as error:
                yield Finding("locks", f"{present}: {error.strerror}", "mount it with locks, or choose another", True)
    except OSError as error:
        yield Finding("disk", f"{present}: {error.strerror}", "choose a folder that you may write to, by --runs", True)
        return
    free = shutil.disk_usage(present).free
    text = f"{free / 2**30:.1f} GiB free in {present}; a synchronised write takes {took_ms:.1f} ms"
    remedy = f"free some; a study may need {_STUDY_BYTES >> 30} GiB" if free < _STUDY_BYTES else None
    yield Finding("disk", text, remedy)


def data(dataset: str, data_dir: Path | None, table: str | None) -> Iterator[Finding]:
    """Whether the data set and the table are there, and belong together."""
    from nas.datasets import locate
    from nas.tabular import open_table
    from nas.tabular.matching import check_table_fits, default_table

    try:
        name, folder = locate(dataset, data_dir)
        table = default_table(name) if table is None else table
        opened = open_table(table)
        check_table_fits(opened, name, folder)
    except (OSError, ValueError) as error:
        yield Finding("data and table", str(error), "see docs/tables.md and `run_bohb.py table --help`", is_fatal=True)
        return
    yield Finding(
        "data and table", f"{dataset}, and {table} with {len(opened):,} cells at {list(opened.budgets)} epochs"
    )


def gpu() -> Iterator[Finding]:
    """The GPUs that a search can use."""
    from nas.oneshot.threads import visible_gpus

    found = visible_gpus() or [f"none ({platform.machine()}, {os.cpu_count()} processors)"]
    yield from (Finding("GPU", text) for text in found)


def reach_master(path: Path) -> Iterator[Finding]:
    """Whether a worker on this machine finds and reaches the master of a run."""
    from master.protocol import COMMUNICATION_ERRORS, connect, dispatcher_name, name_server_uri
    from master.security import become_member
    from results.credentials import read_credentials
    from results.run_directory import RunDirectory

    run = RunDirectory.open(path)
    try:
        credentials = read_credentials(run)
        become_member(run.credentials / credentials.certificates)
    except FileNotFoundError as error:
        yield Finding("master", f"no {error.filename}", f"start it: run_bohb.py master --resume {path}", True)
        return
    except (OSError, ValueError) as error:
        yield Finding("master", str(error), "workers need the account of the master, which alone may read it", True)
        return
    where = f"{credentials.host}:{credentials.port}"
    try:
        with connect(name_server_uri(credentials.host, credentials.port)) as name_server:
            name_server.lookup(dispatcher_name(credentials.run_id))
    except COMMUNICATION_ERRORS as error:
        remedy = "if it lives, let it listen at an address that this machine reaches, by --host; or open the ports"
        yield Finding("master", f"no answer at {where} ({error})", remedy, is_fatal=True)
        return
    yield Finding("master", f"answers at {where}")
