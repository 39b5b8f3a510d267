"""Hands jobs to workers over Pyro: the threads and the calls around a ``Pool``.

hpbandster's takes its lock by hand and calls the network while it holds it, knows one kind of broken
connection, and does not run a lost job again.  Here:

* which job is where is the pool's business, under one lock that is only held for a few assignments;
* every call has a time-out, and any error of it means that the worker is lost;
* a worker says which version it runs when it joins; one of another version is refused, and gets no job;
* workers send a sign of life every second.  A closed connection makes the dispatcher look after a worker
  at once; one that refuses connections is lost at once, one that is silent (stopped, or its host is gone)
  after ``silence_limit_s``; if it comes back, it is told to abandon its job;
* the threads are daemons; ``check`` raises in the master if one of them has died.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import Pyro4

from master.jobs import TrialJob
from master.pool import Assignment, Loss, Pool
from master.protocol import HeartbeatAnswer, connect, dispatcher_name, end_daemon, name_server_uri, refusal, short_name
from master.remote_worker import HandOverError, Pulse, RemoteWorker, pulses, tell_to_end
from results.credentials import Credentials

logger = logging.getLogger("nasbohb.master")

_N_RUNNERS = 4


@dataclass(frozen=True)
class DispatcherSettings:
    """When the dispatcher looks after its workers, and when it gives up.

    Attributes:
        ping_interval_s: Seconds between two looks at silent workers.
        suspicion_s: Seconds without a sign of life after which a worker is asked for one.
        silence_limit_s: Seconds without an answer after which a worker is lost.
        max_losses: How many workers a job may lose before it is recorded as ``worker_lost``.
        farewell_s: Seconds that workers get to sign off at the end.
    """

    ping_interval_s: float = 1.0
    suspicion_s: float = 3.0
    silence_limit_s: float = 20.0
    max_losses: int = 3
    farewell_s: float = 3.0


class DispatcherError(RuntimeError):
    """A thread of the dispatcher has died; its traceback was printed."""


class _Daemon(Pyro4.Daemon):
    """Pyro's daemon, telling when a client's connection ends."""

    def __init__(self, host: str, on_disconnect: Callable[[Any], None]) -> None:
        super().__init__(host=host)
        self._on_disconnect = on_disconnect

    def clientDisconnect(self, conn: Any) -> None:
        self._on_disconnect(conn)


class Dispatcher:
    """See the module; ``run`` starts it, ``shutdown`` ends it."""

    def __init__(self, credentials: Credentials, host: str, settings: DispatcherSettings | None = None) -> None:
        """Prepares everything and starts nothing.

        Args:
            credentials: Of the run's name server.
            host: The address to listen at.
            settings: None for the defaults.
        """
        self._settings = settings or DispatcherSettings()
        self._credentials = credentials
        self._host = host
        self._name_server = connect(name_server_uri(credentials.host, credentials.port), credentials.key)
        # Finished jobs; None only wakes the reader, because workers came or went.
        self._finished: queue.SimpleQueue[TrialJob | None] = queue.SimpleQueue()
        self._unreachable: set[str] = set()  # those that were named; of one thread
        self._has_joiners = threading.Event()
        self._has_suspects = threading.Event()
        self._threads: list[threading.Thread] = []
        # Under the lock:
        self._changed = threading.Condition()
        self._pool = Pool(
            suspicion_s=self._settings.suspicion_s,
            silence_limit_s=self._settings.silence_limit_s,
            max_losses=self._settings.max_losses,
            ticket_prefix=secrets.token_hex(4),
        )
        self._joining: dict[str, RemoteWorker] = {}
        self._remote: dict[str, RemoteWorker] = {}  # of the pool's workers
        self._is_ending = False

    def run(self) -> None:
        """Starts to serve in background threads and returns.

        Raises:
            OSError: The host is no address of this machine.
        """
        self._daemon = _Daemon(self._host, self._suspect_connection)
        self._daemon._pyroHmacKey = self._credentials.key
        name = dispatcher_name(self._credentials.run_id)
        self._name_server.register(name, self._daemon.register(self, name))
        watchers = [self._admit_workers, self._look_after_workers]
        loops = [self._daemon.requestLoop, *watchers, *[self._hand_out_jobs] * _N_RUNNERS]
        self._threads = [threading.Thread(target=loop, name=loop.__name__.strip("_"), daemon=True) for loop in loops]
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Raises ``DispatcherError`` if a thread has died."""
        for thread in self._threads:
            if not thread.is_alive():
                raise DispatcherError(
                    f"the dispatcher's thread {thread.name} has died; its traceback stands above; what was finished is "
                    "in the run's results.json"
                )

    def shutdown(self, shutdown_workers: bool = True) -> None:
        """Tells the workers to end, waits for them a little, and ends all threads; without effect if none runs."""
        if not self._threads:
            return
        with self._changed:
            self._is_ending = True
            self._pool.clear()
            self._changed.notify_all()
            workers = list(self._remote.values())
        if shutdown_workers and workers:
            self._take_leave(workers)
        self._has_joiners.set()
        self._has_suspects.set()
        end_daemon(self._daemon)
        for thread in self._threads:
            thread.join(timeout=self._settings.farewell_s)
        self._threads = []

    def _take_leave(self, workers: list[RemoteWorker]) -> None:
        """Tells the workers to end and waits for their farewells, but no longer than ``farewell_s``."""
        tell_to_end(workers)
        with self._changed:
            self._changed.wait_for(lambda: not self._pool.workers, timeout=self._settings.farewell_s)
            if self._pool.workers:
                logger.warning("workers that did not sign off: %s", ", ".join(self._pool.workers))

    # Called by the master.

    def submit(self, job: TrialJob) -> None:
        """Queues a job."""
        with self._changed:
            self._pool.submit(job)
            self._changed.notify_all()

    def finished(self, timeout_s: float) -> list[TrialJob]:
        """The jobs that have finished since the last call, in their order.

        Waits up to ``timeout_s`` for the first; returns early, with none, when workers come or go.
        """
        jobs = []
        try:
            job = self._finished.get(timeout=timeout_s)
            while True:
                if job is not None:
                    jobs.append(job)
                job = self._finished.get_nowait()
        except queue.Empty:
            return jobs

    def running(self) -> list[TrialJob]:
        """The jobs that workers are busy with, the one that began first at the head."""
        with self._changed:
            return self._pool.running

    def workers(self) -> list[str]:
        """The names of the workers, in the order in which they joined."""
        with self._changed:
            return self._pool.workers

    # Called by the workers.

    @Pyro4.expose
    def join(self, worker_name: str, uri: str, version: Any) -> str | None:
        """A worker wants to take part; it is asked for a sign of life before it gets a job.

        Args:
            worker_name: Its name.
            uri: Its address.
            version: Its ``master.protocol.Version``.

        Returns:
            Why it may not; None if it may.
        """
        reason = refusal(short_name(worker_name), version)
        if reason is not None:
            logger.warning("refused: %s", reason)
            return reason
        with self._changed:
            self._joining[worker_name] = RemoteWorker(worker_name, uri, self._credentials.key)
        self._has_joiners.set()
        return None

    @Pyro4.expose
    def heartbeat(self, worker_name: str, tickets: list[str]) -> HeartbeatAnswer:
        """A worker's sign of life; ``tickets`` are of the jobs that it holds."""
        with self._changed:
            abandon = self._pool.beat(worker_name, tickets, time.monotonic())
            if abandon is None:
                return {"known": False, "abandon": tickets}
            self._remote[worker_name].connection = Pyro4.current_context.client
            self._changed.notify()
            return {"known": True, "abandon": abandon}

    @Pyro4.expose
    def register_result(self, ticket: str, result: Any) -> bool:
        """A worker's report on the job that it was handed with the ticket.

        Returns:
            Whether it was of use; not if the job was given to another worker in the meantime.
        """
        with self._changed:
            job = self._pool.report(ticket)
            self._changed.notify()
        if job is None:
            logger.warning("ignored a late report (ticket %s): its job was given to another worker", ticket)
            return False
        job.finish({} if result is None else result, time.time())
        self._finished.put(job)
        return True

    @Pyro4.expose
    def sign_off(self, worker_name: str, reason: str) -> None:
        """A worker ends of its own accord; its job, if any, runs elsewhere and is not held against it."""
        with self._changed:
            self._joining.pop(worker_name, None)
        self._lose(worker_name, reason, counts=False)

    # The threads.

    def _admit_workers(self) -> None:
        """Admits workers as they ask; one that cannot be reached keeps only others that ask waiting."""
        while not self._is_ending:
            self._has_joiners.wait()
            self._has_joiners.clear()
            self._admit_new_workers()

    def _look_after_workers(self) -> None:
        """Looks after silent workers, and at once after one whose connection has ended."""
        while not self._is_ending:
            self._look_after_silent_workers()
            self._has_suspects.wait(self._settings.ping_interval_s)
            self._has_suspects.clear()

    def _hand_out_jobs(self) -> None:
        """Hands waiting jobs to idle workers; several threads do, so one slow worker keeps nobody waiting."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_ending or self._pool.can_assign)
                if self._is_ending:
                    return
                assignment = self._pool.assign()
                assert assignment is not None, "it can assign, and the lock is held"
                assignment.job.started = time.time()
                remote = self._remote[assignment.worker]
            self._hand_over(assignment, remote)

    def _hand_over(self, assignment: Assignment, remote: RemoteWorker) -> None:
        try:
            accepted = remote.start(assignment.ticket, assignment.job.wire_trial)
        except HandOverError as error:
            self._lose(assignment.worker, f"could not be given a job: {error}", counts=False)
            return
        if not accepted:
            with self._changed:
                self._pool.refuse(assignment.ticket)
                self._changed.notify_all()

    def _admit_new_workers(self) -> None:
        with self._changed:
            new = [remote for name, remote in self._joining.items() if name not in self._remote]
            self._joining.clear()
        for remote, pulse in pulses(new):
            if pulse in (Pulse.DEAD, Pulse.SILENT):
                self._say_unreachable(remote)
                continue
            with self._changed:
                self._remote[remote.name] = remote
                self._pool.join(remote.name, time.monotonic(), is_idle=pulse is Pulse.IDLE)
                self._changed.notify_all()
            logger.info("worker %s has joined", short_name(remote.name))
            self._finished.put(None)

    def _say_unreachable(self, remote: RemoteWorker) -> None:
        """Once per worker, which goes on asking."""
        if remote.name not in self._unreachable:
            self._unreachable.add(remote.name)
            name = short_name(remote.name)
            logger.warning("worker %s wants to join, but does not answer at %s; see its --host", name, remote.uri)

    def _look_after_silent_workers(self) -> None:
        with self._changed:
            suspects = [self._remote[name] for name in self._pool.suspects(time.monotonic())]
        for remote, pulse in pulses(suspects):
            now = time.monotonic()
            with self._changed:
                silence_s = self._pool.silence_s(remote.name, now)
                is_silent_too_long = self._pool.is_silent_too_long(remote.name, now)
                if pulse in (Pulse.IDLE, Pulse.BUSY):
                    self._pool.saw_life(remote.name, now)
            if pulse is Pulse.DEAD:
                self._lose(remote.name, "its process has ended")
            elif pulse is Pulse.SILENT and is_silent_too_long:
                self._lose(remote.name, f"it was silent for {silence_s:.0f} s")

    def _suspect_connection(self, connection: Any) -> None:
        """A connection has ended: perhaps its worker's process has, too."""
        with self._changed:
            for remote in self._remote.values():
                if remote.connection is connection:
                    self._pool.suspect(remote.name)
        self._has_suspects.set()

    def _lose(self, worker_name: str, reason: str, counts: bool = True) -> None:
        """Removes a worker; its job runs again, or has finished without a report."""
        name = short_name(worker_name)
        with self._changed:
            loss = self._pool.lose(worker_name, f"{name}: {reason}", counts)
            if loss is None:
                return
            del self._remote[worker_name]
            self._changed.notify_all()
        level = logging.INFO if loss.job is None else logging.WARNING
        logger.log(level, "worker %s has left: %s%s", name, reason, self._fate(loss))
        if loss.job is not None and loss.is_given_up:
            loss.job.finish(None, time.time())
            self._finished.put(loss.job)
        self._finished.put(None)

    def _fate(self, loss: Loss) -> str:
        if loss.job is None:
            return ""
        what = "stays unfinished" if self._is_ending else "is given up" if loss.is_given_up else "runs again"
        return f"; its job, {loss.job.name}, {what}"
