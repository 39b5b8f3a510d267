"""The display of a study's progress: one line per evaluation, and a bar on a terminal."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from master.brackets import evaluations_per_budget
from master.loop import Progress
from master.samplers import make_sampler
from results.records import Status, StudySpec, TrialResult


class ProgressDisplay:
    """Displays the progress of a study, as a context manager; ``show`` is the master's callback.

    Args:
        spec: The study.
        stream: Stream to write to; standard error by default.
    """

    def __init__(self, spec: StudySpec, stream: TextIO | None = None) -> None:
        self._spec = spec
        self._stream = stream or sys.stderr
        self._bar: tqdm[None] | None = None

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        if self._bar is not None:
            with suppress(OSError, ValueError):
                self._bar.close()

    def show(self, progress: Progress) -> None:
        """Draws the state of the study; a terminal that is closed, or a full disk behind it, ends nothing."""
        with suppress(OSError, ValueError):
            self._draw(progress)

    def _draw(self, progress: Progress) -> None:
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


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints a text, on standard output by default; what cannot be shown ends nothing."""
    with suppress(OSError, ValueError):
        print(text, file=stream or sys.stdout, flush=True)


def schedule_line(spec: StudySpec) -> str:
    """Writes the budgets of a study with the number of evaluations at each, before the study starts."""
    schedule = evaluations_per_budget(make_sampler(spec).brackets(spec))
    counts = ", ".join(f"{n} at {budget}" for budget, n in schedule.items())
    return f"Evaluations: {sum(schedule.values())} ({counts} search epochs), proposed by {spec.sampler}"


def result_line(result: TrialResult, progress: Progress) -> str:
    """Writes one evaluation as one line."""
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
    """Writes rate, workers and incumbent, for the end of the bar."""
    best = progress.incumbent
    incumbent = "none yet" if best is None else f"{best.evaluation.loss:.4f} {best.config_id} at {best.budget}"
    return (
        f"{progress.rate_per_min:.1f}/min, {progress.n_workers} of {progress.n_workers_expected} workers, "
        f"incumbent {incumbent}"
    )
