"""The dispatcher hands jobs to workers over Pyro: threads and remote calls around a ``Crew`` and its ``Pool``.

hpbandster's dispatcher calls the network while it holds its lock, knows one kind of broken connection, and does
not run a lost job again.  Here:

* The crew knows the workers, its pool the place of each job.  One lock protects both, and is held only for a few
  assignments.
* Every call has a time-out, and any error of a call is the worker's fault.
* A worker of another version is refused when it joins, as is one with bugs of its own.
* Workers send a sign of life every second.  A closed connection makes the dispatcher look after its worker at once.
  A worker that refuses connections is lost at once.  A silent worker (stopped, or out of reach) is lost after
  ``silence_limit_s``; if it comes back, it keeps its trial unless another worker has it by now.
* The threads are daemons; ``check`` raises in the master if one of them has died.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Any

import Pyro4

from master.crew import Crew
from master.daemon import GuardedDaemon, raise_descriptor_limit
from master.jobs import TrialJob
from master.pool import Assignment, Leave, Loss
from master.ports import ANY_PORTS, Ports
from master.protocol import HeartbeatAnswer, connect, dispatcher_name, name_server_uri, short_name
from master.remote_call import Name, Reason, Tickets, remote_call
from master.remote_worker import HandOverError, Pulse, RemoteWorker, pulses, tell_to_end
from master.settings import DispatcherSettings
from results.credentials import Credentials
from results.master_status import WorkerStatus

logger = logging.getLogger("nasbohb.master")

_N_RUNNERS = 4
_DEAD = "its process has ended"


class DispatcherError(RuntimeError):
    """A thread of the dispatcher has died; its traceback is in the master's output."""


class Dispatcher:
    """Hands jobs to workers, see the module; ``run`` starts the threads, ``shutdown`` ends them."""

    def __init__(
        self,
        credentials: Credentials,
        host: str,
        settings: DispatcherSettings | None = None,
        ports: Ports = ANY_PORTS,
    ) -> None:
        """Prepares everything and starts nothing.

        Args:
            credentials: Address of the run's name server; this process is a member of its run.
            host: Address to listen at.
            settings: Intervals and limits; None for the defaults.
            ports: Ports to listen at.
        """
        self._settings = settings or DispatcherSettings()
        self._credentials = credentials
        self._address = (host, ports)
        self._name_server = connect(name_server_uri(credentials.host, credentials.port))
        # Finished jobs; None only wakes the reader, because workers came or went.
        self._finished: queue.SimpleQueue[TrialJob | None] = queue.SimpleQueue()
        self._late: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._has_joiners, self._has_suspects = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []
        # Under the lock:
        self._changed = threading.Condition()
        self._crew = Crew(self._settings, self._settings.max_workers or raise_descriptor_limit())
        self._is_ending = False

    def run(self) -> None:
        """Starts to serve in background threads and returns.

        Raises:
            OSError: The host is no address of this machine.
        """
        self._daemon = GuardedDaemon(*self._address, self._suspect_connection)
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
                    f"the dispatcher's thread {thread.name} has died; its traceback is in the master's output; "
                    "finished evaluations are in the run's results.json"
                )

    def shutdown(self, shutdown_workers: bool = True) -> None:
        """Tells the workers to end, waits for them a little, and ends all threads; has no effect if none runs."""
        if not self._threads:
            return
        with self._changed:
            self._is_ending = True
            self._crew.pool.clear()
            self._changed.notify_all()
            workers = list(self._crew.remote.values())
        if shutdown_workers and workers:
            self._take_leave(workers)
        self._has_joiners.set()
        self._has_suspects.set()
        self._daemon.end()
        for thread in self._threads:
            thread.join(timeout=self._settings.farewell_s)
        self._threads = []

    def _take_leave(self, workers: list[RemoteWorker]) -> None:
        """Tells the workers to end and waits for their farewells, but no longer than ``farewell_s``."""
        tell_to_end(workers)
        with self._changed:
            self._changed.wait_for(lambda: not self._crew.pool.workers, timeout=self._settings.farewell_s)
            if self._crew.pool.workers:
                logger.warning("workers that did not sign off: %s", ", ".join(self._crew.pool.workers))

    # Called by the master.

    def submit(self, job: TrialJob) -> None:
        """Queues a job."""
        with self._changed:
            self._crew.pool.submit(job)
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

    def late(self) -> list[dict[str, Any]]:
        """The reports since the last call whose trials had a result already."""
        reports = []
        try:
            while True:
                reports.append(self._late.get_nowait())
        except queue.Empty:
            return reports

    def statuses(self) -> tuple[WorkerStatus, ...]:
        """What each worker does."""
        with self._changed:
            return self._crew.statuses()

    def problems(self) -> tuple[str, ...]:
        """Why workers that ask to join cannot, one sentence for each."""
        with self._changed:
            return self._crew.admission.problems()

    def running(self) -> list[TrialJob]:
        """The jobs that workers are busy with, the one that began first at the head."""
        with self._changed:
            return self._crew.pool.running

    def workers(self) -> list[str]:
        """The names of the workers, in the order in which they joined."""
        with self._changed:
            return self._crew.pool.workers

    # Called by the workers.

    @remote_call
    def join(self, worker_name: Name, uri: Name, version: Any) -> str | None:
        """A worker wants to take part; it is asked for a sign of life before it gets a job.

        Args:
            worker_name: Its name.
            uri: Its address.
            version: Its ``master.protocol.Version``.

        Returns:
            Why it may not; None if it may.
        """
        with self._changed:
            reason = self._crew.admission.ask(worker_name, uri, version, self._crew.remote)
        if reason is None:
            self._has_joiners.set()
        return reason

    @remote_call
    def heartbeat(self, worker_name: Name, tickets: Tickets) -> HeartbeatAnswer:
        """A worker's sign of life; ``tickets`` of the jobs that it holds, with the numbers of epochs that are saved."""
        with self._changed:
            answer = self._crew.beat(worker_name, tickets, Pyro4.current_context.client)
            if answer["known"]:
                self._changed.notify()
            return answer

    @remote_call
    def register_result(self, ticket: Name, result: Any) -> bool:
        """Takes a worker's report on the job that it was handed with the ticket, by this master or an earlier one.

        Returns:
            True if the report counts; False if the trial has a result already.
        """
        with self._changed:
            job, has_finished = self._crew.report(ticket, result)
            self._changed.notify_all()
        if job is None:
            logger.warning("a late report (ticket %s) does not count: its trial has a result", ticket)
            self._late.put({"ticket": ticket, "received": time.time(), "report": result})
            return False
        if has_finished:
            self._finished.put(job)
        return True

    @remote_call
    def sign_off(self, worker_name: Name, reason: Reason) -> None:
        """Removes a worker that ends by itself; its job runs elsewhere."""
        with self._changed:
            self._crew.admission.withdraw(worker_name)
        self._lose(worker_name, reason, Leave.RETURN)

    # The threads.

    def _admit_workers(self) -> None:
        """Admits workers when they ask; a worker that cannot be reached delays only others that ask."""
        while not self._is_ending:
            self._has_joiners.wait()
            self._has_joiners.clear()
            self._admit_new_workers()

    def _look_after_workers(self) -> None:
        """Looks after silent workers regularly, and at once if a connection has ended."""
        while not self._is_ending:
            self._look_after_silent_workers()
            self._look_after_hung_trials()
            self._has_suspects.wait(self._settings.ping_interval_s)
            self._has_suspects.clear()

    def _hand_out_jobs(self) -> None:
        """Hands waiting jobs to idle workers; several threads do this, so one slow worker delays no other."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_ending or self._crew.pool.can_assign)
                if self._is_ending:
                    return
                assignment, remote = self._crew.assign()
            self._hand_over(assignment, remote)

    def _hand_over(self, assignment: Assignment, remote: RemoteWorker) -> None:
        try:
            accepted = remote.start(assignment.ticket, assignment.job.wire_trial)
        except HandOverError as error:
            if error.has_died:
                self._lose(assignment.worker, _DEAD)
            else:
                self._lose(assignment.worker, f"could not be given a job: {error}", Leave.NOT_BEGUN)
            return
        if not accepted:
            with self._changed:
                self._crew.pool.refuse(assignment.ticket)
                self._changed.notify_all()

    def _admit_new_workers(self) -> None:
        with self._changed:
            new = self._crew.admission.candidates(self._crew.remote)
        for remote, pulse in pulses(new):
            if pulse in (Pulse.DEAD, Pulse.SILENT):
                with self._changed:
                    self._crew.admission.unreachable(remote)
                continue
            with self._changed:
                self._crew.join(remote, is_idle=pulse is Pulse.IDLE)
                self._changed.notify_all()
            logger.info("worker %s has joined", short_name(remote.name))
            self._finished.put(None)

    def _look_after_silent_workers(self) -> None:
        with self._changed:
            suspects = self._crew.suspects()
        for remote, pulse in pulses(suspects):
            now = time.monotonic()
            with self._changed:
                silence_s = self._crew.pool.silence_s(remote.name, now)
                is_silent_too_long = self._crew.pool.is_silent_too_long(remote.name, now)
                if pulse in (Pulse.IDLE, Pulse.BUSY):
                    self._crew.pool.saw_life(remote.name, now)
            if pulse is Pulse.DEAD:
                self._lose(remote.name, _DEAD)
            elif pulse is Pulse.SILENT and is_silent_too_long:
                self._lose(remote.name, f"it was silent for {silence_s:.0f} s")

    def _look_after_hung_trials(self) -> None:
        with self._changed:
            taken = self._crew.pool.take_overdue(time.monotonic())
            if taken:
                self._changed.notify_all()
        for worker, reason, loss in taken:
            logger.warning("worker %s: %s%s", short_name(worker), reason, self._fate(loss))
            self._end_if_given_up(loss)

    def _suspect_connection(self, connection: Any) -> None:
        """Makes the worker of a connection that has ended a suspect; its process may have ended, too."""
        with self._changed:
            self._crew.suspect(connection)
        self._has_suspects.set()

    def _lose(self, worker_name: str, reason: str, leave: Leave = Leave.LOSS) -> None:
        """Removes a worker; its job runs again, or finishes without a report."""
        name = short_name(worker_name)
        with self._changed:
            loss = self._crew.lose(worker_name, f"{name}: {reason}", leave)
            if loss is None:
                return
            self._changed.notify_all()
        level = logging.INFO if loss.job is None else logging.WARNING
        logger.log(level, "worker %s has left: %s%s", name, reason, self._fate(loss))
        self._end_if_given_up(loss)
        self._finished.put(None)

    def _end_if_given_up(self, loss: Loss) -> None:
        if loss.job is not None and loss.is_given_up:
            loss.job.finish(None, time.time())
            self._finished.put(loss.job)

    def _fate(self, loss: Loss) -> str:
        if loss.job is None:
            return ""
        what = "stays unfinished" if self._is_ending else "is given up" if loss.is_given_up else "runs again"
        return f"; its job, {loss.job.name}, {what}"
