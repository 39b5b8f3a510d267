"""The commands ``run_bohb.py analyze``, ``importance``, ``export`` and ``compare``."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from analysis.aggregation import StepFunction
    from analysis.contest import Choices, Contest, Problem
    from analysis.load import LoadedRun
    from nas.blackbox.experiment_file import ExperimentSpec

_Runs = Annotated[tuple[Path, ...], tyro.conf.Positional]


@dataclass(frozen=True)
class Analyze:
    """Analyse a run, also while it goes on: incumbents, the default configuration beside them, times, figures.

    Several runs are compared by the figures that take several. A log that hpbandster's own logger wrote is analysed,
    too, and so are folders of single searches (search --directory).

    Attributes:
        run_dirs: Directories of the runs, or folders of searches.
        figure: Name of the only figure to write; by default all that the runs allow, and for one run its summary.
        table: Table to measure the test regret from; by default the study's, for searches the data set's own.
        output: Folder for the files; by default ``report`` in the directory of a single run.
    """

    run_dirs: _Runs
    figure: str | None = None
    table: str | None = None
    output: Path | None = None

    def run(self) -> int:
        """Writes the report, or the figures, and prints what there is to say."""
        from analysis.load import holds_searches
        from analysis.report import analyze, write_figures

        if not self.run_dirs:
            raise ValueError("analyze: no run was named; name the directory of at least one")
        if len(self.run_dirs) == 1 and self.figure is None and not holds_searches(self.run_dirs[0]):
            print(analyze(self.run_dirs[0], table=self.table, output=self.output).text)
        else:
            print(write_figures(self.run_dirs, figure=self.figure, table=self.table, output=self.output).text)
        return 0


@dataclass(frozen=True)
class Importance:
    """Print which hyperparameters, and which pairs of them, make the loss of a run vary (fANOVA), for each budget.

    Attributes:
        run_dirs: Directories of the runs.
        budget: Search epochs of the only budget to look at; by default each, and all together.
        preset: Settings: nasbohb, or those of another tool: automl, optuna, deepcave.
        pairs: Number of pairs per table, the strongest first.
        cutoff: Loss above which differences do not count: a number, default for the default configuration's, or
            a share of the evaluations such as 20%.
        bootstrap: Number of bootstrap samples of the evaluations, for the spread over them.
        seed: Seed of the forests, the shuffled losses and the samples.
    """

    run_dirs: _Runs
    budget: float | None = None
    preset: str = "nasbohb"
    pairs: int = 5
    cutoff: str | None = None
    bootstrap: int = 0
    seed: int = 0

    def run(self) -> int:
        """Prints the tables of each run; 2 where a run has no table."""
        from analysis.evaluations import NoImportancesError
        from analysis.importance_text import importances_text
        from analysis.load import load_runs
        from analysis.run_importances import run_importances

        if not self.run_dirs:
            raise ValueError("importance: no run was named; name the directory of at least one")
        for option, number in (("--pairs", self.pairs), ("--bootstrap", self.bootstrap), ("--seed", self.seed)):
            if number < 0:
                raise ValueError(f"{option}: got {number}, expected no negative number")
        status = 0
        for index, run in enumerate(load_runs(self.run_dirs)):
            try:
                found = run_importances(
                    run,
                    budget=self.budget,
                    preset=self.preset,
                    cutoff=self.cutoff,
                    n_samples=self.bootstrap,
                    seed=self.seed,
                )
            except NoImportancesError as error:
                found = [f"{run.path}: {error}"]
            print(("\n" if index else "") + importances_text(run, found, self.pairs))
            if all(isinstance(each, str) for each in found):
                status = 2
        return status


@dataclass(frozen=True)
class Export:
    """Write the evaluations of runs for other programs, also while the runs go on.

    The formats are csv (a row per evaluation), parquet (the same with types), latex (tables of incumbents and their
    hyperparameters) and optuna (a journal that optuna-dashboard opens).

    Attributes:
        run_dirs: Directories of the runs.
        format: Format of the file: csv, parquet, latex or optuna.
        table: Table to measure the test regret from; by default the study's.
        output: File to write, replaced if it exists; by default one in ``report`` in the directory of a single run.
    """

    run_dirs: _Runs
    format: str = "csv"
    table: str | None = None
    output: Path | None = None

    def run(self) -> int:
        """Writes the file and names it."""
        from analysis.export import FORMATS
        from analysis.load import load_runs
        from results.atomic_file import make_directory, write_atomically
        from results.run_directory import RunDirectory

        if not self.run_dirs:
            raise ValueError("export: no run was named; name the directory of at least one")
        if self.format not in FORMATS:
            raise ValueError(f"--format: got {self.format!r}, expected one of {', '.join(FORMATS)}")
        if self.output is None and len(self.run_dirs) > 1:
            raise ValueError(f"{len(self.run_dirs)} runs have no common folder for the file; name one with --output")
        form = FORMATS[self.format]
        runs = load_runs(self.run_dirs, self.table)
        content = form.content(runs)
        file = self.output or RunDirectory(self.run_dirs[0].absolute()).report / form.file_name
        make_directory(file.parent)
        write_atomically(file, content)
        print(f"Written: {file}")
        for run in runs:
            for note in run.notes:
                print(f"({run.path.name}: {note})")
        return 0


@dataclass(frozen=True)
class Compare:
    """Compare tuned optimizers over seeds, with their default configurations and black-box baselines.

    Runs that differ only in their seed are one method. The methods' test regrets are drawn over the axis, and
    compared at the place that all runs reach: differences with bootstrap intervals, ranks, and who is ahead when.

    Attributes:
        run_dirs: Directories of the runs.
        baselines: Files that the command ``baselines`` wrote; all repeats of their methods are compared.
        axis: What is spent: serial (simulated time of one worker), parallel (of the study's workers), wall_clock,
            evaluations or epochs. Baselines have serial and evaluations.
        mode: Incumbents of studies: any_budget, largest_budget or larger_preferred.
        regret: Test regret: best_mean, or as the public code computed it: figure2, figure5, or some of its choices:
            test_incumbent, single_zero, one_training, queried_epochs.
        spread: Lines and bands: std (mean, standard deviation), sem (mean, standard error) or quantiles (median,
            quartiles).
        defaults: Whether the default configuration of each study is a method, too.
        table: Table to measure the test regret of studies from; by default each study's.
        output: Folder for the files.
    """

    run_dirs: _Runs = ()
    baselines: tuple[Path, ...] = ()
    axis: str = "serial"
    mode: str = "any_budget"
    regret: tuple[str, ...] = ("best_mean",)
    spread: str = "std"
    defaults: bool = True
    table: str | None = None
    output: Path = Path("runs") / "comparison"

    def run(self) -> int:
        """Writes the figures and prints what they say."""
        from analysis.aggregation import Spread
        from analysis.contest import Choices, contests_of, notes_of_failures, notes_of_runs, with_defaults
        from analysis.load import load_runs
        from analysis.regret import Regret
        from analysis.report import write_comparison
        from analysis.trajectory import Axis
        from results.incumbents import IncumbentMode

        choices = Choices(
            axis=Axis(_one_of("--axis", self.axis, Axis)),
            mode=IncumbentMode(_one_of("--mode", self.mode, IncumbentMode)),
            regret=Regret.named(self.regret),
            spread=Spread(_one_of("--spread", self.spread, Spread)),
        )
        if not self.run_dirs and not self.baselines:
            raise ValueError("compare: nothing was named; name the directories of runs, or files with --baselines")
        runs = load_runs(self.run_dirs, self.table)
        contests, notes = contests_of(runs, choices) if runs else ((), ())
        notes = (*notes, *notes_of_runs(runs))
        if self.defaults:
            contests, of_defaults = with_defaults(contests, runs, choices)
            notes = (*of_defaults, *notes)
        experiments: dict[tuple[ExperimentSpec, str], Path] = {}
        for path in self.baselines:
            contests = _with_baselines(contests, path, choices, experiments)
        notes = (*notes_of_failures(contests), *_unfinished(contests, runs, experiments), *notes)
        print(write_comparison(contests, choices, notes, self.output))
        return 0


def _one_of(option: str, value: str, names: type[Enum]) -> str:
    known = [each.value for each in names]
    if value not in known:
        raise ValueError(f"{option}: got {value!r}, expected one of {', '.join(known)}")
    return value


def _unfinished(
    contests: "tuple[Contest, ...]",
    runs: "list[LoadedRun]",
    experiments: "dict[tuple[ExperimentSpec, str], Path]",
) -> list[str]:
    """A note for each contest whose place is set by a study that has evaluations left, or by a file of baselines."""
    from analysis.contest import seed_in

    notes = []
    for contest in contests:
        if len(contest.methods) < 2:
            continue
        ends = [(curve.end, method, seed) for method in contest.methods for seed, curve in method.curves.items()]
        end, first, of_first = min(ends, key=lambda each: each[0])
        of_studies = [run for run in runs if seed_in(run, contest.problem, first) == of_first]
        notes += [note for run in of_studies if (note := _evaluations_left(run))]
        others = [other_end for other_end, method, _ in ends if method.pairing != first.pairing]
        if others and min(others) > end:
            of_file = [(path, spec) for (spec, _), path in experiments.items() if _pairing(path) == first.pairing]
            notes += {_limit_of_file(path, spec) for path, spec in of_file}
    return [f"{note}; it sets the place of the comparison" for note in notes]


def _evaluations_left(run: "LoadedRun") -> str:
    """What a study has not done yet; empty where it is finished, or cannot be counted."""
    from master.samplers import make_sampler
    from master.tuner import Tuner

    assert run.description is not None, "it has a seed"
    try:
        n_total = Tuner(run.description.spec, make_sampler(run.description.spec)).n_total
    except ValueError:  # of another version, whose spaces and samplers this one may lack
        return ""
    return f"{run.path.name} has {len(run.results)} of {n_total} evaluations" if len(run.results) < n_total else ""


def _limit_of_file(path: Path, experiment: "ExperimentSpec") -> str:
    limits = {"--evaluations": experiment.evaluations, "--time-limit-s": experiment.time_limit_s}
    (limit,) = (f"{option} {value:g}" for option, value in limits.items() if value is not None)
    return f"{path.name} ends each repeat at {limit}, before all other runs"


def _pairing(path: Path) -> str:
    """Meaning of the numbers of a file's repeats."""
    return f"repeat of {path.absolute()}"


def _with_baselines(
    contests: "tuple[Contest, ...]",
    path: Path,
    choices: "Choices",
    experiments: "dict[tuple[ExperimentSpec, str], Path]",
) -> "tuple[Contest, ...]":
    """Adds the methods of a baselines file to the contest on their problem, or a contest of their own.

    Args:
        contests: The contests so far.
        path: The file.
        choices: What is compared.
        experiments: Experiments and methods of the files so far, to which those of this one are added.

    Raises:
        ValueError: The file cannot be used, or an earlier one has the same method of the same experiment.
    """
    from analysis.contest import Contest, Method

    problem, experiment, found = _curves_of_file(path, choices)
    taken = {method.name for contest in contests if contest.problem == problem for method in contest.methods}
    methods, where = [], path.absolute()
    for name, curves in found.items():
        other = experiments.setdefault((experiment, name), path)
        if other is not path:
            raise ValueError(
                f"--baselines: {path} has {name} of the same experiment with the same seed {experiment.seed} as "
                f"{other}; name one of them"
            )
        names = (name, f"{name} ({where.parent.name}/{where.stem})", f"{name} ({where})")
        unique = next(each for each in names if each not in taken)
        methods.append(Method(name=unique, curves=curves, pairing=_pairing(path)))
    if problem not in [contest.problem for contest in contests]:
        return (*contests, Contest(problem=problem, methods=tuple(methods)))
    return tuple(
        replace(contest, methods=(*contest.methods, *methods)) if contest.problem == problem else contest
        for contest in contests
    )


def _curves_of_file(
    path: Path, choices: "Choices"
) -> "tuple[Problem, ExperimentSpec, dict[str, dict[int, StepFunction]]]":
    """The problem and the experiment of a baselines file, and each method's repeats by number."""
    from analysis.contest import Problem
    from analysis.regret import PublicChoice, curve_of_repeat
    from nas.blackbox.experiment import open_problem
    from nas.blackbox.experiment_file import ExperimentFile

    if not path.is_file():
        raise ValueError(f"--baselines: there is no file {path}; write one with the command baselines")
    file = ExperimentFile.open(path)
    experiment, epochs = file.header.experiment, file.header.epochs[-1]
    is_single = choices.regret.has(PublicChoice.SINGLE_ZERO)
    try:
        asked = open_problem(experiment)
        zero = asked.table.best_test_error(asked.space, epochs, of_single=is_single)
    except ValueError as error:
        raise ValueError(f"--baselines: {path}: {error}") from error
    found = {
        name: {each.repeat: curve_of_repeat(each, choices.axis, choices.regret, zero) for each in repeats}
        for name, repeats in file.trajectories(asked).items()
    }
    if not found:
        raise ValueError(f"--baselines: {path} has no repeat yet; run the command baselines to its end")
    problem = Problem(search_space=experiment.search_space, table=experiment.table, epochs=epochs)
    return problem, experiment, found
