"""The loop that joins a tuner, a dispatcher and a recorder; all changes of a study happen in one thread.

hpbandster's master starts threads in its constructor and waits without time-outs.  It updates iterations and models
in the callbacks of the network, where an exception ends a thread and the run stalls.

Here the dispatcher queues finished jobs.  Only ``MasterLoop.run``, in the caller's thread, records results, promotes
rungs and teaches the model.  Therefore any exception ends the run, with its traceback.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from master.dispatcher import Dispatcher
from master.jobs import TrialJob
from master.limits import Spending, StudyLimits
from master.recorder import Recorder
from master.settings import WaitSettings
from master.signals import StopFlag
from master.status_file import StatusFile
from master.tuner import Tuner
from results.journal import JournalGoneError
from results.master_status import Ending
from results.records import ConfigId, Status, TrialResult

logger = logging.getLogger("nasbohb.master")

#: Number of times that the same bug may occur; the last time ends the run, unless one worker of several had them all.
MAX_EQUAL_BUGS = 3


class StudyFailedError(RuntimeError):
    """The study cannot go on: a bug keeps coming back, there are no workers, or nothing can be written."""


@dataclass(frozen=True)
class Progress:
    """The state of a study.

    Attributes:
        n_done: Number of evaluations that have an outcome.
        n_total: Number of evaluations of the whole study.
        elapsed_s: Seconds since the master started.
        n_workers: Number of workers that are registered now.
        n_workers_expected: Number of workers for which the study is planned.
        running: Configuration and budget of each job that a worker is busy with.
        incumbent: Result with the lowest validation error so far, at any budget.
        last: Result that has just arrived; None if the call only reports that time passes.
        n_before: Number of these evaluations that earlier masters had recorded.
        ending: Way in which the master ended; None while it runs.
    """

    n_done: int
    n_total: int
    elapsed_s: float
    n_workers: int
    n_workers_expected: int
    running: tuple[tuple[ConfigId, int], ...]
    incumbent: TrialResult | None
    last: TrialResult | None
    n_before: int = 0
    ending: Ending | None = None

    @property
    def rate_per_min(self) -> float:
        """Evaluations per minute, on average since the master started."""
        return 60 * (self.n_done - self.n_before) / self.elapsed_s if self.elapsed_s > 0 else 0.0


class MasterLoop:
    """One run of a study from its first job to its last result."""

    def __init__(
        self,
        tuner: Tuner,
        dispatcher: Dispatcher,
        recorder: Recorder,
        status: StatusFile,
        *,
        before: Sequence[TrialResult] = (),
        wait_settings: WaitSettings | None = None,
        limits: StudyLimits | None = None,
        stop: StopFlag | None = None,
        comes_back: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Prepares everything; nothing runs before ``run``.

        Args:
            tuner: Tuner, which decides what runs next.
            dispatcher: Dispatcher, which hands trials to workers; the caller starts it and ends it.
            recorder: Recorder of configurations and results.
            status: Writer of the master's status.
            before: Results that the journal holds already, of which the tuner knows.
            wait_settings: Limits of the waits; None for the defaults.
            limits: Limits of the study; None for none.
            stop: Flag that ends the run; None for none.
            comes_back: True if the flag stands for a pause, until another master goes on.
            on_progress: Callback in this thread, at the start, after each result, and every few seconds without one.
        """
        self._tuner = tuner
        self._dispatcher = dispatcher
        self._recorder = recorder
        self._status = status
        self._waiting = wait_settings or WaitSettings()
        self._spending = Spending(limits or StudyLimits(), before)
        self._stop = stop or StopFlag()
        self._comes_back = comes_back
        self._on_progress = on_progress or (lambda progress: None)
        self._n_before = self._n_announced = tuner.n_done
        self._n_out = 0  # submitted and not finished
        self._unannounced: list[TrialResult] = []
        self._unwritten_s: float | None = None  # time of the first attempt that failed
        self._write_error = ""
        succeeded = [result for result in before if result.evaluation.status is Status.OK]
        self._incumbent = min(succeeded, key=lambda result: result.evaluation.loss, default=None)
        self._bugs: Counter[str] = Counter()
        self._workers_with: defaultdict[str, set[str]] = defaultdict(set)  # by bug
        self._started_s = self._last_worker_s = self._last_message_s = time.monotonic()

    def run(self) -> Ending:
        """Runs the study to its end, to a limit, or until the flag is set.

        Raises:
            StudyFailedError: The same bug occurred ``MAX_EQUAL_BUGS`` times, there was no worker for
                ``no_worker_limit_s``, the run's directory is gone, or nothing could be written for ``write_limit_s``.
            DispatcherError: A thread of the dispatcher has died.
        """
        self._started_s = self._last_worker_s = time.monotonic()
        self._on_progress(self.progress())
        while self._tuner.n_to_repeat:  # their workers may come back with them
            self._submit_next()
        while not (self._tuner.is_done and not self._recorder.n_unwritten):
            if self._stop.signal is not None:
                return Ending.SUSPENDED if self._comes_back else Ending.INTERRUPTED
            if self.limit_reached() is not None:
                return Ending.LIMIT
            self._take_results(timeout_s=min(1.0, self._waiting.message_interval_s))
            self._dispatcher.check()
            self._watch_workers()
            self._submit_jobs()
            if self._commit():  # while the workers are busy already
                self._announce()
        return Ending.FINISHED

    def settle(self) -> None:
        """Records what has arrived since; called when the dispatcher takes no more reports.

        Raises:
            StudyFailedError: Results could not be written; the message says how many.
        """
        self._take_results(timeout_s=0.0)
        try:
            self._recorder.commit()
        except (OSError, JournalGoneError) as error:
            raise StudyFailedError(f"{self._recorder.n_unwritten} results could not be written: {error}") from error
        self._announce()

    def limit_reached(self) -> str | None:
        """Names the limit of the study that is reached; None if there is none."""
        return self._spending.reached(time.monotonic() - self._started_s)

    def progress(self, last: TrialResult | None = None) -> Progress:
        """Returns the state of the study; ``last`` is the result that has just arrived."""
        return Progress(
            n_done=self._n_announced,
            n_total=self._tuner.n_total,
            elapsed_s=time.monotonic() - self._started_s,
            n_workers=len(self._dispatcher.workers()),
            n_workers_expected=self._tuner.spec.n_workers,
            running=tuple((job.trial.config_id, job.trial.budget) for job in self._dispatcher.running()),
            incumbent=self._incumbent,
            last=last,
            n_before=self._n_before,
        )

    def _take_results(self, timeout_s: float) -> None:
        """Takes all results that are there, waiting a little for the first; records them and tells the tuner."""
        for job in self._dispatcher.finished(timeout_s):
            result = job.result()
            self._n_out -= 1
            self._recorder.take_result(result)
            if result.evaluation.status is Status.BUG:
                self._workers_with[bug_kind(result.evaluation.error or "")].update(job.bugs)
            self._tuner.tell(result)
            self._spending.add(result)
            self._unannounced.append(result)
        for report in self._dispatcher.late():
            try:
                self._recorder.write_late(report)
            except (OSError, ValueError) as error:
                logger.warning("a late report was not recorded: %s", error)

    def _commit(self) -> bool:
        """Writes what was taken; returns whether all of it is on disk.

        Raises:
            StudyFailedError: The run's directory is gone, or nothing could be written for ``write_limit_s``.
        """
        now = time.monotonic()
        try:
            self._recorder.commit()
        except JournalGoneError as error:
            raise StudyFailedError(str(error)) from error
        except OSError as error:
            if self._unwritten_s is None:
                self._unwritten_s = now
                logger.warning(
                    "cannot write %s: %s; results are kept in memory, and writing is tried again",
                    error.filename, error.strerror,
                )  # fmt: skip
            self._write_error = f"cannot write {error.filename}: {error.strerror}"
            if now - self._unwritten_s > self._waiting.write_limit_s:
                raise StudyFailedError(f"{self._write_error}, for {self._waiting.write_limit_s:.0f} s") from error
            return False
        if self._unwritten_s is not None:
            logger.warning("writing works again; nothing was lost in %.0f s", now - self._unwritten_s)
            self._unwritten_s = None
        return True

    def _submit_jobs(self) -> None:
        while self._n_out < self._capacity() and self._submit_next():
            pass

    def _submit_next(self) -> bool:
        """Submits the next trial; returns whether there is one."""
        trial = self._tuner.ask()
        if trial is None:
            return False
        proposal = self._tuner.proposals[trial.config_id]
        self._recorder.take_config(trial.config_id, proposal)
        self._n_out += 1
        self._dispatcher.submit(TrialJob(trial, proposal.model_based, submitted=time.time()))
        return True

    def _capacity(self) -> int:
        """Number of jobs to have under way: no more than workers, so that proposals know the most results."""
        n_workers = len(self._dispatcher.workers())
        return 0 if not self._tuner.proposals and n_workers < self._waiting.min_workers else n_workers

    def _watch_workers(self) -> None:
        """Reports the number of workers every few seconds; raises if there has been no worker for too long."""
        now = time.monotonic()
        n_workers, expected = len(self._dispatcher.workers()), self._tuner.spec.n_workers
        if n_workers:
            self._last_worker_s = now
        elif now - self._last_worker_s > self._waiting.no_worker_limit_s:
            raise StudyFailedError(
                f"none of {expected} workers was registered for {self._waiting.no_worker_limit_s:.0f} s; start "
                "workers on the same run directory, and look into their logs"
            )
        if now - self._last_message_s < self._waiting.message_interval_s:
            return
        self._last_message_s = now
        if n_workers < expected and (n_workers == 0 or self._n_announced == self._n_before):
            logger.info("%d of %d workers registered", n_workers, expected)
        try:
            self._recorder.check()
        except JournalGoneError as error:
            raise StudyFailedError(str(error)) from error
        except OSError as error:
            logger.debug("could not look after the journal: %s", error)  # a write will say so
        problems = self._dispatcher.problems()
        self._status.update(
            self._dispatcher.statuses(), problems if self._unwritten_s is None else (*problems, self._write_error)
        )
        self._on_progress(self.progress())

    def _announce(self) -> None:
        results, self._unannounced = self._unannounced, []
        for result in results:
            self._announce_one(result)

    def _announce_one(self, result: TrialResult) -> None:
        """Counts a result that is on disk, and reports it.

        Raises:
            StudyFailedError: The same bug has occurred ``MAX_EQUAL_BUGS`` times, on several workers if there are more.
        """
        self._n_announced += 1
        evaluation, best = result.evaluation, self._incumbent
        if evaluation.status is Status.OK and (best is None or evaluation.loss < best.evaluation.loss):
            self._incumbent = result
        self._on_progress(self.progress(result))
        if evaluation.status is Status.OK:
            return
        name, error = f"{result.config_id} at {result.budget} epochs", evaluation.error or ""
        logger.warning("%s ended as %s: %s", name, evaluation.status.value, error)
        if evaluation.status is Status.BUG:
            kind = bug_kind(error)
            self._bugs[kind] += 1
            agree = len(self._workers_with[kind]) > 1 or self._tuner.spec.n_workers == 1
            if self._bugs[kind] >= MAX_EQUAL_BUGS and agree:
                raise StudyFailedError(
                    f"the same bug occurred {self._bugs[kind]} times; the last time in {name}:\n{error}"
                )


def bug_kind(error: str) -> str:
    """Names the kind of a bug by the exception's class and the line of code that raised it.

    Reports that make no sense have no traceback and count as one kind.
    """
    lines = error.strip().splitlines()
    places = [line.strip() for line in lines if line.startswith("  File ")]
    return f"{places[-1]} {lines[-1].partition(':')[0]}" if places else "no traceback"
