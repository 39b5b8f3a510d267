"""The command ``run_bohb.py baselines``: typed options, and what to do with them."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tqdm import tqdm
from typing_extensions import Doc

from nas.blackbox import BASELINES
from nas.tabular import TABLES
from spaces import SEARCH_SPACES

if TYPE_CHECKING:
    from nas.blackbox.experiment_file import ExperimentFile
    from nas.blackbox.problem import Problem
    from nas.blackbox.trajectory import Trajectory

#: Full trainings of a repeat, as in the paper, where no limit is given.
_EVALUATIONS = 280


@dataclass(frozen=True)
class Baselines:
    """Run black-box baselines on a table, many repeats of each, and print what they end with.

    The same command goes on where it was interrupted; more repeats and more methods are added to the same file.

    Attributes:
        evaluations: Full trainings whose epochs a repeat may use up; 280, as in the paper, without a time limit.
        time_limit_s: Simulated seconds of a repeat, in place of a number of evaluations.
        repeats: Repeats of each method.
        drawn: Answer with one of the table's trainings, drawn once for each cell and number of epochs of a repeat,
            and not with their mean.
        seed: Seed of the experiment.
        processes: Number of processes; by default one for each processor.
        output: File of the experiment; by default ``runs/baselines-<table>-<search space>.jsonl``.
    """

    methods: Annotated[tuple[str, ...], Doc(f"Baselines, some of: {', '.join(BASELINES)}.")] = (
        "random_search",
        "regularized_evolution",
        "reinforce",
        "hyperband",
        "bohb",
    )
    search_space: Annotated[str, Doc(f"Search space: {' or '.join(SEARCH_SPACES)}.")] = "1"
    table: Annotated[str, Doc(f"{' or '.join(TABLES)}, or the path of a table's directory.")] = "digits"
    evaluations: int | None = None
    time_limit_s: float | None = None
    repeats: int = 500
    drawn: bool = False
    seed: int = 0
    processes: int | None = None
    output: Path | None = None

    def run(self) -> int:
        """Runs what the file lacks, with a progress bar, and prints a table of all that it holds."""
        from nas.blackbox.experiment import header_of, open_problem, run_experiment
        from nas.blackbox.experiment_file import ExperimentFile, ExperimentSpec
        from nas.tabular import portable_name

        is_unlimited = self.evaluations is None and self.time_limit_s is None
        spec = ExperimentSpec(
            search_space=self.search_space,
            table=portable_name(self.table),
            seed=self.seed,
            evaluations=_EVALUATIONS if is_unlimited else self.evaluations,
            time_limit_s=self.time_limit_s,
            is_drawn=self.drawn,
        )
        header = header_of(spec)
        default = Path("runs") / f"baselines-{Path(self.table).stem}-{self.search_space}.jsonl"
        file = ExperimentFile.create_or_open(self.output or default, header)
        held = sum(len(file.done(method) & set(range(self.repeats))) for method in set(self.methods))
        total = self.repeats * len(set(self.methods))
        with tqdm(total=total, initial=held, unit="repeat", desc="baselines", disable=None) as bar:

            def show(n_repeats: int) -> None:
                bar.update(n_repeats)

            processes = os.cpu_count() or 1 if self.processes is None else self.processes
            run_experiment(file, self.methods, self.repeats, n_processes=processes, on_done=show)
        print("\n".join([f"Results: {file.path}", *_summary(file, open_problem(spec))]))
        return 0


def _summary(file: "ExperimentFile", problem: "Problem") -> Iterator[str]:
    """What the repeats of each method ended with, one line per method."""
    answers = "one training, drawn once for each cell" if file.header.experiment.is_drawn else "mean of the trainings"
    yield f"Search space {problem.space.name}, table {problem.table.name}, answers: {answers}"
    yield "Regret at the end of a repeat, against the best mean in the space: mean ± standard deviation of the repeats"
    yield f"{'':<22}{'repeats':>8}{'evaluations':>12}{'hours':>9}  {'validation regret':<19}test regret"
    for method, trajectories in file.trajectories(problem).items():
        yield _line(method, trajectories, file)


def _line(method: str, trajectories: "list[Trajectory]", file: "ExperimentFile") -> str:
    import numpy as np

    best = [(t, t.incumbents()[-1]) for t in trajectories]
    validation = np.array([t.mean_validation_error[i] for t, i in best]) - file.header.best_validation_error
    test = np.array([t.mean_test_error[i] for t, i in best]) - file.header.best_test_error
    evaluations = np.mean([len(t.indices) for t in trajectories])
    hours = np.mean([t.end_s[-1] for t in trajectories]) / 3600
    return (
        f"{method:<22}{len(trajectories):>8}{evaluations:>12.1f}{hours:>9.2f}  "
        f"{f'{validation.mean():.5f} ± {validation.std():.5f}':<19}{test.mean():.5f} ± {test.std():.5f}"
    )
