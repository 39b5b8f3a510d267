"""Studies that run in this process, over real Pyro, and workers that misbehave as they are told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import Pyro4
import pytest

from master.certificates import write_certificates
from master.daemon import GuardedDaemon
from master.nameserver import name_server
from master.protocol import connect, dispatcher_name, name_server_uri, own_version
from master.security import become_member
from master.study import create_run
from results.credentials import Credentials
from results.epoch import EpochRecord
from results.records import Evaluation, Status, StudySpec, TrialSpec
from results.run_directory import RunDirectory
from worker.service import run_worker
from worker.settings import WorkerSettings


def smooth_objective(
    trial: TrialSpec,
    directory: Path,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    worker: str | None = None,
    on_saved: Callable[[EpochRecord], None] | None = None,
) -> Evaluation:
    """Answers at once; nothing but the configuration and the budget decides."""
    error = min(1.0, abs(float(trial.config["learning_rate"]) - 0.1) + 1 / trial.budget)
    return Evaluation(
        status=Status.OK,
        validation_error=error,
        test_error=error,
        t_search_s=0.0,
        t_train_s=1.0,
        architecture_index=0,
        cell_hash="0" * 32,
        one_shot_validation_error=error,
        seed=trial.seed,
        worker=worker,
    )


class MakeRun(Protocol):
    def __call__(self, name: str = "run", **fields: Any) -> RunDirectory: ...


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Creates the directory of a study of CS2 with the given fields."""

    def make(name: str = "run", **fields: Any) -> RunDirectory:
        values = {"run_id": "test", "n_workers": 2, "n_iterations": 3} | fields
        spec = StudySpec(
            optimizer="darts", search_space="1", config_space="cs2", dataset="digits", data_dir=None, table="digits",
            table_epochs=12, **values,
        )  # fmt: skip
        return create_run(tmp_path / name, spec)

    return make


class StartWorkers(Protocol):
    def __call__(self, run: RunDirectory, n: int = 1, **arguments: Any) -> list[threading.Thread]: ...


@pytest.fixture
def start_workers() -> Iterator[StartWorkers]:
    """Starts our own workers in threads; the test ends when they have ended, and fails if they do not."""
    threads: list[threading.Thread] = []

    def start(run: RunDirectory, n: int = 1, **arguments: Any) -> list[threading.Thread]:
        arguments = {"objective": smooth_objective, "settings": WorkerSettings(wait_s=5.0)} | arguments
        new = [threading.Thread(target=run_worker, args=(run.path,), kwargs=arguments, daemon=True) for _ in range(n)]
        for thread in new:
            thread.start()
        threads.extend(new)
        return new

    yield start
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive(), "a worker has not ended with its study"


@pytest.fixture
def membership(tmp_path: Path) -> Path:
    """The folder of certificates with which this process is a member of a run."""
    folder = tmp_path / "certificates"
    write_certificates(folder)
    become_member(folder)
    return folder


@pytest.fixture
def credentials(make_run: MakeRun) -> Iterator[Credentials]:
    """A name server's."""
    with name_server(make_run("named"), "test", "127.0.0.1") as credentials:
        yield credentials


@dataclass
class FakeWorker:
    """A worker that accepts every job and does nothing by itself."""

    credentials: Credentials
    name: str = "hpbandster.run_test.worker.fake"
    accepts: bool = True
    fails: bool = False
    n_offers: int = 0
    version: Any = field(default_factory=own_version)
    jobs: list[tuple[str, Any]] = field(default_factory=list)
    was_told_to_end: bool = False

    def __post_init__(self) -> None:
        self.arrived = threading.Condition()
        self.daemon = GuardedDaemon("127.0.0.1")
        uri = self.daemon.register(self)
        self.thread = threading.Thread(target=self.daemon.requestLoop, daemon=True)
        self.thread.start()
        server = connect(name_server_uri(self.credentials.host, self.credentials.port))
        self.dispatcher = connect(server.lookup(dispatcher_name("test")))
        self.uri = str(uri)
        self.refusal = self.dispatcher.join(self.name, self.uri, self.version)

    @Pyro4.expose
    def start_computation(self, ticket: str, trial: Any) -> bool:
        with self.arrived:
            self.n_offers += 1
            if self.fails:
                raise TypeError("as told")
            if self.accepts:
                self.jobs.append((ticket, trial))
            self.arrived.notify_all()
            return self.accepts

    @Pyro4.expose
    def is_busy(self) -> bool:
        return False

    @Pyro4.expose
    def shutdown(self) -> None:
        self.was_told_to_end = True
        self.dispatcher.sign_off(self.name, "told to")

    def wait_for_job(self, n: int = 1) -> tuple[str, Any]:
        """The ticket and the trial of its n-th job."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.jobs) >= n, timeout=10), "no job arrived"
            return self.jobs[n - 1]

    def die(self) -> None:
        """From now on, its connections are refused."""
        if self.thread.is_alive():
            self.daemon.end()
            self.thread.join(timeout=5)
