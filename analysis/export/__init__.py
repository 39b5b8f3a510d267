"""Exports of runs: each format is a function from runs to the content of a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analysis.export.evaluations import csv_content, data_frame, parquet_content
from analysis.export.latex import latex_content
from analysis.export.optuna_journal import journal_content
from analysis.load import LoadedRun


@dataclass(frozen=True)
class Format:
    """A format of exports.

    Attributes:
        description: Content in one line, for the help.
        file_name: Name of the file in a run's ``report``, where no other is asked for.
        content: Function that computes the content of the file from one run or several. It raises ``ValueError`` where
            a library is missing, or the runs lack what the format needs.
    """

    description: str
    file_name: str
    content: Callable[[Sequence[LoadedRun]], bytes]


#: Every format by name; add one here and ``export``, the tests and the docs know it.
FORMATS: dict[str, Format] = {
    "csv": Format("a row per evaluation", "evaluations.csv", csv_content),
    "parquet": Format("the same with types (extra export)", "evaluations.parquet", parquet_content),
    "latex": Format("tables of incumbents and their hyperparameters (booktabs)", "incumbents.tex", latex_content),
    "optuna": Format("Optuna's journal storage, for optuna-dashboard (extra optuna)", "optuna.log", journal_content),
}

__all__ = ["FORMATS", "Format", "data_frame"]
