"""Hands jobs to workers: hpbandster's dispatcher, without its hangs.

hpbandster's takes its lock by hand and calls the network while it holds it, knows one kind of broken
connection, and does not run a lost job again.  Here:

* the job's state lives in one place, under one lock that is only held for a few assignments;
* every call has a time-out, and any communication error means that the worker is lost;
* a lost worker's job is queued again, first in the line; each hand-over has its own ticket, so a late
  report of a worker that was given up changes nothing;
* workers send a sign of life every second.  A closed connection makes the dispatcher look after a worker
  at once; one that refuses connections is lost at once, one that is silent (stopped, or its host is gone)
  after ``silence_limit_s``; if it comes back, it is told to abandon its job;
* the threads are daemons; ``check`` raises in the master if one of them has died.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import Pyro4
from hpbandster.core.dispatcher import Dispatcher as HpbandsterDispatcher

from master.jobs import TrialJob
from master.remote_worker import Pulse, RemoteWorker
from master.wire import COMMUNICATION_ERRORS, connect, end_daemon, name_server_uri
from results.credentials import Credentials

logger = logging.getLogger("nasbohb.master")

_N_RUNNERS = 4
_N_PROBES = 16


@dataclass(frozen=True)
class DispatcherSettings:
    """When the dispatcher looks after its workers, and when it gives up.

    Attributes:
        ping_interval_s: Seconds between two looks at the name server and at silent workers.
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


class Dispatcher(HpbandsterDispatcher):
    """See the module; ``run`` starts it, ``shutdown`` ends it."""

    def __init__(
        self,
        credentials: Credentials,
        host: str,
        on_finished: Callable[[TrialJob], None],
        on_workers: Callable[[int], None],
        settings: DispatcherSettings | None = None,
    ) -> None:
        """Prepares everything and starts nothing.

        Args:
            credentials: Of the run's name server.
            host: The address to listen at.
            on_finished: Takes a finished job; like the next, called from threads of the dispatcher.
            on_workers: Takes the number of workers whenever it changes.
            settings: None for the defaults.
        """
        super().__init__(
            new_result_callback=on_finished,
            run_id=credentials.run_id,
            nameserver=credentials.host,
            nameserver_port=credentials.port,
            host=host,
            logger=logger,
            queue_callback=on_workers,
        )
        self._settings = settings or DispatcherSettings()
        self._key = credentials.key
        self._name_server = connect(name_server_uri(credentials.host, credentials.port), credentials.key)
        self._tickets = (f"{secrets.token_hex(4)}-{n}" for n in itertools.count())
        self._wake = threading.Event()
        self._threads: list[threading.Thread] = []
        # Under the lock, as all that hpbandster's constructor made:
        self.waiting_jobs: deque[TrialJob] = deque()
        self.running_jobs: dict[str, TrialJob] = {}  # by ticket
        self.worker_pool: dict[str, RemoteWorker] = {}
        self.idle_workers: dict[str, None] = {}  # in the order in which they became idle
        self._is_ending = False

    def run(self) -> None:
        """Starts to serve in background threads and returns, unlike hpbandster's, which blocks.

        Raises:
            OSError: The host is no address of this machine.
        """
        self.pyro_daemon = _Daemon(self.host, self._suspect_connection)
        self.pyro_daemon._pyroHmacKey = self._key
        self._name_server.register(self.pyro_id, self.pyro_daemon.register(self, self.pyro_id))
        loops = [self.pyro_daemon.requestLoop, self.discover_workers, *[self.job_runner] * _N_RUNNERS]
        self._threads = [threading.Thread(target=loop, name=loop.__name__, daemon=True) for loop in loops]
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
        if shutdown_workers:
            self.shutdown_all_workers()
        with self.runner_cond:
            self.shutdown_all_threads = True
            self.runner_cond.notify_all()
        self._wake.set()
        end_daemon(self.pyro_daemon)
        for thread in self._threads:
            thread.join(timeout=self._settings.farewell_s)
        self._threads = []

    def shutdown_all_workers(self, rediscover: bool = False) -> None:
        """Tells the workers to end and waits for their farewells, but no longer than ``farewell_s``."""
        with self.runner_cond:
            self._is_ending = True
            self.waiting_jobs.clear()
            workers = list(self.worker_pool.values())
        if not workers:
            return
        with ThreadPoolExecutor(_N_PROBES) as pool:
            list(pool.map(RemoteWorker.shutdown, workers))
        with self.runner_cond:
            self.runner_cond.wait_for(lambda: not self.worker_pool, timeout=self._settings.farewell_s)
            if self.worker_pool:
                logger.warning("workers that did not sign off: %s", ", ".join(self.worker_pool))

    # Called by the master.

    def submit_job(self, job: TrialJob) -> None:
        """Queues a job."""
        with self.runner_cond:
            job.time_it("submitted")
            self.waiting_jobs.append(job)
            self.runner_cond.notify()

    def running(self) -> list[TrialJob]:
        """The jobs that workers are busy with, the one that began first at the head."""
        with self.runner_cond:
            return list(self.running_jobs.values())

    # Called by the workers.

    @Pyro4.expose
    def trigger_discover_worker(self) -> None:
        """A new worker stands in the name server."""
        self._wake.set()

    @Pyro4.expose
    def heartbeat(self, worker_name: str, tickets: list[str]) -> dict[str, Any]:
        """A worker's sign of life.

        Args:
            worker_name: Its name in the name server.
            tickets: Of the jobs that it holds.

        Returns:
            ``known``: whether it belongs to the pool, or must register again; ``abandon``: the tickets of
            jobs that it must give up, because they are somebody else's by now.
        """
        with self.runner_cond:
            worker = self.worker_pool.get(worker_name)
            if worker is None:
                self._wake.set()
                return {"known": False, "abandon": tickets}
            worker.saw_life(Pyro4.current_context.client)
            if not tickets and worker.runs_job is None:
                self._set_idle(worker_name)
            return {"known": True, "abandon": [ticket for ticket in tickets if ticket != worker.runs_job]}

    @Pyro4.expose
    def register_result(self, id: str, result: Any) -> bool:
        """A worker's report on the job that it was handed with the ticket ``id``.

        Returns:
            Whether it was of use; not if the job was given to another worker in the meantime.
        """
        with self.runner_cond:
            job = self.running_jobs.pop(id, None)
            if job is None:
                logger.warning("ignored a late report (ticket %s): its job was given to another worker", id)
                return False
            job.time_it("finished")
            job.report = result if result is not None else {}
            self.worker_pool[job.worker_name].runs_job = None
            self._set_idle(job.worker_name)
        self.new_result_callback(job)
        return True

    @Pyro4.expose
    def sign_off(self, worker_name: str, reason: str) -> None:
        """A worker ends of its own accord; its job, if any, runs elsewhere and is not held against it."""
        self._lose(worker_name, reason, counts=False)

    # The threads.

    def discover_workers(self) -> None:
        """Admits new workers and looks after silent ones."""
        while not self.shutdown_all_threads:
            self._admit_new_workers()
            self._look_after_silent_workers()
            self._wake.wait(self._settings.ping_interval_s)
            self._wake.clear()

    def job_runner(self) -> None:
        """Hands waiting jobs to idle workers; several threads do, so one slow worker keeps nobody waiting."""
        while True:
            with self.runner_cond:
                self.runner_cond.wait_for(
                    lambda: self.shutdown_all_threads or (self.waiting_jobs and self.idle_workers)
                )
                if self.shutdown_all_threads:
                    return
                worker = self.worker_pool[next(iter(self.idle_workers))]
                del self.idle_workers[worker.name]
                job = self.waiting_jobs.popleft()
                worker.runs_job = next(self._tickets)
                job.worker_name = worker.name
                job.time_it("started")
                self.running_jobs[worker.runs_job] = job
            self._hand_over(worker, worker.runs_job, job)

    def _hand_over(self, worker: RemoteWorker, ticket: str, job: TrialJob) -> None:
        try:
            accepted = worker.start(ticket, job.wire_trial)
        except COMMUNICATION_ERRORS as error:
            self._lose(worker.name, f"could not be given a job: {error}", counts=False)
            return
        if not accepted:
            with self.runner_cond:
                if self.running_jobs.pop(ticket, None):
                    worker.runs_job = None  # it becomes idle with its next sign of life
                    self.waiting_jobs.appendleft(job)
                    self.runner_cond.notify()

    def _admit_new_workers(self) -> None:
        prefix = f"hpbandster.run_{self.run_id}.worker."
        try:
            registered = self._name_server.list(prefix=prefix)
        except COMMUNICATION_ERRORS as error:
            logger.warning("the name server does not answer (%s); trying again", error)
            return
        with self.runner_cond:
            new = [
                RemoteWorker(name, uri, self._key) for name, uri in registered.items() if name not in self.worker_pool
            ]
        for worker, pulse in self._probe(new):
            if pulse is Pulse.DEAD:
                self._forget(worker.name)
            elif pulse is not Pulse.SILENT:
                with self.runner_cond:
                    self.worker_pool[worker.name] = worker
                    if pulse is Pulse.IDLE:
                        self._set_idle(worker.name)
                logger.info("worker %s has joined", worker.short_name)
                self.queue_callback(self.number_of_workers())

    def _look_after_silent_workers(self) -> None:
        with self.runner_cond:
            suspects = [w for w in self.worker_pool.values() if w.needs_probe(self._settings.suspicion_s)]
        for worker, pulse in self._probe(suspects):
            if pulse is Pulse.DEAD:
                self._lose(worker.name, "its process has ended")
            elif pulse is not Pulse.SILENT:
                worker.saw_life()
            elif worker.silence_s() > self._settings.silence_limit_s:
                self._lose(worker.name, f"it was silent for {worker.silence_s():.0f} s")

    def _probe(self, workers: list[RemoteWorker]) -> list[tuple[RemoteWorker, Pulse]]:
        if not workers:
            return []
        with ThreadPoolExecutor(_N_PROBES) as pool:
            return list(zip(workers, pool.map(RemoteWorker.pulse, workers), strict=True))

    def _suspect_connection(self, connection: Any) -> None:
        """A connection has ended: perhaps its worker's process has, too."""
        with self.runner_cond:
            for worker in self.worker_pool.values():
                if worker.connection is connection:
                    worker.suspect()
        self._wake.set()

    def _lose(self, worker_name: str, reason: str, counts: bool = True) -> None:
        """Removes a worker; its job goes to the head of the queue, or ends if it has lost too many workers."""
        with self.runner_cond:
            worker = self.worker_pool.pop(worker_name, None)
            if worker is None:
                return
            self.idle_workers.pop(worker_name, None)
            job = self.running_jobs.pop(worker.runs_job or "", None)
            if job is not None and counts:
                job.losses.append(f"{worker.short_name}: {reason}")
            is_given_up = job is not None and len(job.losses) >= self._settings.max_losses
            if job is not None and not is_given_up:
                self.waiting_jobs.appendleft(job)
            self.runner_cond.notify_all()
        self._forget(worker_name)
        what = "stays unfinished" if self._is_ending else "is given up" if is_given_up else "runs again"
        fate = "" if job is None else f"; its job, {job.name}, {what}"
        level = logging.INFO if job is None else logging.WARNING
        logger.log(level, "worker %s has left: %s%s", worker.short_name, reason, fate)
        if job is not None and is_given_up:
            job.time_it("finished")
            self.new_result_callback(job)
        self.queue_callback(self.number_of_workers())

    def _forget(self, worker_name: str) -> None:
        try:
            self._name_server.remove(worker_name)
        except COMMUNICATION_ERRORS as error:
            logger.warning("could not remove %s from the name server: %s", worker_name, error)

    def _set_idle(self, worker_name: str) -> None:
        """Under the lock."""
        self.idle_workers[worker_name] = None
        self.runner_cond.notify()
