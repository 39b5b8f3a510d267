"""hpbandster's master, with everything that changes its state in one thread.

hpbandster's starts threads in its constructor, waits without time-outs, and updates iterations and models in
the callbacks of the network, where an exception ends a thread and the run stalls.  Here the dispatcher puts
finished jobs into a queue, and ``run``, in the caller's thread, is the only place where results are recorded,
rungs are promoted and the model learns: any exception ends the run, with its traceback.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hpbandster.core.master import Master
from hpbandster.optimizers.iterations import SuccessiveHalving

from master.brackets import bracket, evaluations_per_budget, ladder
from master.dispatcher import Dispatcher, DispatcherSettings
from master.jobs import TrialJob
from master.proposals import Proposals
from master.recorder import Recorder
from results.credentials import Credentials
from results.records import ConfigId, Status, StudySpec, TrialResult, TrialSpec, Value

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


def trial_seed(study_seed: int, config_id: ConfigId, budget: int) -> int:
    """The seed of a trial, in 0..2^32-1: nearby trials get unrelated ones, the same trial always the same."""
    return int(np.random.SeedSequence([study_seed, *config_id, budget]).generate_state(1)[0])


class BohbMaster(Master):
    """BOHB over hpbandster's successive halving."""

    def __init__(
        self,
        spec: StudySpec,
        credentials: Credentials,
        host: str,
        proposals: Proposals,
        recorder: Recorder,
        *,
        dispatcher_settings: DispatcherSettings | None = None,
        wait_settings: WaitSettings | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Prepares everything; no thread runs and nothing listens before ``run``.

        hpbandster's constructor is not called: it starts a dispatcher of its own.  All that its other
        methods read is set here.

        Raises:
            ValueError: The study's budgets make no ladder.
        """
        self.spec = spec
        self.budgets = ladder(spec.min_budget, spec.max_budget, spec.eta)
        self.config_generator = proposals
        self.result_logger = recorder
        self.logger = logging.getLogger("hpbandster")
        self.iterations: list[SuccessiveHalving] = []
        self.num_running_jobs = 0
        self.job_queue_sizes = (-1, 0)
        self.thread_cond = threading.Condition()
        self._waiting = wait_settings or WaitSettings()
        self._on_progress = on_progress or (lambda progress: None)
        # Finished jobs; None only wakes the thread, because workers came or went.
        self._finished: queue.SimpleQueue[TrialJob | None] = queue.SimpleQueue()
        self.dispatcher = Dispatcher(
            credentials, host, self._finished.put, lambda n_workers: self._finished.put(None), dispatcher_settings
        )
        self._n_done = 0
        self._n_total = sum(evaluations_per_budget(spec.n_iterations, self.budgets, spec.eta).values())
        self._incumbent: TrialResult | None = None
        self._bugs: Counter[str] = Counter()
        self._started_s = self._last_worker_s = self._last_message_s = time.monotonic()

    def run(self) -> None:
        """Runs the study to its end; call ``shutdown`` afterwards, whatever happened.

        Raises:
            StudyFailedError: The same bug occurred ``MAX_EQUAL_BUGS`` times, or there was no worker for
                ``no_worker_limit_s``.
            DispatcherError: A thread of the dispatcher has died.
            OSError: The host is no address of this machine, or a result could not be written.
        """
        self._started_s = self._last_worker_s = time.monotonic()
        self.dispatcher.run()
        try:
            while self._n_done < self._n_total:
                results = self._take_results(timeout_s=min(1.0, self._waiting.message_interval_s))
                self.dispatcher.check()
                self._watch_workers()
                self._submit_jobs()
                self.result_logger.commit()  # while the workers are busy already
                for result in results:
                    self._announce(result)
        finally:
            self.result_logger.commit()

    def shutdown(self, shutdown_workers: bool = True) -> None:
        """Ends the dispatcher, and by default the workers."""
        self.dispatcher.shutdown(shutdown_workers)

    def progress(self, last: TrialResult | None = None) -> Progress:
        """Where the study stands, ``last`` being the result that has just arrived."""
        return Progress(
            n_done=self._n_done,
            n_total=self._n_total,
            elapsed_s=time.monotonic() - self._started_s,
            n_workers=self.dispatcher.number_of_workers(),
            n_workers_expected=self.spec.n_workers,
            running=tuple((job.trial.config_id, job.trial.budget) for job in self.dispatcher.running()),
            incumbent=self._incumbent,
            last=last,
        )

    def get_next_iteration(self, iteration: int, iteration_kwargs: Mapping[str, Any]) -> SuccessiveHalving:
        """The iteration with this number, with the bracket that is its turn."""
        shape = bracket(iteration, self.budgets, self.spec.eta)
        return SuccessiveHalving(
            HPB_iter=iteration,
            num_configs=list(shape.sizes),
            budgets=list(shape.budgets),
            config_sampler=self.config_generator.get_config,
            **iteration_kwargs,
        )

    def _take_results(self, timeout_s: float) -> list[TrialResult]:
        """All results that are there, waiting a little for the first; the model has learned them on return."""
        results = []
        try:
            job = self._finished.get(timeout=timeout_s)
            while True:
                if job is not None:
                    results.append(job.outcome)
                    self.job_callback(job)
                job = self._finished.get_nowait()
        except queue.Empty:
            return results

    def _submit_jobs(self) -> None:
        while self.num_running_jobs < self._capacity():
            job = self._next_job()
            if job is None:
                return
            self.num_running_jobs += 1
            self.dispatcher.submit_job(job)

    def _next_job(self) -> TrialJob | None:
        """The next trial that can run now, starting another iteration if none of the active ones has one."""
        for index in self.active_iterations():
            run = self.iterations[index].get_next_run()
            if run is not None:
                return self._job(index, *run)
        if len(self.iterations) == self.spec.n_iterations:
            return None
        self.iterations.append(self.get_next_iteration(len(self.iterations), {"result_logger": self.result_logger}))
        return self._job(len(self.iterations) - 1, *self.iterations[-1].get_next_run())

    def _job(self, index: int, config_id: ConfigId, config: Mapping[str, Value], budget: int) -> TrialJob:
        seed = trial_seed(self.spec.seed, config_id, budget)
        info = self.iterations[index].data[config_id].config_info
        trial = TrialSpec(study=self.spec, config_id=config_id, budget=budget, config=config, seed=seed)
        return TrialJob(trial, info["model_based_pick"])

    def _capacity(self) -> int:
        """How many jobs to have under way: no more than there are workers, so that proposals know the most."""
        n_workers = self.dispatcher.number_of_workers()
        return 0 if not self.iterations and n_workers < self._waiting.min_workers else n_workers

    def _watch_workers(self) -> None:
        """Says every few seconds who is there; fails when nobody has been for too long."""
        now = time.monotonic()
        n_workers, expected = self.dispatcher.number_of_workers(), self.spec.n_workers
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
        if n_workers < expected and (n_workers == 0 or self._n_done == 0):
            logger.info("%d of %d workers registered", n_workers, expected)
        self._on_progress(self.progress())

    def _announce(self, result: TrialResult) -> None:
        """Counts a result that is on disk, and tells everybody.

        Raises:
            StudyFailedError: It is the same bug for the last time.
        """
        self._n_done += 1
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
