"""Events that ended a study, lost data or went unsaid, each as a test (the numbers are those of a list of faults)."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import Pyro4
import pytest

from master.daemon import GuardedDaemon, raise_descriptor_limit
from master.dispatcher import Dispatcher
from master.hosts import checked_host, outward_address
from master.loop import Progress, StudyFailedError
from master.progress import ProgressDisplay, say
from master.protocol import connect, is_broken, is_refused, own_version
from master.settings import DispatcherSettings, WaitSettings
from master.signals import StopFlag, stop_flag
from master.study import run_master
from results.credentials import Credentials, read_credentials
from results.master_status import Ending, read_status
from results.reading import read_journals, read_results
from results.records import Evaluation, Status, TrialSpec
from tests.waiting import wait_for
from worker.master_link import MasterNotFoundError
from worker.service import run_worker
from worker.settings import WorkerSettings

from .conftest import FakeWorker, MakeRun, StartWorkers, smooth_objective
from .intruder import tls_hello

ROOT = Path(__file__).parents[2]


class Greeter:
    @Pyro4.expose
    def greet(self) -> str:
        return "hello"


@pytest.fixture
def greeter(membership: Path) -> Iterator[tuple[GuardedDaemon, str]]:
    """A guarded daemon with a short limit, and the address of its object."""
    daemon = GuardedDaemon("127.0.0.1", handshake_limit_s=0.3)
    uri = str(daemon.register(Greeter()))
    threading.Thread(target=daemon.requestLoop, daemon=True).start()
    yield daemon, uri
    daemon.end()


def test_f2_half_open_connections_stop_nobody(greeter: tuple[GuardedDaemon, str]) -> None:
    daemon, uri = greeter
    address = daemon.sock.getsockname()
    half_open = [socket.create_connection(address) for _ in range(50)]
    for connection in half_open:
        connection.send(tls_hello()[:9])  # the beginning of a handshake, and no more
    with connect(uri) as proxy:
        assert proxy.greet() == "hello"
    for connection in half_open:
        connection.close()


def test_f2_a_handshake_that_takes_too_long_is_ended_however_its_bytes_drip(
    greeter: tuple[GuardedDaemon, str],
) -> None:
    daemon, _ = greeter
    with socket.create_connection(daemon.sock.getsockname()) as connection:
        connection.settimeout(0.05)

        drops = itertools.chain((bytes([byte]) for byte in tls_hello()), itertools.repeat(b"x"))

        def is_closed() -> bool:
            try:
                connection.send(next(drops))
                return connection.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_for(is_closed)


def test_f2_a_message_has_a_largest_size(greeter: tuple[GuardedDaemon, str]) -> None:
    with connect(greeter[1]) as proxy, pytest.raises(Pyro4.errors.ProtocolError, match="max message size"):
        proxy.greet("x" * 2**23)


def test_f3_one_worker_whose_trials_all_fail_is_barred_and_the_others_finish(
    make_run: MakeRun, start_workers: StartWorkers, caplog: pytest.LogCaptureFixture
) -> None:
    def slow(trial: TrialSpec, *arguments: Any) -> Evaluation:
        time.sleep(0.02)
        return smooth_objective(trial, *arguments)

    def fails(trial: TrialSpec, *arguments: Any) -> Evaluation:
        raise OSError("no such device")

    refusals: list[str] = []

    def work_badly() -> None:
        try:
            run_worker(run.path, objective=fails, settings=WorkerSettings(wait_s=5.0, heartbeat_s=0.1))
        except Exception as error:
            refusals.append(str(error))

    run = make_run(n_iterations=24, n_workers=4)
    threading.Thread(target=work_badly, daemon=True).start()
    start_workers(run, 3, objective=slow)
    end = run_master(run, wait_settings=WaitSettings(min_workers=4))
    results = read_results(run)
    assert end.n_done == len(results) == end.n_total
    assert {r.evaluation.status for r in results} == {Status.OK}
    wait_for(lambda: bool(refusals))
    assert "is barred: other workers ran the trials in which it had bugs" in refusals[0]
    assert "no such device" in caplog.text


def test_f3_a_broken_worker_that_comes_first_is_barred_and_the_others_do_the_rest(
    make_run: MakeRun, start_workers: StartWorkers
) -> None:
    def fails(trial: TrialSpec, *arguments: Any) -> Evaluation:
        raise OSError("no such device")

    refusals: list[str] = []

    def work_badly() -> None:
        try:
            run_worker(run.path, objective=fails, settings=WorkerSettings(wait_s=20.0, heartbeat_s=0.1))
        except Exception as error:
            refusals.append(str(error))
        start_workers(run, 2)

    run = make_run(n_iterations=3)
    threading.Thread(target=work_badly, daemon=True).start()
    end = run_master(run)
    assert "its last trials had bugs, and no other worker was there" in refusals[0]
    counts = Counter(r.evaluation.status for r in read_results(run))
    assert counts == {Status.BUG: 3, Status.OK: end.n_total - 3}


def test_f3_workers_that_agree_on_a_bug_end_the_study_one_after_the_other(make_run: MakeRun) -> None:
    def fails(trial: TrialSpec, *arguments: Any) -> Evaluation:
        raise OSError("no such device")

    def work_badly() -> None:
        for _ in range(2):
            with suppress(Exception):
                run_worker(run.path, objective=fails, settings=WorkerSettings(wait_s=20.0, heartbeat_s=0.1))

    run = make_run()
    threading.Thread(target=work_badly, daemon=True).start()
    with pytest.raises(StudyFailedError, match=r"the same bug occurred [45] times"):
        run_master(run)


def test_f5_a_disk_that_is_full_for_a_while_loses_nothing(
    make_run: MakeRun, start_workers: StartWorkers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")
    real_pwrite = os.pwrite
    full_until = [0.0]

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if time.monotonic() < full_until[0]:
            if len(data) > 20:
                real_pwrite(descriptor, data[:7], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real_pwrite(descriptor, data, offset)

    def on_progress(progress: Progress) -> None:
        if progress.n_done == 5 and not full_until[0]:
            full_until[0] = time.monotonic() + 1.5

    monkeypatch.setattr(os, "pwrite", pwrite)
    run = make_run(n_iterations=6)
    start_workers(run, 2)
    end = run_master(run, on_progress=on_progress)
    assert end.n_done == end.n_total == 26
    journals = read_journals(run)
    assert journals.left_out == []
    assert len({(r.config_id, r.budget) for r in journals.results}) == len(journals.results) == 26
    assert ".json: No space left on device; results are kept in memory" in caplog.text
    assert "writing works again; nothing was lost" in caplog.text


def test_f5_a_disk_that_stays_full_ends_the_study_with_the_file(
    make_run: MakeRun, start_workers: StartWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def on_progress(progress: Progress) -> None:
        if progress.n_done == 2:
            monkeypatch.setattr(os, "pwrite", fail)

    run = make_run(n_iterations=6)
    start_workers(run)
    with pytest.raises(StudyFailedError, match=r"results could not be written: .*Read-only file system: .*\.json"):
        run_master(run, on_progress=on_progress, wait_settings=WaitSettings(write_limit_s=0.2))
    monkeypatch.undo()
    assert len(read_results(run)) >= 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ESTALE])
def test_f5_a_trial_waits_for_its_disk(
    make_run: MakeRun, start_workers: StartWorkers, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    """All trials fail for a while; none of them is a bug."""
    n_failing = [6]

    def objective(trial: TrialSpec, *arguments: Any) -> Evaluation:
        n_failing[0] -= 1
        if n_failing[0] >= 0:
            raise OSError(number, os.strerror(number), "checkpoint")
        return smooth_objective(trial, *arguments)

    run = make_run(n_iterations=1)
    start_workers(run, 2, objective=objective, settings=WorkerSettings(wait_s=20.0, message_interval_s=0.05))
    assert run_master(run).n_done == 7
    assert {r.evaluation.status for r in read_results(run)} == {Status.OK}
    assert (
        caplog.text.count(f"the trial waits for its disk, and then goes on from its checkpoint: [Errno {number}]") == 6
    )


class ClosedTerminal:
    """A stream whose other side is gone."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "as told")

    def flush(self) -> None:
        raise OSError(errno.EIO, "as told")

    def fileno(self) -> int:
        raise OSError("none")


def test_f5_what_cannot_be_shown_ends_nothing(make_run: MakeRun, start_workers: StartWorkers) -> None:
    stream: Any = ClosedTerminal()
    run = make_run(n_iterations=1)
    start_workers(run)
    with ProgressDisplay(run.spec(), stream) as display:
        assert run_master(run, on_progress=display.show).n_done == 7
    say("the end", stream)


def test_f6_interrupted_masters_write_each_line_once(make_run: MakeRun, start_workers: StartWorkers) -> None:
    """SIGTERM while results arrive; what was acknowledged is written, once."""
    run = make_run(n_iterations=12, n_workers=3)
    log = run.path.parent / "masters.log"
    script = str(Path(__file__).parent / "master_process.py")
    statuses = []
    for n_results in (4, 12, 30, 1000):
        enough = max(n_results, len(read_results(run)) + 1)  # a master that has kept a result knows what to do
        with log.open("a") as output:
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            master = subprocess.Popen(
                [sys.executable, script, str(run.path)], env=environment, stdout=output, stderr=output
            )
        start_workers(run, 3, settings=WorkerSettings(wait_s=60.0))  # the master may take long to start
        while master.poll() is None and len(read_results(run)) < enough:
            time.sleep(0.01)
        master.send_signal(signal.SIGTERM)
        statuses.append(master.wait(timeout=30))
    assert statuses == [143, 143, 143, 0]
    results = read_results(run)
    assert Counter((r.config_id, r.budget) for r in results).most_common(1)[0][1] == 1
    assert len(results) == 52


def test_f7_more_workers_than_descriptors_are_refused(credentials: Credentials) -> None:
    dispatcher = Dispatcher(credentials, "127.0.0.1", DispatcherSettings(max_workers=2))
    dispatcher.run()
    workers = [FakeWorker(credentials, name=f"hpbandster.run_test.worker.w{i}") for i in range(2)]
    wait_for(lambda: len(dispatcher.workers()) == 2)
    workers.append(FakeWorker(credentials, name="hpbandster.run_test.worker.w2"))
    assert workers[2].refusal == (
        "worker w2 is one more than the 2 for which the master has file descriptors; raise `ulimit -n` where the "
        "master runs"
    )
    dispatcher.shutdown()
    for worker in workers:
        worker.die()


def test_f7_the_soft_limit_of_descriptors_is_raised() -> None:
    program = (
        "import resource\nfrom master.daemon import raise_descriptor_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1000))\n"
        "print(raise_descriptor_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["214", "1000", "1000"]
    assert raise_descriptor_limit() >= 1
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == resource.getrlimit(resource.RLIMIT_NOFILE)[1]


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_f8_a_trial_that_would_end_its_worker_is_a_bug(
    make_run: MakeRun, start_workers: StartWorkers, raised: type[BaseException]
) -> None:
    def objective(trial: TrialSpec, *arguments: Any) -> Evaluation:
        if trial.config_id == (0, 0, 1):
            raise raised
        return smooth_objective(trial, *arguments)

    run = make_run(n_iterations=1)
    start_workers(run, 2, objective=objective)
    assert run_master(run).n_done == 7
    assert Counter(r.evaluation.status for r in read_results(run))[Status.BUG] == 1


def test_f9_a_run_that_is_renamed_ends_and_no_half_directory_appears(
    make_run: MakeRun, start_workers: StartWorkers
) -> None:
    run = make_run(n_iterations=6)
    start_workers(run)
    elsewhere = run.path.parent / "elsewhere"

    def on_progress(progress: Progress) -> None:
        if progress.n_done == 3 and not elsewhere.exists():
            run.path.rename(elsewhere)

    with pytest.raises(StudyFailedError, match=r"removed, renamed or replaced while it was in use"):
        run_master(run, on_progress=on_progress)
    assert len(read_results(elsewhere)) == 3
    assert not run.path.exists()


def test_f11_only_a_refused_connection_means_that_a_process_has_ended(membership: Path) -> None:
    def wrapped(cause: OSError) -> Exception:
        error = Pyro4.errors.CommunicationError("cannot connect")
        error.__cause__ = cause
        return error

    for number in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ETIMEDOUT):
        assert not is_refused(wrapped(OSError(number, os.strerror(number))))
    assert not is_refused(Pyro4.errors.TimeoutError("receiving: timeout"))
    assert not is_refused(Pyro4.errors.ProtocolError("invalid data"))
    assert not is_refused(Pyro4.errors.ConnectionClosedError("receiving: not enough data"))
    assert is_refused(wrapped(OSError(errno.ECONNREFUSED, "refused")))
    assert is_refused(wrapped(OSError(errno.ECONNRESET, "reset")))
    assert is_broken(Pyro4.errors.ConnectionClosedError("receiving: not enough data"))
    assert not is_broken(wrapped(OSError(errno.ECONNREFUSED, "refused")))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Pyro4.errors.CommunicationError) as refused, connect(f"PYRO:x@127.0.0.1:{port}") as proxy:
        proxy.greet()
    assert is_refused(refused.value)


def test_f13_a_worker_of_a_study_that_has_ended_leaves_at_once(make_run: MakeRun, start_workers: StartWorkers) -> None:
    run = make_run(n_iterations=1)
    start_workers(run)
    run_master(run)
    assert run_worker(run.path, settings=WorkerSettings(wait_s=3600.0)) == "the study has ended (finished)"


def test_f13_a_study_that_failed_says_so_and_how_to_go_on(make_run: MakeRun) -> None:
    run = make_run()
    with pytest.raises(StudyFailedError):
        run_master(run, wait_settings=WaitSettings(message_interval_s=0.1, no_worker_limit_s=0.2))
    status = read_status(run)
    assert status is not None
    assert status.ending is Ending.FAILED
    reason = run_worker(run.path, settings=WorkerSettings(wait_s=3600.0))
    assert reason.startswith("the study has ended (failed: none of 2 workers was registered for")
    assert reason.endswith("`master --resume` goes on with it, and then takes workers")


def test_f14_credentials_that_cannot_be_read_are_named(make_run: MakeRun) -> None:
    run = make_run()
    (run.credentials / "nameserver.json").mkdir()
    with pytest.raises(OSError, match=r"nameserver\.json"):
        run_worker(run.path, settings=WorkerSettings(wait_s=3600.0))


def test_f14_a_stale_handle_is_waited_for(
    make_run: MakeRun, start_workers: StartWorkers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run = make_run(n_iterations=1)
    n_stale = [3]

    def stale(run: Any) -> Credentials:
        n_stale[0] -= 1
        if n_stale[0] >= 0:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), "nameserver.json")
        return read_credentials(run)

    monkeypatch.setattr("worker.master_link.read_credentials", stale)
    start_workers(run)
    assert run_master(run).n_done == 7
    assert n_stale[0] < 0
    assert os.strerror(errno.ESTALE) in caplog.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_f15_f22_signals_set_a_flag(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_flag() as stop:
        assert (stop.signal, stop.status) == (None, 0)
        os.kill(os.getpid(), number)
        assert (stop.signal, stop.status) == (number, 128 + number)
        os.kill(os.getpid(), signal.SIGTERM)  # a notice is only the first word
        assert stop.signal is (signal.SIGTERM if number is signal.SIGUSR1 else number)
        if number is not signal.SIGINT:
            for _ in range(400):
                os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_f22_what_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with stop_flag() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_f16_a_worker_that_cannot_be_reached_learns_why(credentials: Credentials) -> None:
    dispatcher = Dispatcher(credentials, "127.0.0.1")
    dispatcher.run()
    known = FakeWorker(credentials, name="hpbandster.run_test.worker.near")
    name, uri = "hpbandster.run_test.worker.far", "PYRO:far@127.0.0.1:1"
    assert known.dispatcher.join(name, uri, own_version()) is None
    wait_for(lambda: bool(dispatcher.problems()))
    sentence = f"worker far wants to join, but does not answer at {uri}; see its --host"
    assert dispatcher.problems() == (sentence,)
    assert known.dispatcher.heartbeat(name, {}) == {"known": False, "abandon": [], "reason": sentence}
    dispatcher.shutdown()
    known.die()


def test_f17_a_worker_whose_master_does_not_come_back_fails(make_run: MakeRun) -> None:
    run = make_run()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            run_worker(run.path, objective=smooth_objective, settings=WorkerSettings(wait_s=0.5, heartbeat_s=0.05))
        except MasterNotFoundError as error:
            failures.append(error)

    log = run.path.parent / "master.log"
    with log.open("w") as output:
        master = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "master_process.py"), str(run.path)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=output,
        )
    wait_for(lambda: (run.credentials / "nameserver.json").exists())
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    wait_for(lambda: "has joined" in log.read_text())
    master.kill()
    master.wait()
    thread.join(timeout=20)
    assert "the master has not answered for" in str(failures[0])


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::"])
def test_f22_a_host_that_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="tells workers no address to connect to; expected one address"):
        checked_host(host)


def test_f22_no_route_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(self: socket.socket, address: Any) -> None:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    monkeypatch.setattr(socket.socket, "connect", fail)
    assert outward_address() == "127.0.0.1"
    assert "no route to others (Network is unreachable)" in caplog.text


def test_f22_workers_that_do_not_answer_do_not_hold_up_the_end(credentials: Credentials) -> None:
    release = threading.Event()
    dispatcher = Dispatcher(credentials, "127.0.0.1", DispatcherSettings(farewell_s=0.2))
    dispatcher.run()
    workers = [FakeWorker(credentials, name=f"hpbandster.run_test.worker.w{i}") for i in range(34)]
    for worker in workers:
        worker.shutdown = lambda: release.wait(60)  # type: ignore[method-assign]
        worker.shutdown._pyroExposed = True  # type: ignore[attr-defined]
    wait_for(lambda: len(dispatcher.workers()) == 34)
    dispatcher.shutdown()
    assert not release.is_set()
    release.set()
    for worker in workers:
        worker.die()


def test_a_stop_flag_outside_of_the_main_thread_is_never_set() -> None:
    flags: list[StopFlag] = []

    def use() -> None:
        with stop_flag() as stop:
            flags.append(stop)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert flags[0].signal is None
