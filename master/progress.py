"""Shows how a study goes on: a bar on a terminal, a line for each evaluation anywhere else."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from master.brackets import evaluations_per_budget
from master.loop import Progress
from master.samplers import make_sampler
from results.records import Status, StudySpec, TrialResult


class ProgressDisplay:
    """A context manager; ``show`` is the master's callback.

    Args:
        spec: The study.
        stream: Where to; standard error by default.
    """

    def __init__(self, spec: StudySpec, stream: TextIO | None = None) -> None:
        self._spec = spec
        self._stream = stream or sys.stderr
        self._bar: tqdm[None] | None = None

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, progress: Progress) -> None:
        """Draws where the study stands."""
        if progress.last is not None:
            self._write(result_line(progress.last, progress))
        if not self._stream.isatty():
            return
        if self._bar is None:
            self._bar = tqdm(total=progress.n_total, unit="evaluation", file=self._stream, dynamic_ncols=True)
        self._bar.n = progress.n_done
        self._bar.set_postfix_str(state(progress))
        self._bar.refresh()

    def _write(self, line: str) -> None:
        if self._bar is None:
            print(line, file=self._stream, flush=True)
        else:
            self._bar.write(line, file=self._stream)


def schedule_line(spec: StudySpec) -> str:
    """The budgets of a study with the number of evaluations at each, before it starts."""
    schedule = evaluations_per_budget(make_sampler(spec).brackets(spec))
    counts = ", ".join(f"{n} at {budget}" for budget, n in schedule.items())
    return f"Evaluations: {sum(schedule.values())} ({counts} search epochs), proposed by {spec.sampler}"


def result_line(result: TrialResult, progress: Progress) -> str:
    """One evaluation in one line."""
    evaluation = result.evaluation
    trial = "(" + ", ".join(map(str, result.config_id)) + f") at {result.budget} epochs"
    succeeded = evaluation.status is Status.OK
    outcome = f"validation error {evaluation.loss:.4f}" if succeeded else evaluation.status.value
    best = progress.incumbent
    incumbent = (
        "" if best is None else "  (new incumbent)" if best is result else f"  (incumbent {best.evaluation.loss:.4f})"
    )
    width = len(str(progress.n_total))
    return (
        f"[{progress.n_done:>{width}}/{progress.n_total}] {trial:<26} {outcome:<24}"
        f" {result.finished - result.started:6.1f} s  {progress.rate_per_min:5.1f}/min{incumbent}"
    )


def state(progress: Progress) -> str:
    """Rate, workers and incumbent, for the end of the bar."""
    best = progress.incumbent
    incumbent = "none yet" if best is None else f"{best.evaluation.loss:.4f} {best.config_id} at {best.budget}"
    return (
        f"{progress.rate_per_min:.1f}/min, {progress.n_workers} of {progress.n_workers_expected} workers, "
        f"incumbent {incumbent}"
    )
