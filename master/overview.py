"""The state of a study, from the files of its run alone: while it goes on, and afterwards."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from master.brackets import evaluations_per_budget
from master.samplers import make_sampler
from results.master_status import Ending, MasterStatus, WorkerStatus, read_status
from results.reading import first_results, read_journals
from results.records import Status, StudySpec, TrialResult
from results.run_directory import RunDirectory

#: Number of update intervals without a sign of the master after which it is believed to be gone.
_MISSED_UPDATES = 4


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The state of a study.

    Attributes:
        spec: The study.
        master: State of the last master; None before the first one.
        is_running: True if the master seems to live: it has not ended, and has written lately.
        now: Unix seconds of the reading.
        schedule: Budget, ascending, to the number of the study's evaluations at it.
        results: Results so far, one per trial.
        n_configs: Number of configurations so far.
        model_based_share: Share of these that the model proposed; 0 without any.
        n_late: Number of second reports.
        rate_per_min: Evaluations per minute since the master started; None without a result since.
        left_s: Estimate of the seconds to the end with the workers that are there; None if it is unknown.
    """

    spec: StudySpec
    master: MasterStatus | None
    is_running: bool
    now: float
    schedule: Mapping[int, int]
    results: Sequence[TrialResult]
    n_configs: int
    model_based_share: float
    n_late: int
    rate_per_min: float | None
    left_s: float | None

    @property
    def workers(self) -> tuple[WorkerStatus, ...]:
        """The workers; none if the master is gone."""
        return self.master.workers if self.master is not None and self.is_running else ()

    @property
    def incumbent(self) -> TrialResult | None:
        """The result with the lowest validation error, at any budget; None before the first success."""
        succeeded = [result for result in self.results if result.evaluation.status is Status.OK]
        return min(succeeded, key=lambda result: result.evaluation.loss, default=None)


def read_overview(run: RunDirectory, now: float | None = None) -> Overview:
    """Reads the state of a run.

    Args:
        run: The run; nothing is written to it.
        now: Unix seconds that count as the present; None for the clock.

    Raises:
        ValueError: The run's description or its status is damaged.
        OSError: A file cannot be read.
    """
    now = time.time() if now is None else now
    spec, journals, master = run.spec(), read_journals(run), read_status(run)
    results = first_results(journals.results)
    schedule = evaluations_per_budget(make_sampler(spec).brackets(spec))
    proposals = journals.configs.values()
    return Overview(
        spec=spec,
        master=master,
        is_running=_is_running(master, now),
        now=now,
        schedule=schedule,
        results=results,
        n_configs=len(proposals),
        model_based_share=sum(proposal.model_based for proposal in proposals) / max(len(proposals), 1),
        n_late=_n_lines(run),
        rate_per_min=_rate_per_min(master, results),
        left_s=_left_s(master, results, schedule) if _is_running(master, now) else None,
    )


def _is_running(master: MasterStatus | None, now: float) -> bool:
    if master is None or master.ending is not None:
        return False
    return now - master.updated <= _MISSED_UPDATES * master.interval_s + 10


def _n_lines(run: RunDirectory) -> int:
    try:
        return run.late_jsonl.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _rate_per_min(master: MasterStatus | None, results: Iterable[TrialResult]) -> float | None:
    if master is None:
        return None
    ends = [result.finished for result in results if result.finished >= master.started]
    if not ends:
        return None
    until = max(ends) if master.ending is not None else max(master.updated, *ends)
    return 60 * len(ends) / max(until - master.started, 1e-9)


def _left_s(master: MasterStatus | None, results: Sequence[TrialResult], schedule: Mapping[int, int]) -> float | None:
    """Divides the time of all missing trials by the number of workers; knows nothing of who waits for whom."""
    if master is None or not master.workers or not results:
        return None
    done = Counter(result.budget for result in results)
    epochs = sum(result.budget for result in results)
    epoch_s = sum(result.finished - result.started for result in results) / epochs
    left_s = 0.0
    for budget, total in schedule.items():
        took = [result.finished - result.started for result in results if result.budget == budget]
        left_s += (total - done[budget]) * (sum(took) / len(took) if took else budget * epoch_s)
    return left_s / len(master.workers)


def state_line(overview: Overview) -> str:
    """Says in a sentence whether the study runs, has ended, or stands still, and what to do then."""
    master = overview.master
    if master is None:
        return "No master has started yet."
    where = f"process {master.process_id} on {master.host}"
    if overview.is_running:
        return f"Running: master {where}, for {duration(master.updated - master.started)}."
    if master.ending is Ending.FINISHED:
        return "Finished."
    go_on = "`run_bohb.py master --resume RUN`, or `study --resume RUN`, goes on with it."
    if master.ending is None:
        silence = duration(overview.now - master.updated)
        return f"Standing still: master {where} has written nothing for {silence}; unless it is stopped, {go_on}"
    if master.ending is Ending.SUSPENDED:
        return f"Suspended: its scheduler starts the master again; if it does not, {go_on}"
    why = f": {master.message.splitlines()[0]}" if master.message else ""
    return f"Ended ({master.ending.value}{why}); {go_on}"


def overview_text(overview: Overview) -> str:
    """Writes the state of a study in lines."""
    spec, done = overview.spec, Counter(result.budget for result in overview.results)
    n_done, n_total = len(overview.results), sum(overview.schedule.values())
    counts = ", ".join(f"{done[budget]} of {total} at {budget}" for budget, total in overview.schedule.items())
    lines = [
        f"Study {spec.run_id}: {spec.optimizer} on search space {spec.search_space}, {spec.config_space}",
        state_line(overview),
        f"Evaluations: {n_done} of {n_total} ({counts} search epochs){_pace(overview)}",
    ]
    failures = Counter(result.evaluation.status.value for result in overview.results)
    failures.pop(Status.OK.value, None)
    if failures:
        lines.append("Failures: " + ", ".join(f"{n} {status}" for status, n in failures.most_common()))
    if overview.n_late:
        lines.append(f"Late reports, which do not count: {overview.n_late}")
    if overview.n_configs:
        lines.append(f"Configurations: {overview.n_configs}, {overview.model_based_share:.0%} proposed by the model")
    best = overview.incumbent
    if best is not None:
        config = ", ".join(
            f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
            for name, value in best.config.items()
        )
        lines.append(
            f"Incumbent: {best.config_id} at {best.budget} epochs, validation error {best.evaluation.loss:.4f}; "
            f"{config}"
        )
    if overview.is_running:
        lines.extend(_worker_lines(overview))
    return "\n".join(lines)


def _pace(overview: Overview) -> str:
    rate = "" if overview.rate_per_min is None else f", {overview.rate_per_min:.1f} per minute"
    return rate if overview.left_s is None else f"{rate}, about {duration(overview.left_s)} left"


def _worker_lines(overview: Overview) -> list[str]:
    assert overview.master is not None, "somebody runs the study"
    lines = [f"Workers: {len(overview.workers)} of {overview.spec.n_workers}"]
    for worker in overview.workers:
        does = "idle"
        if worker.config_id is not None:
            since = "" if worker.since is None else f", for {duration(overview.master.updated - worker.since)}"
            does = f"{worker.config_id}, epoch {worker.epochs} of {worker.budget} saved{since}"
        lines.append(f"  {worker.name:<28} {worker.n_done:>4} done   {does}")
    return [*lines, *(f"Problem: {problem}" for problem in overview.master.problems)]


def duration(seconds: float) -> str:
    """Writes seconds in the unit that fits: 42 s, 12 min, 3.5 h, 2.1 days."""
    for limit, unit, form in ((120, 1, "{:.0f} s"), (7200, 60, "{:.0f} min"), (172_800, 3600, "{:.1f} h")):
        if seconds < limit:
            return form.format(max(seconds, 0.0) / unit)
    return f"{seconds / 86_400:.1f} days"
