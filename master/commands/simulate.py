"""The command ``run_bohb.py simulate``, and the plan of a study."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from master.virtual import Fleet, VirtualRun
    from results.reading import RunJournals
    from results.records import StudySpec

#: Over the lines of simulated studies.
_SIMULATED_HEAD = "workers evaluations     hours speed-up  idle model-based  lost preempted"


@dataclass(frozen=True)
class Simulate:
    """Say what a recorded study would have taken with other numbers of workers, in virtual time.

    The study is run anew by its own tuner. A trial that the run holds takes as long, and ends, as it did there; any
    other one as a recorded trial at the same budget, drawn by chance.

    Attributes:
        run_dir: Directory of the run.
        workers: Numbers of workers.
        preempt_every_h: Hours after which each worker is preempted; its job runs again elsewhere.
        lose_every_h: Mean hours until a worker is lost with its job.
        replace_s: Seconds until a new worker takes the place of one that is gone.
        limit_h: Wall-clock hours after which the study ends.
        seed: Seed of the losses.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    workers: tuple[int, ...] = (1, 16, 64, 1000)
    preempt_every_h: float = float("inf")
    lose_every_h: float = float("inf")
    replace_s: float = 0.0
    limit_h: float = float("inf")
    seed: int = 0

    def run(self) -> int:
        """Prints a line for each number of workers."""
        from master.samplers import make_sampler
        from master.tuner import Tuner
        from master.virtual import Fleet, RecordedAnswers, simulate
        from results.reading import read_journals
        from results.run_directory import RunDirectory
        from results.warm_start import read_warm_start

        for name in ("preempt_every_h", "lose_every_h", "limit_h"):
            if not getattr(self, name) > 0:
                option = name.replace("_", "-")
                raise ValueError(f"--{option}: got {getattr(self, name)}, expected a number of hours above 0")
        fleets = [
            Fleet(
                n_workers=n_workers,
                lifetime_s=self.preempt_every_h * 3600,
                mean_time_to_loss_s=self.lose_every_h * 3600,
                replacement_s=self.replace_s,
                limit_s=self.limit_h * 3600,
                seed=self.seed,
            )
            for n_workers in self.workers
        ]
        run = RunDirectory.open(self.run_dir)
        spec, journals = run.spec(), read_journals(run)
        if not journals.results:
            raise ValueError(f"{self.run_dir}: got a run without results, expected some to tell how long a trial takes")
        print("\n".join(_recorded_lines(spec, journals)), flush=True)
        for fleet in fleets:
            answers = RecordedAnswers(journals.results)
            done = simulate(Tuner(spec, make_sampler(spec), read_warm_start(run)), answers, fleet)
            own = answers.n_own / max(answers.n_own + answers.n_drawn, 1)
            print(f"{_simulated_line(fleet, done)}{own:>12.0%}", flush=True)
        return 0


def _recorded_lines(spec: "StudySpec", journals: "RunJournals") -> Iterator[str]:
    """What the run itself took, and the head of the table."""
    results = journals.results
    took_h = (max(r.finished for r in results) - min(r.submitted for r in results)) / 3600
    busy_h = sum(r.finished - r.started for r in results) / 3600
    share = sum(proposal.model_based for proposal in journals.configs.values()) / len(journals.configs)
    yield (
        f"Recorded: {len(results)} evaluations on {spec.n_workers} workers in {took_h:.3f} h, {busy_h:.3f} h of "
        f"trials, {share:.0%} of the configurations model-based"
    )
    yield f"{_SIMULATED_HEAD}{'as recorded':>12}"


def print_plan(spec: "StudySpec", seconds_per_epoch: float | Literal["measure"]) -> None:
    """Prints what a study would take, with its workers, with one, and with twice as many.

    Raises:
        ValueError: The seconds are no number above 0, or the search to measure has failed.
    """
    from master.progress import schedule_line
    from master.samplers import make_sampler
    from master.study import complete_study
    from master.tuner import Tuner
    from master.virtual import Fleet, PlannedAnswers, simulate
    from master.warm_start import earlier_results

    spec, how = complete_study(spec), ""
    print(schedule_line(spec), flush=True)
    if seconds_per_epoch == "measure":
        print("Measuring an epoch of the default configuration's search.", flush=True)
        seconds_per_epoch, how = _measured_epoch_s(spec), ", as measured for one search alone"
    earlier = [each.result for each in earlier_results(spec)]
    answers = PlannedAnswers(seconds_per_epoch)
    print(f"Nothing is started. At {seconds_per_epoch:.3g} s per search epoch{how}:\n{_SIMULATED_HEAD}")
    for n_workers in sorted({1, spec.n_workers, 2 * spec.n_workers}):
        fleet = Fleet(n_workers=n_workers)
        print(_simulated_line(fleet, simulate(Tuner(spec, make_sampler(spec), earlier), answers, fleet)))


def _measured_epoch_s(spec: "StudySpec") -> float:
    """Measures the wall-clock seconds of one epoch of the default configuration's search, on this machine.

    All that a trial does in an epoch counts, up to its saved checkpoint. The first epoch does not count, because it
    also prepares; nor does a warm start, in which only the weights learn; nor does the last one, which selects.

    Raises:
        ValueError: The search has failed.
    """
    from results.epoch import EpochRecord
    from results.records import TrialSpec
    from worker.objective import evaluate, search_spec
    from worker.outcome import TrialAbandonedError

    trial = TrialSpec(
        study=spec, config_id=(0, 0, 0), budget=spec.max_budget + 2, config=spec.default_config, seed=spec.seed
    )
    n_before = search_spec(trial).warm_start_epochs + 1
    ends: list[float] = []

    def note(epoch: EpochRecord) -> None:
        ends.append(time.perf_counter())
        if len(ends) > n_before:
            raise TrialAbandonedError

    try:
        with TemporaryDirectory(prefix="nasbohb-plan-") as folder:
            outcome = evaluate(trial, Path(folder), on_saved=note)
    except TrialAbandonedError:
        return ends[-1] - ends[-2]
    raise ValueError(
        f"--plan measure: the search of the default configuration ended as {outcome.status.value} ({outcome.error}); "
        "give the seconds of one search epoch"
    )


def _simulated_line(fleet: "Fleet", done: "VirtualRun") -> str:
    serial_s = sum(result.finished - result.started for result in done.results)
    speed_up = serial_s / done.duration_s if done.duration_s else 0.0
    return (
        f"{fleet.n_workers:>7}{len(done.results):>12}{done.duration_s / 3600:>10.3f}"
        f"{speed_up:>9.1f}{done.idle_share:>6.0%}{done.model_based_share:>12.0%}"
        f"{done.n_lost:>6}{done.n_preempted:>10}"
    )
