"""The report of a run: its summary, and each figure as a picture and as a table, as files.

It can be made at any time, of a run that has not begun, goes on, or has ended; making it again replaces it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from analysis.comparison_text import comparison_text
from analysis.contest import Choices, Contest
from analysis.figures import FIGURES, DoesNotApplyError
from analysis.figures.comparison import comparison_of
from analysis.figures.figure import csv_text, render
from analysis.figures.trajectories import trajectories_of
from analysis.load import LoadedRun, load_run, load_runs
from analysis.summary import Summary, summarise
from analysis.summary_text import summary_text
from results.atomic_file import make_directory, write_atomically
from results.journal import encode
from results.run_directory import RunDirectory

logger = logging.getLogger("nasbohb.analysis")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What ``analyze`` found and wrote.

    Attributes:
        run: The run as it was read.
        summary: Its numbers.
        figures: Name to the data of each figure that applies, as its ``compute`` returned it.
        text: The summary for people, as in ``summary.txt``.
        files: Absolute paths of what was written; none where the folder of the run cannot be written to.
    """

    run: LoadedRun
    summary: Summary
    figures: Mapping[str, Any]
    text: str
    files: tuple[Path, ...]


def analyze(path: Path | str, *, table: str | None = None, output: Path | str | None = None) -> Report:
    """Analyses a run and writes ``summary.txt``, ``summary.json``, and the table and pictures of each figure.

    Args:
        path: Directory of the run.
        table: Name or path of the table to measure the test regret from; None: that of the study.
        output: Folder for the files, made where it is missing; None: ``report`` in the run's directory, and only a
            warning where it cannot be written to.

    Raises:
        ValueError: There is no run at ``path``, its description is damaged, or the table that was named does not fit.
        OSError: The files cannot be written to ``output``.
    """
    return report_on(load_run(path, table), output)


def report_on(run: LoadedRun, output: Path | str | None = None) -> Report:
    """Writes the report of a run that was read; see ``analyze``."""
    folder = RunDirectory(run.path).report if output is None else Path(output).absolute()
    summary, (figures, notes) = summarise(run), _compute([run], FIGURES)
    text = "\n".join([summary_text(run, summary), *notes])
    text += f"\n\nRun:    {run.path}\nReport: {folder}"
    contents: dict[str, str | bytes] = {"summary.txt": text + "\n", "summary.json": _summary_json(run, summary)}
    contents |= _contents(figures)
    try:
        files = _write(folder, contents)
    except OSError as error:
        if output is not None:
            raise
        logger.warning("the report was not written (%s); name another folder with --output", error)
        text, files = text.replace(f"\nReport: {folder}", "\nReport: not written"), ()
    return Report(run=run, summary=summary, figures=figures, text=text, files=files)


@dataclass(frozen=True, kw_only=True)
class WrittenFigures:
    """What ``write_figures`` wrote.

    Attributes:
        figures: Name to the data of each figure, as its ``compute`` returned it.
        text: The runs, the reasons why figures do not apply, and the files.
        files: Absolute paths of what was written.
    """

    figures: Mapping[str, Any]
    text: str
    files: tuple[Path, ...]


def write_figures(
    paths: Sequence[Path | str],
    *,
    figure: str | None = None,
    table: str | None = None,
    output: Path | str | None = None,
) -> WrittenFigures:
    """Writes the table and the pictures of figures of one run or several.

    Args:
        paths: Directories of the runs.
        figure: Name of the only figure; None: all that apply to the runs.
        table: Name or path of the table to measure test regrets from; None: that of each study.
        output: Folder for the files, made where it is missing; None: ``report`` in the directory of a single run.

    Raises:
        ValueError: There is no such run or figure, the figure does not apply, a run was named twice, or several runs
            are given without a folder.
        OSError: The files cannot be written.
    """
    if figure is not None and figure not in FIGURES:
        raise ValueError(f"--figure: got {figure!r}, expected one of {', '.join(FIGURES)}")
    if output is None and len(paths) > 1:
        raise ValueError(f"{len(paths)} runs have no common folder for the figures; name one with --output")
    runs = load_runs(paths, table)
    folder = RunDirectory(runs[0].path).report if output is None else Path(output).absolute()
    figures, notes = _compute(runs, FIGURES if figure is None else [figure])
    if not figures:
        raise ValueError("; ".join(note.strip("()") for note in notes))
    files = _write(folder, _contents(figures))
    text = "\n".join([*(run.title for run in runs), *notes, *(f"Written: {path}" for path in files)])
    return WrittenFigures(figures=figures, text=text, files=files)


def write_comparison(contests: Sequence[Contest], choices: Choices, notes: Sequence[str], output: Path) -> str:
    """Writes the trajectories and the comparison of methods: tables, pictures, and ``comparison.txt``.

    Args:
        contests: The methods on each problem.
        choices: What of the runs is compared.
        notes: Sentences about what is unusual, or was left out.
        output: Folder for the files, made where it is missing.

    Returns:
        What there is to say, with the paths of the files.

    Raises:
        OSError: The files cannot be written.
    """
    figures: dict[str, Any] = {"trajectories": trajectories_of(contests, choices)}
    text = ""
    try:
        figures["comparison"] = compared = comparison_of(contests, choices)
        text = comparison_text(compared.comparisons, compared.ranks, choices.axis)
    except DoesNotApplyError as error:
        notes = [*notes, f"no figure comparison: {error}"]
    text = "\n\n".join(part for part in (text, "\n".join(f"({note})" for note in notes)) if part)
    files = _write(Path(output).absolute(), _contents(figures) | {"comparison.txt": text + "\n"})
    return "\n".join([text, *(f"Written: {path}" for path in files)])


def _compute(runs: Sequence[LoadedRun], names: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Name to the data of each figure that applies, and a note for each other one."""
    figures, notes = {}, []
    for name in names:
        try:
            figures[name] = FIGURES[name].compute(runs)
        except DoesNotApplyError as error:
            notes.append(f"(no figure {name}: {error})")
    return figures, notes


def _contents(figures: Mapping[str, Any]) -> dict[str, str | bytes]:
    """File name to content."""
    contents: dict[str, str | bytes] = {}
    for name, data in figures.items():
        contents[f"{name}.csv"] = csv_text(FIGURES[name].rows(data))
        picture = FIGURES[name].draw(data)
        contents |= {f"{name}.{kind}": render(picture, kind) for kind in ("png", "pdf")}
    return contents


def _write(folder: Path, contents: Mapping[str, str | bytes]) -> tuple[Path, ...]:
    files = tuple(folder / name for name in contents)
    make_directory(folder)
    for file, content in zip(files, contents.values(), strict=True):
        write_atomically(file, content)
    return files


def _summary_json(run: LoadedRun, summary: Summary) -> str:
    content: dict[str, Any] = {
        "study": None if run.description is None else run.description.to_dict(),
        "best_test_error": run.best_test_error,
        "notes": list(run.notes),
        **msgspec.to_builtins(summary, str_keys=True),
    }
    return encode(content, "summary.json", indent=2) + "\n"
