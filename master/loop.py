"""The loop that joins a tuner, a dispatcher and a recorder, with everything that changes a study in one thread.

hpbandster's master starts threads in its constructor, waits without time-outs, and updates iterations and models
in the callbacks of the network, where an exception ends a thread and the run stalls.  Here the dispatcher queues
finished jobs, and ``MasterLoop.run``, in the caller's thread, is the only place where results are recorded, rungs
are promoted and the model learns: any exception ends the run, with its traceback.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from master.dispatcher import Dispatcher
from master.jobs import TrialJob
from master.recorder import Recorder
from master.tuner import Tuner
from results.records import ConfigId, Status, TrialResult

logger = logging.getLogger("nasbohb.master")

#: How often the same bug may occur; the last one ends the run.
MAX_EQUAL_BUGS = 3


class StudyFailedError(RuntimeError):
    """The study cannot go on: a bug keeps coming back, or there are no workers."""


@dataclass(frozen=True)
class WaitSettings:
    """How the master waits for workers.

    Attributes:
        min_workers: How many must have registered before the first job is handed out.
        message_interval_s: Seconds between two messages while it waits.
        no_worker_limit_s: Seconds without a single worker after which the study fails.
    """

    min_workers: int = 1
    message_interval_s: float = 5.0
    no_worker_limit_s: float = 24 * 3600.0


@dataclass(frozen=True)
class Progress:
    """Where a study stands.

    Attributes:
        n_done: Evaluations that have an outcome.
        n_total: Evaluations of the whole study.
        elapsed_s: Seconds since the master started.
        n_workers: Workers that are registered now.
        n_workers_expected: Workers that the study was made for.
        running: The configuration and budget of each job that a worker is busy with.
        incumbent: The result with the lowest validation error so far, at any budget.
        last: The result that has just arrived; None where the call only reports that time passes.
    """

    n_done: int
    n_total: int
    elapsed_s: float
    n_workers: int
    n_workers_expected: int
    running: tuple[tuple[ConfigId, int], ...]
    incumbent: TrialResult | None
    last: TrialResult | None

    @property
    def rate_per_min(self) -> float:
        """Evaluations a minute, on average so far."""
        return 60 * self.n_done / self.elapsed_s if self.elapsed_s > 0 else 0.0


class MasterLoop:
    """One run of a study from its first job to its last result."""

    def __init__(
        self,
        tuner: Tuner,
        dispatcher: Dispatcher,
        recorder: Recorder,
        *,
        wait_settings: WaitSettings | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Prepares everything; nothing runs before ``run``.

        Args:
            tuner: What runs next.
            dispatcher: Who runs it; the caller has started it and ends it.
            recorder: What is kept.
            wait_settings: None for the defaults.
            on_progress: Called in this thread after each result, and every few seconds without one.
        """
        self._tuner = tuner
        self._dispatcher = dispatcher
        self._recorder = recorder
        self._waiting = wait_settings or WaitSettings()
        self._on_progress = on_progress or (lambda progress: None)
        self._n_announced = tuner.n_done
        self._n_out = 0  # submitted and not finished
        self._incumbent: TrialResult | None = None
        self._bugs: Counter[str] = Counter()
        self._started_s = self._last_worker_s = self._last_message_s = time.monotonic()

    def run(self) -> None:
        """Runs the study to its end.

        Raises:
            StudyFailedError: The same bug occurred ``MAX_EQUAL_BUGS`` times, or there was no worker for
                ``no_worker_limit_s``.
            DispatcherError: A thread of the dispatcher has died.
            OSError: A result could not be written.
        """
        self._started_s = self._last_worker_s = time.monotonic()
        try:
            while not self._tuner.is_done:
                results = self._take_results(timeout_s=min(1.0, self._waiting.message_interval_s))
                self._dispatcher.check()
                self._watch_workers()
                self._submit_jobs()
                self._recorder.commit()  # while the workers are busy already
                for result in results:
                    self._announce(result)
        finally:
            self._recorder.commit()

    def progress(self, last: TrialResult | None = None) -> Progress:
        """Where the study stands, ``last`` being the result that has just arrived."""
        return Progress(
            n_done=self._n_announced,
            n_total=self._tuner.n_total,
            elapsed_s=time.monotonic() - self._started_s,
            n_workers=len(self._dispatcher.workers()),
            n_workers_expected=self._tuner.spec.n_workers,
            running=tuple((job.trial.config_id, job.trial.budget) for job in self._dispatcher.running()),
            incumbent=self._incumbent,
            last=last,
        )

    def _take_results(self, timeout_s: float) -> list[TrialResult]:
        """All results that are there, waiting a little for the first; the model has learned them on return."""
        results = [job.result() for job in self._dispatcher.finished(timeout_s)]
        for result in results:
            self._n_out -= 1
            self._recorder.take_result(result)
            self._tuner.tell(result)
        return results

    def _submit_jobs(self) -> None:
        while self._n_out < self._capacity():
            trial = self._tuner.ask()
            if trial is None:
                return
            proposal = self._tuner.proposals[trial.config_id]
            self._recorder.take_config(trial.config_id, proposal)
            self._n_out += 1
            self._dispatcher.submit(TrialJob(trial, proposal.model_based, submitted=time.time()))

    def _capacity(self) -> int:
        """How many jobs to have under way: no more than there are workers, so that proposals know the most."""
        n_workers = len(self._dispatcher.workers())
        return 0 if not self._tuner.proposals and n_workers < self._waiting.min_workers else n_workers

    def _watch_workers(self) -> None:
        """Says every few seconds who is there; fails when nobody has been for too long."""
        now = time.monotonic()
        n_workers, expected = len(self._dispatcher.workers()), self._tuner.spec.n_workers
        if n_workers:
            self._last_worker_s = now
        elif now - self._last_worker_s > self._waiting.no_worker_limit_s:
            raise StudyFailedError(
                f"no worker registered for {self._waiting.no_worker_limit_s:.0f} s: got 0 of {expected} workers; start "
                "workers on the same run directory, and look into their logs"
            )
        if now - self._last_message_s < self._waiting.message_interval_s:
            return
        self._last_message_s = now
        if n_workers < expected and (n_workers == 0 or self._n_announced == 0):
            logger.info("%d of %d workers registered", n_workers, expected)
        self._on_progress(self.progress())

    def _announce(self, result: TrialResult) -> None:
        """Counts a result that is on disk, and tells everybody.

        Raises:
            StudyFailedError: It is the same bug for the last time.
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
            if self._bugs[kind] == MAX_EQUAL_BUGS:
                raise StudyFailedError(
                    f"the same bug occurred {MAX_EQUAL_BUGS} times; the last time in {name}:\n{error}"
                )


def bug_kind(error: str) -> str:
    """What makes two bugs the same: the exception's class, and the line of code that raised it.

    Reports that make no sense have no traceback and count as one kind: their workers are of another version.
    """
    lines = error.strip().splitlines()
    places = [line.strip() for line in lines if line.startswith("  File ")]
    return f"{places[-1]} {lines[-1].partition(':')[0]}" if places else "no traceback"
