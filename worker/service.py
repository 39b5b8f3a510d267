"""The Pyro service around an objective: hpbandster's worker, without its hangs.

Differs from hpbandster's:

* The worker asks the master to let it join and states its version.  The master admits it at once, or refuses it
  with a reason.
* A job carries its whole trial, so a worker keeps no state between jobs.
* The objective runs in the thread that called ``run`` (the main thread of a process).  Remote calls only hand jobs
  over.  A report is repeated until the master has acknowledged it.
* The worker sends a sign of life every second.  The answer names the trials that it must abandon.  If the master has
  given the worker up, it joins again; if the master is gone, it ends.
"""

from __future__ import annotations

import logging
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import Pyro4
from hpbandster.core.worker import Worker

from master.protocol import (
    COMMUNICATION_ERRORS,
    configure_pyro,
    connect,
    dispatcher_name,
    name_server_uri,
    own_address,
    own_version,
    short_name,
    wire_id,
)
from results.bohb_lines import evaluation_to_info
from results.credentials import Credentials, credentials_path, read_credentials
from results.epoch import EpochRecord
from results.records import Evaluation, Status, TrialSpec
from results.run_directory import RunDirectory
from worker.objective import evaluate
from worker.outcome import Objective, TrialAbandonedError, contained

logger = logging.getLogger("nasbohb.worker")


@dataclass(frozen=True)
class WorkerSettings:
    """Waits and limits of a worker, all in seconds.

    Attributes:
        start_limit_s: Longest wait for the master to start.
        message_interval_s: Time between two messages while the worker waits for the master.
        heartbeat_s: Time between two signs of life.
        master_limit_s: Silence of the master after which the worker ends.
    """

    start_limit_s: float = 3600.0
    message_interval_s: float = 10.0
    heartbeat_s: float = 1.0
    master_limit_s: float = 60.0


class MasterNotFoundError(RuntimeError):
    """No master started in time."""


class WorkerRefusedError(RuntimeError):
    """The master runs another version of this program."""


class WorkerStopped(BaseException):
    """The process was told to end (SIGTERM); like ``KeyboardInterrupt``, this is no error."""


def run_worker(
    path: Path | str,
    *,
    objective: Objective = evaluate,
    host: str | None = None,
    settings: WorkerSettings | None = None,
) -> str:
    """Waits for the master of the run at ``path``, then works for it until the study ends.

    SIGTERM ends the worker at once; the master runs its job elsewhere.

    Args:
        path: Directory of the run; it need not exist yet.
        objective: Function to evaluate; by default it runs a search and looks up the found cell in the table.
        host: Address to listen at; None for this machine's address towards the master.
        settings: Waits and limits; None for the defaults.

    Returns:
        Why the worker ended, for a message.

    Raises:
        MasterNotFoundError: No master started within ``start_limit_s``.
        WorkerRefusedError: The master runs another version of this program.
        ValueError: The run's credentials are damaged.
    """
    settings = settings or WorkerSettings()
    run = RunDirectory(Path(path).absolute())
    try:
        with _stop_on_sigterm():
            configure_pyro()
            credentials = _await_master(run, settings)
            return WorkerService(run, credentials, objective, host or own_address(credentials.host), settings).run()
    except WorkerStopped:
        return "it was told to stop (SIGTERM)"


class WorkerService(Worker):
    """One worker; ``run`` serves until it ends."""

    def __init__(
        self, run: RunDirectory, credentials: Credentials, objective: Objective, host: str, settings: WorkerSettings
    ) -> None:
        """Prepares the worker, which listens to nothing before ``run``.  See ``run_worker`` for the arguments."""
        super().__init__(
            wire_id(credentials.run_id), credentials.host, credentials.port, logger, host, id=secrets.token_hex(4)
        )  # host name and process alone collide in containers
        self._run = run
        self._dispatcher_name = dispatcher_name(credentials.run_id)
        self._key = credentials.key
        self._objective = objective
        self._settings = settings
        self._name_server = connect(name_server_uri(credentials.host, credentials.port), credentials.key)
        self._dispatcher: Any = None
        # Under the condition:
        self._inbox: tuple[str, Any] | None = None
        self._ticket: str | None = None
        self._abandoned: set[str] = set()
        self._end_reason: str | None = None
        self._refusal: str | None = None

    def run(self, background: bool = False) -> str:
        """Joins the master, and evaluates the jobs that arrive, in this thread, until the worker is to end.

        Returns:
            Why the worker ended.

        Raises:
            WorkerRefusedError: The master runs another version of this program.
            RuntimeError: One of the worker's threads has died.
        """
        with Pyro4.Daemon(host=self.host) as daemon:
            daemon._pyroHmacKey = self._key
            self._uri = str(daemon.register(self, self.worker_id))
            threads = [threading.Thread(target=t, daemon=True) for t in (daemon.requestLoop, self._send_heartbeats)]
            try:
                self._join()
                if self._end_reason is None:
                    for thread in threads:
                        thread.start()
                    logger.info("worker %s is ready", short_name(self.worker_id))
                return self._serve(threads)
            finally:
                self.end("the worker has ended")
                self._sign_off()
                daemon.shutdown()

    # Called by the master.

    @Pyro4.expose
    def start_computation(self, ticket: str, trial: Mapping[str, Any]) -> bool:
        """Takes a job.

        Returns:
            True if the worker takes the job; False while it has another one or is about to end.
        """
        with self.thread_cond:
            if self.busy or self._inbox is not None or self._end_reason is not None:
                return False
            self._inbox = (ticket, trial)
            self.thread_cond.notify_all()
            return True

    @Pyro4.expose
    def is_busy(self) -> bool:
        """Whether the worker holds a job."""
        return bool(self._tickets())

    @Pyro4.expose
    def shutdown(self) -> None:
        """Tells the worker to end; a running trial ends after its current epoch."""
        self.end("the study has ended")

    # Called by the worker itself.

    def end(self, reason: str) -> None:
        """Makes ``run`` return; the first reason counts."""
        with self.thread_cond:
            self._end_reason = self._end_reason or reason
            self.thread_cond.notify_all()

    def _serve(self, threads: list[threading.Thread]) -> str:
        while True:
            with self.thread_cond:
                self.thread_cond.wait_for(lambda: self._inbox or self._end_reason, timeout=1.0)
                if self._refusal is not None:
                    raise WorkerRefusedError(self._refusal)
                if self._end_reason is not None:
                    return self._end_reason
                if not all(thread.is_alive() for thread in threads):
                    raise RuntimeError("one of the worker's threads has died; its traceback is in the worker's output")
                if self._inbox is None:
                    continue
                (ticket, trial), self._inbox = self._inbox, None
                self._ticket, self.busy = ticket, True
            try:
                evaluation = self.compute(ticket, trial)
            except TrialAbandonedError:
                logger.info("abandoned a trial that is not this worker's any more")
                evaluation = None
            with self.thread_cond:
                self.busy = False
            if evaluation is not None:
                self._deliver(ticket, evaluation_to_info(evaluation))
            with self.thread_cond:
                self._ticket = None
                self._abandoned.discard(ticket)

    def compute(self, ticket: str, wire_trial: Any) -> Evaluation:
        """Runs a trial that came over the wire and returns its outcome; raises ``TrialAbandonedError``."""
        try:
            trial = TrialSpec.from_dict(wire_trial, "the job")
        except ValueError as error:
            return Evaluation(status=Status.BUG, worker=self.worker_id, error=str(error))

        def check_abandoned(epoch: EpochRecord) -> None:
            if ticket in self._abandoned or self._end_reason is not None:
                raise TrialAbandonedError

        directory = self._run.trial_directory(trial.config_id, trial.budget)
        return contained(self._objective, trial, directory, check_abandoned, self.worker_id)

    def _deliver(self, ticket: str, info: Mapping[str, Any]) -> None:
        """Reports an outcome until the master has acknowledged it, or the worker is to end."""
        while True:
            try:
                self._dispatcher.register_result(ticket, info)
                return
            except COMMUNICATION_ERRORS as error:
                logger.warning("could not report to the master: %s; trying again", error)
            with self.thread_cond:
                if self.thread_cond.wait_for(lambda: self._end_reason, timeout=self._settings.heartbeat_s):
                    return

    def _send_heartbeats(self) -> None:
        last_answer_s = time.monotonic()
        was_known = True
        while self._end_reason is None:
            pause_s = self._settings.heartbeat_s
            try:
                answer = self._dispatcher.heartbeat(self.worker_id, self._tickets())
                last_answer_s = time.monotonic()
                with self.thread_cond:
                    self._abandoned.update(set(answer["abandon"]) & set(self._tickets()))
                if not answer["known"]:
                    self._ask_to_join()
                    pause_s /= 10 if was_known else 1  # the master is about to admit it, if it can reach it
                was_known = answer["known"]
            except COMMUNICATION_ERRORS as error:
                self._check_master(error, time.monotonic() - last_answer_s)
            with self.thread_cond:
                self.thread_cond.wait_for(lambda: self._end_reason, timeout=pause_s)

    def _check_master(self, error: Exception, silence_s: float) -> None:
        """Ends the worker if the master is gone: its credentials are gone, or it has been silent too long."""
        if not credentials_path(self._run).exists():
            self.end("the master has ended")
        elif silence_s > self._settings.master_limit_s:
            self.end(f"the master has not answered for {silence_s:.0f} s ({error})")

    def _tickets(self) -> list[str]:
        inbox, ticket = self._inbox, self._ticket
        return ([] if ticket is None else [ticket]) + ([] if inbox is None else [inbox[0]])

    def _join(self) -> None:
        """Asks to join until the master has answered or is gone; the master may end while the worker asks."""
        start_s = time.monotonic()
        while self._end_reason is None:
            try:
                self._dispatcher = connect(str(self._name_server.lookup(self._dispatcher_name)), self._key)
                self._ask_to_join()
                return
            except COMMUNICATION_ERRORS as error:
                self._check_master(error, time.monotonic() - start_s)
            with self.thread_cond:
                self.thread_cond.wait_for(lambda: self._end_reason, timeout=self._settings.heartbeat_s)

    def _ask_to_join(self) -> None:
        """Joins, or ends the worker if the master refuses; raises COMMUNICATION_ERRORS."""
        try:
            self._refusal = self._dispatcher.join(self.worker_id, self._uri, own_version())
        except AttributeError:
            self._refusal = "the master runs a version that does not state its number; install this one for both"
        if self._refusal is not None:
            self.end(self._refusal)

    def _sign_off(self) -> None:
        """Leaves the pool, if the master is still there to hear it."""
        if self._dispatcher is None:
            return
        try:
            self._dispatcher.sign_off(self.worker_id, self._end_reason)
        except COMMUNICATION_ERRORS as error:
            logger.debug("could not sign off: %s", error)


def _await_master(run: RunDirectory, settings: WorkerSettings) -> Credentials:
    """Returns the run's credentials as soon as the master that wrote them answers.

    The credentials are read anew in each attempt, for two reasons.  A master writes them a moment before it listens.
    The credentials of a master that was killed stay until another master replaces them.
    """
    start_s = next_message_s = time.monotonic()
    while True:
        try:
            credentials = read_credentials(run)
            name_server = connect(name_server_uri(credentials.host, credentials.port), credentials.key)
            name_server.lookup(dispatcher_name(credentials.run_id))
            return credentials
        except FileNotFoundError:
            found = f"no {credentials_path(run)}"
        except COMMUNICATION_ERRORS as error:
            found = f"no answer at {credentials.host}:{credentials.port} ({error})"
        now = time.monotonic()
        if now - start_s > settings.start_limit_s:
            raise MasterNotFoundError(
                f"{run.path}: no master of this run started within {settings.start_limit_s:.0f} s ({found}); "
                "start it, on a file system that both see, with a --host that this machine reaches"
            )
        if now >= next_message_s:
            logger.info("waiting for a master in %s: %s", run.path, found)
            next_message_s = now + settings.message_interval_s
        time.sleep(min(0.2, settings.start_limit_s))


@contextmanager
def _stop_on_sigterm() -> Iterator[None]:
    """Turns SIGTERM into ``WorkerStopped``; has no effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: the farewell is not to be interrupted
        raise WorkerStopped

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
