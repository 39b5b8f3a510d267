"""The Pyro service around an objective: hpbandster's worker, without its hangs.

Differs from hpbandster's:

* The worker asks the master to let it join and states its version.  The master admits it at once, or refuses it
  with a reason.
* A job carries its whole trial, so a worker keeps no state between jobs.
* The objective runs in the thread that called ``run`` (the main thread of a process).  Remote calls only hand jobs
  over.  A report is repeated until the master has acknowledged it.  It is kept in the trial's directory, too: a worker
  that is handed the trial again reports it at once.
* The worker sends a sign of life every second.  The answer names the trials that it must abandon.  If the master has
  given the worker up, it joins again.  If the master is silent, the worker goes on with its trial and waits for it, or
  for another master of the run.
* Signals set a flag: the worker hands its job back and ends.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpbandster.core.worker import Worker

from master.ports import ANY_PORTS, Ports
from master.protocol import COMMUNICATION_ERRORS, own_address, own_version, short_name, wire_id
from master.remote_call import Name, remote_call
from master.signals import NOTICE, StopFlag
from results.bohb_lines import evaluation_to_info
from results.credentials import Credentials
from results.epoch import EpochRecord
from results.records import Evaluation, Status, StudySpec, TrialSpec
from results.run_directory import RunDirectory
from results.text import shortened
from results.trial_directory import read_outcome, write_outcome
from worker.listener import Listener
from worker.master_link import MasterLink, MasterNotFoundError, StudyEndedError, await_master
from worker.objective import evaluate
from worker.outcome import DiskTroubleError, Objective, TrialAbandonedError, contained
from worker.settings import WorkerSettings

logger = logging.getLogger("nasbohb.worker")

#: Longest epoch so far to the time that is kept for the next.
_MARGIN = 1.5
#: Seconds for the end of a worker.
_FAREWELL_S = 10.0
#: Reason for which a worker ends that would have more to do.
OUT_OF_TIME = "no further epoch fits into its wall time"


class WorkerRefusedError(RuntimeError):
    """The master does not let the worker take part, and says why."""


def run_worker(
    path: Path | str,
    *,
    objective: Objective = evaluate,
    host: str | None = None,
    ports: Ports = ANY_PORTS,
    settings: WorkerSettings | None = None,
    attached: bool = False,
    stop: StopFlag | None = None,
    check: Callable[[StudySpec], None] | None = None,
) -> str:
    """Waits for the master of the run at ``path``, then works for it until the study ends.

    A signal ends the worker, and the master runs its trial elsewhere.  SIGUSR1, a notice, lets the worker save the
    epoch first; after other signals, the epoch is lost.  So does a wall time in which no further epoch fits.

    Args:
        path: Directory of the run; it need not exist yet.
        objective: Function to evaluate; by default it runs a search and looks up the found cell in the table.
        host: Address to listen at; None for this machine's address towards the master.
        ports: Ports to listen at.
        settings: Waits and limits; None for the defaults.
        attached: True to end with the process at the other end of standard input, too.
        stop: Flag that tells the worker to end; None for none.
        check: Check of the study before the worker joins it, which may raise ValueError; None for none.

    Returns:
        Why the worker ended, for a message.

    Raises:
        MasterNotFoundError: No master was there for ``wait_s``; a finished result is kept in the trial's directory.
        WorkerRefusedError: The master does not let the worker take part.
        ValueError: The run's credentials are damaged; or the check has raised it.
        OSError: The run's credentials cannot be read; the message names the file.
    """
    settings = settings or WorkerSettings()
    run = RunDirectory(Path(path).absolute())
    stop = stop or StopFlag()
    try:
        credentials = await_master(run, settings.wait_s, settings.message_interval_s, stop)
    except StudyEndedError as end:
        return str(end)
    if check is not None:
        check(run.spec())
    service = WorkerService(run, credentials, objective, host or own_address(credentials.host), settings, stop, ports)
    if attached:
        threading.Thread(target=_watch_stdin, args=(service,), name="standard input", daemon=True).start()
    return service.run()


def _watch_stdin(service: WorkerService) -> None:
    while os.read(0, 4096):  # sys.stdin has a lock, which Python waits for at its end
        pass
    service.end("the process that started it has ended")


class WorkerService(Worker):
    """One worker; ``run`` serves until it ends."""

    def __init__(
        self,
        run: RunDirectory,
        credentials: Credentials,
        objective: Objective,
        host: str,
        settings: WorkerSettings,
        stop: StopFlag | None = None,
        ports: Ports = ANY_PORTS,
    ) -> None:
        """Prepares the worker, which listens to nothing before ``run``.  See ``run_worker`` for the arguments."""
        super().__init__(
            wire_id(credentials.run_id), credentials.host, credentials.port, logger, host, id=secrets.token_hex(4)
        )  # host name and process alone collide in containers
        self._run = run
        self._link = MasterLink(run, credentials)
        self._listener = Listener(self, self.worker_id, host, ports)
        self._objective = objective
        self._settings = settings
        self._stop = stop or StopFlag()
        self._is_known = False
        self._reason_told: str | None = None
        self._ends_s = time.monotonic() + settings.walltime_s
        # Set by the thread of the trial alone:
        self._epochs = 0  # of the ticket's trial, saved
        self._longest_epoch_s = 0.0
        # Changed under the condition, so that who waits hears of it:
        self._inbox: tuple[str, Any] | None = None
        self._ticket: str | None = None
        self._abandoned: set[str] = set()
        self._end_reason: str | None = None
        self._failure: Exception | None = None

    def run(self, background: bool = False) -> str:
        """Joins the master, and evaluates the jobs that arrive, in this thread, until the worker is to end.

        Returns:
            Why the worker ended.

        Raises:
            WorkerRefusedError: The master does not let the worker take part.
            MasterNotFoundError: The master did not come back.
            OSError: The worker's host is no address of this machine, or none of the ports is free.
            RuntimeError: One of the worker's threads has died.
        """
        self._listener.listen(self._link.credentials)
        try:
            link = threading.Thread(target=self._keep_in_touch, name="link to the master", daemon=True)
            link.start()
            try:
                return self._serve(link)
            finally:
                self.end("the worker has ended")
                self._sign_off()
        finally:
            self._listener.end()

    # Called by the master.

    @remote_call
    def start_computation(self, ticket: Name, trial: Mapping[str, Any]) -> bool:
        """Takes a job.

        Returns:
            True if the worker takes the job; False while it has another one or is about to end.
        """
        with self.thread_cond:
            if self.busy or self._inbox or self._end_reason or self._reason_to_end():
                return False
            self._inbox = (ticket, trial)
            self.thread_cond.notify_all()
            return True

    @remote_call
    def is_busy(self) -> bool:
        """Whether the worker holds a job."""
        return bool(self._tickets())

    @remote_call
    def shutdown(self) -> None:
        """Tells the worker to end; a running trial ends after its current epoch."""
        self.end("the study has ended")

    # Called by the worker itself.

    def end(self, reason: str) -> None:
        """Makes ``run`` return; the first reason counts."""
        with self.thread_cond:
            self._end_reason = self._end_reason or reason
            self.thread_cond.notify_all()

    def _serve(self, link: threading.Thread) -> str:
        while True:
            with self.thread_cond:
                self.thread_cond.wait_for(lambda: self._inbox or self._end_reason, timeout=1.0)
                if self._failure is not None:
                    raise self._failure
                if self._end_reason is not None:
                    return self._end_reason
                if self._listener.has_died or not link.is_alive():
                    raise RuntimeError("one of the worker's threads has died; its traceback is in the worker's output")
                if self._inbox is None:
                    continue
                (ticket, trial), self._inbox = self._inbox, None
                self._ticket, self._epochs, self.busy = ticket, 0, True
            try:
                evaluation = self.compute(ticket, trial)
            except TrialAbandonedError:
                logger.info("left the trial to other workers")
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
        name = short_name(self.worker_id)
        try:
            trial = TrialSpec.from_dict(wire_trial, "the job")
        except ValueError as error:
            return Evaluation(status=Status.BUG, worker=name, error=str(error))

        saved_s = time.monotonic()

        def check_abandoned(epoch: EpochRecord) -> None:
            if ticket in self._abandoned or self._end_reason is not None:
                raise TrialAbandonedError

        def check_time(epoch: EpochRecord) -> None:
            nonlocal saved_s
            now = time.monotonic()
            self._longest_epoch_s = max(self._longest_epoch_s, now - saved_s)
            self._epochs, saved_s = epoch.epoch, now
            reason = self._reason_to_end()
            if reason is not None and epoch.epoch < trial.budget:
                self.end(reason)
                raise TrialAbandonedError

        directory = self._run.trial_directory(trial.config_id, trial.budget)
        kept = read_outcome(directory, trial)
        if kept is not None:
            return kept
        if not self._run.path.is_dir():
            return Evaluation(status=Status.BUG, worker=name, error=f"{self._run.path}: the run's directory is gone")
        while True:
            try:
                evaluation = contained(self._objective, trial, directory, check_abandoned, name, check_time)
                break
            except DiskTroubleError as error:
                logger.warning("the trial waits for its disk, and then goes on from its checkpoint: %s", error)
                if self._pause(self._settings.message_interval_s) or ticket in self._abandoned:
                    raise TrialAbandonedError from None
        if evaluation.status.informs_model and self._run.path.is_dir():
            try:
                write_outcome(directory, trial, evaluation)
            except OSError as error:
                logger.warning("could not keep the outcome in %s: %s", directory, error)
        return evaluation

    def _deliver(self, ticket: str, info: Mapping[str, Any]) -> None:
        """Reports an outcome until a master has acknowledged it, or the worker is to end."""
        next_message_s = 0.0
        while True:
            dispatcher = self._link.dispatcher  # None while another master is looked for
            try:
                if dispatcher is not None:
                    dispatcher.register_result(ticket, info)
                    return
            except COMMUNICATION_ERRORS as error:
                if time.monotonic() >= next_message_s:
                    logger.warning("could not report to the master: %s; trying again", error)
                    next_message_s = time.monotonic() + self._settings.message_interval_s
            if self._pause(self._settings.heartbeat_s):
                return

    def _keep_in_touch(self) -> None:
        """Connects, joins and sends signs of life until the worker is to end."""
        answered_s = time.monotonic()
        pause_s = 0.0
        while not self._pause(pause_s):
            reason = self._reason_to_end()
            if reason is not None and (not self._tickets() or self._stop.signal not in (None, NOTICE)):
                self.end(reason)
                self._sign_off()  # another worker may have the job before this one has completed its epoch
                return
            try:
                pause_s = self._send_sign_of_life()
                answered_s = time.monotonic()
            except COMMUNICATION_ERRORS as error:
                pause_s = self._settings.heartbeat_s
                self._look_for_master(error, time.monotonic() - answered_s)

    def _reason_to_end(self) -> str | None:
        """Explains why the worker should begin no further epoch; None if it may."""
        if self._stop.signal is not None:
            return f"it was told to stop ({self._stop.signal.name})"
        if time.monotonic() + _MARGIN * self._longest_epoch_s + _FAREWELL_S > self._ends_s:
            return OUT_OF_TIME
        return None

    def _send_sign_of_life(self) -> float:
        """Sends one, or joins first; returns the seconds until the next.  Raises COMMUNICATION_ERRORS."""
        heartbeat_s = self._settings.heartbeat_s
        if self._link.dispatcher is None:
            self._listener.listen(self._link.credentials)
            self._link.connect()
            self._ask_to_join()
            return heartbeat_s / 10  # the master is about to admit it, if it can reach it
        answer = self._link.dispatcher.heartbeat(self.worker_id, self._tickets())
        with self.thread_cond:
            self._abandoned.update(set(answer["abandon"]) & set(self._tickets()))
        if answer["known"]:
            if not self._is_known:
                self._is_known = True
                logger.info("worker %s is ready", short_name(self.worker_id))
            return heartbeat_s
        if answer["reason"] is not None and answer["reason"] != self._reason_told:
            self._reason_told = answer["reason"]
            logger.warning("not admitted yet: %s", answer["reason"])
        was_known, self._is_known = self._is_known, False
        self._ask_to_join()
        return heartbeat_s / 10 if was_known else heartbeat_s

    def _look_for_master(self, error: Exception, silence_s: float) -> None:
        """Looks for another master in the run's directory; ends the worker if there is none for too long."""
        try:
            if self._link.renew():
                logger.info("another master of the run is there")
                self._link.dispatcher = None
                return
        except StudyEndedError as end:
            self.end(str(end))
            return
        if silence_s > self._settings.wait_s:
            self._fail(MasterNotFoundError(f"the master has not answered for {silence_s:.0f} s ({error})"))

    def _pause(self, seconds: float) -> bool:
        """Waits; returns early, and True, if the worker is to end."""
        with self.thread_cond:
            return bool(self.thread_cond.wait_for(lambda: self._end_reason, timeout=seconds))

    def _tickets(self) -> dict[str, int]:
        """The tickets of the jobs that the worker holds, with the numbers of epochs that are saved."""
        inbox, ticket = self._inbox, self._ticket
        return ({} if ticket is None else {ticket: self._epochs}) | ({} if inbox is None else {inbox[0]: 0})

    def _ask_to_join(self) -> None:
        """Joins, or ends the worker if the master refuses; raises COMMUNICATION_ERRORS."""
        try:
            refusal = self._link.dispatcher.join(self.worker_id, self._listener.uri, own_version())
        except AttributeError:
            refusal = "the master runs a version that does not state its number; install this one for both"
        if refusal is not None:
            self._fail(WorkerRefusedError(refusal))

    def _fail(self, failure: Exception) -> None:
        """Makes ``run`` raise an exception."""
        with self.thread_cond:
            self._failure = self._failure or failure
        self.end(str(failure))

    def _sign_off(self) -> None:
        """Leaves the pool, if the master is still there to hear it."""
        if self._link.dispatcher is None:
            return
        try:
            self._link.dispatcher.sign_off(self.worker_id, shortened(self._end_reason or ""))
        except COMMUNICATION_ERRORS as error:
            logger.debug("could not sign off: %s", error)
