"""The commands ``run_bohb.py analyze``, ``importance`` and ``export``."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

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
        """Prints the tables of each run."""
        from analysis.importance_text import importances_text
        from analysis.load import load_run
        from analysis.run_importances import run_importances

        if not self.run_dirs:
            raise ValueError("importance: no run was named; name the directory of at least one")
        for option, number in (("--pairs", self.pairs), ("--bootstrap", self.bootstrap), ("--seed", self.seed)):
            if number < 0:
                raise ValueError(f"{option}: got {number}, expected no negative number")
        for index, path in enumerate(self.run_dirs):
            run = load_run(path)
            found = run_importances(
                run,
                budget=self.budget,
                preset=self.preset,
                cutoff=self.cutoff,
                n_samples=self.bootstrap,
                seed=self.seed,
            )
            print(("\n" if index else "") + importances_text(run, found, self.pairs))
        return 0


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
        from analysis.load import load_run
        from results.atomic_file import make_directory, write_atomically
        from results.run_directory import RunDirectory

        if not self.run_dirs:
            raise ValueError("export: no run was named; name the directory of at least one")
        if self.format not in FORMATS:
            raise ValueError(f"--format: got {self.format!r}, expected one of {', '.join(FORMATS)}")
        if self.output is None and len(self.run_dirs) > 1:
            raise ValueError(f"{len(self.run_dirs)} runs have no common folder for the file; name one with --output")
        form = FORMATS[self.format]
        content = form.content([load_run(path, self.table) for path in self.run_dirs])
        file = self.output or RunDirectory(self.run_dirs[0].absolute()).report / form.file_name
        make_directory(file.parent)
        write_atomically(file, content)
        print(f"Written: {file}")
        return 0
