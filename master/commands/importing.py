"""The command ``run_bohb.py import``."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from typing_extensions import Doc

from nas.datasets import DATASETS
from nas.oneshot import METHODS
from nas.tabular import TABLES
from spaces import CONFIG_SPACES, SEARCH_SPACES


@dataclass(frozen=True)
class Import:
    """Make a run of a log that hpbandster wrote: configs.json and results.json, configspace.json if there is one.

    The log does not say what was tuned, so the options do. Budgets, iterations and workers come from the results.
    A loss counts as the validation error, and the time from start to finish as the search time. The run can be
    analysed, compared, and given to --warm-start; it cannot be resumed.

    Attributes:
        log: Directory of the log; it stays as it is.
        output: Directory of the run, which must not exist yet.
        seed: Seed of the study, by which ``compare`` tells runs of one method apart.
        table_epochs: Training epochs of the table whose validation error is the loss; by default its largest, for
            which the table must be there.
    """

    log: Annotated[Path, tyro.conf.Positional]
    output: Path
    optimizer: Annotated[str, Doc(f"One-shot optimizer that was tuned: {' or '.join(METHODS)}.")]
    search_space: Annotated[str, Doc(f"Search space: {' or '.join(SEARCH_SPACES)}.")]
    config_space: Annotated[str, Doc(f"Hyperparameters that were tuned: {' or '.join(CONFIG_SPACES)}.")]
    dataset: Annotated[str, Doc(f"Images of the searches: {' or '.join(DATASETS)}, or the path of an .npz file.")] = (
        "cifar10"
    )
    table: Annotated[
        str | None,
        Doc(f"Table: {' or '.join(TABLES)}, or the path of a table's directory; by default the data set's own table."),
    ] = None
    table_epochs: int | None = None
    seed: int = 0

    def run(self) -> int:
        """Imports the log and says what became of it."""
        from master.importing import import_log, read_log
        from worker.study import define_study

        log = read_log(self.log, self.config_space)
        if self.search_space not in SEARCH_SPACES:
            raise ValueError(f"--search-space: got {self.search_space!r}, expected {' or '.join(SEARCH_SPACES)}")
        spec = define_study(
            run_id=self.output.name,
            optimizer=self.optimizer,
            search_space=self.search_space,
            config_space=self.config_space,
            dataset=self.dataset,
            table=self.table,
            table_epochs=self.table_epochs,
            seed=self.seed,
            **log.study,
        )
        import_log(log, self.output, spec)
        at = ", ".join(f"{n} at {budget:g} epochs" for budget, n in log.at_budgets.items())
        print(f"Run directory: {self.output}")
        print(f"{len(log.results)} evaluations of {len(log.configs)} configurations: {at}; {log.n_failed} failed")
        print("\n".join([*log.notes, f"`run_bohb.py analyze {self.output}` shows them"]))
        return 0
