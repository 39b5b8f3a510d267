"""The evaluations of runs as one flat table, a row each: as CSV, as Parquet, and as a DataFrame of pandas."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.export.libraries import require
from analysis.figures.figure import csv_text
from analysis.load import LoadedRun, run_names
from results.records import StudySpec, TrialResult

if TYPE_CHECKING:
    import pandas

#: Prefix of the columns of hyperparameters, which keeps them apart from the others.
CONFIG = "config."


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        name: Name of the column.
        kind: Type of its values: int, float, str or bool.
        values: Value per evaluation, None where there is none.
    """

    name: str
    kind: type
    values: list[Any]


def evaluation_columns(runs: Sequence[LoadedRun]) -> list[Column]:
    """Collects the evaluations of runs in columns, in the order in which they arrived.

    Units: errors and regrets are fractions in [0, 1], times are seconds (``submitted``, ``started`` and ``finished``
    since 1970 in UTC), budgets are search epochs.

    Args:
        runs: The runs; their hyperparameters may differ.
    """
    names = run_names(runs)
    rows = [(name, run, result) for name, run in zip(names, runs, strict=True) for result in run.results]
    columns = [Column("run", str, [name for name, _, _ in rows])]
    columns += [Column(name, kind, [_of_study(run, get) for _, run, _ in rows]) for name, (kind, get) in _STUDY.items()]
    columns += [
        Column(name, kind, [get(run, result) for _, run, result in rows]) for name, (kind, get) in _EVALUATION.items()
    ]
    hyperparameters = dict.fromkeys(name for _, _, result in rows for name in result.config)
    return columns + [
        _hyperparameter(name, [result.config.get(name) for *_, result in rows]) for name in hyperparameters
    ]


def csv_content(runs: Sequence[LoadedRun]) -> bytes:
    """The table as comma-separated values; an empty field has no value."""
    columns = evaluation_columns(runs)
    values = zip(*(column.values for column in columns), strict=True)
    return csv_text([[column.name for column in columns], *values]).encode()


def parquet_content(runs: Sequence[LoadedRun]) -> bytes:
    """The table as Parquet, with the types of the columns.

    Raises:
        ValueError: ``pyarrow`` is not installed.
    """
    require("pyarrow", "export")
    import pyarrow as arrow
    from pyarrow import parquet

    types = {int: arrow.int64(), float: arrow.float64(), str: arrow.string(), bool: arrow.bool_()}
    columns = evaluation_columns(runs)
    stream = io.BytesIO()
    parquet.write_table(arrow.table({c.name: arrow.array(c.values, types[c.kind]) for c in columns}), stream)
    return stream.getvalue()


def data_frame(runs: Sequence[LoadedRun]) -> pandas.DataFrame:
    """The table as a DataFrame of pandas; whole numbers, truths and texts have types that know missing values.

    Raises:
        ValueError: ``pandas`` is not installed.
    """
    require("pandas", "export")
    import pandas as pd

    types = {int: "Int64", float: "float64", str: "string", bool: "boolean"}
    columns = evaluation_columns(runs)
    return pd.DataFrame({c.name: pd.array(c.values, dtype=types[c.kind]) for c in columns})


def _of_study(run: LoadedRun, get: Callable[[StudySpec], Any]) -> Any:
    return None if run.description is None else get(run.description.spec)


def _regret(run: LoadedRun, result: TrialResult) -> float | None:
    test_error = result.evaluation.test_error
    return None if test_error is None or run.best_test_error is None else test_error - run.best_test_error


def _hyperparameter(name: str, values: list[Any]) -> Column:
    """The narrowest type that holds all values."""
    kinds = {type(value) for value in values if value is not None}
    kind = kinds.pop() if len(kinds) == 1 else float if kinds == {int, float} else str
    return Column(CONFIG + name, kind, [None if value is None else kind(value) for value in values])


#: Columns of the study, the same in each row of a run; without values in a log of hpbandster.
_STUDY: Mapping[str, tuple[type, Callable[[StudySpec], Any]]] = {
    "optimizer": (str, lambda study: study.optimizer),
    "search_space": (str, lambda study: study.search_space),
    "config_space": (str, lambda study: study.config_space),
    "sampler": (str, lambda study: study.sampler),
    "dataset": (str, lambda study: Path(study.dataset).name),
    "table": (str, lambda study: Path(study.table).name),
    "table_epochs": (int, lambda study: study.table_epochs),
    "study_seed": (int, lambda study: study.seed),
}

#: Columns of an evaluation.
_EVALUATION: Mapping[str, tuple[type, Callable[[LoadedRun, TrialResult], Any]]] = {
    "iteration": (int, lambda run, result: result.config_id[0]),
    "stage": (int, lambda run, result: result.config_id[1]),
    "index": (int, lambda run, result: result.config_id[2]),
    "budget": (float, lambda run, result: float(result.budget)),
    "model_based": (bool, lambda run, result: result.model_based),
    "submitted": (float, lambda run, result: result.submitted),
    "started": (float, lambda run, result: result.started),
    "finished": (float, lambda run, result: result.finished),
    "status": (str, lambda run, result: result.evaluation.status.value),
    "loss": (float, lambda run, result: result.evaluation.loss),
    "validation_error": (float, lambda run, result: result.evaluation.validation_error),
    "test_error": (float, lambda run, result: result.evaluation.test_error),
    "test_regret": (float, _regret),
    "t_search_s": (float, lambda run, result: result.evaluation.t_search_s),
    "t_train_s": (float, lambda run, result: result.evaluation.t_train_s),
    "t_sim_s": (float, lambda run, result: result.evaluation.t_sim_s),
    "architecture_index": (int, lambda run, result: result.evaluation.architecture_index),
    "cell_hash": (str, lambda run, result: result.evaluation.cell_hash),
    "one_shot_validation_error": (float, lambda run, result: result.evaluation.one_shot_validation_error),
    "seed": (int, lambda run, result: result.evaluation.seed),
    "worker": (str, lambda run, result: result.evaluation.worker),
    "error": (str, lambda run, result: result.evaluation.error),
}
