"""What holds for every figure."""

import csv
import io
from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from analysis.figures import FIGURES, DoesNotApplyError
from analysis.figures.figure import csv_text, render
from analysis.load import load_run
from analysis.report import analyze
from results.run_directory import RunDirectory


@pytest.mark.parametrize("name", list(FIGURES))
def test_its_numbers_are_a_table_and_a_picture(make_run: Callable[..., RunDirectory], name: str) -> None:
    figure, run = FIGURES[name], load_run(make_run(0).path)
    data = figure.compute([run])
    table = list(csv.reader(io.StringIO(csv_text(figure.rows(data)))))
    assert len(table) > 1
    assert len(set(table[0])) == len(table[0]) == max(map(len, table)) == min(map(len, table))
    assert isinstance(figure.draw(data), Figure)
    assert render(figure.draw(data), "png").startswith(b"\x89PNG")


@pytest.mark.parametrize("name", list(FIGURES))
def test_the_same_run_gives_the_same_files(make_run: Callable[..., RunDirectory], name: str) -> None:
    run = make_run(0)
    files = [path for path in analyze(run.path).files if path.stem == name]
    assert [path.suffix for path in files] == [".csv", ".png", ".pdf"]
    first = [path.read_bytes() for path in files]
    analyze(run.path)
    assert [path.read_bytes() for path in files] == first


@pytest.mark.parametrize("name", list(FIGURES))
def test_it_shows_an_empty_run_or_says_why_not(make_run: Callable[..., RunDirectory], name: str) -> None:
    run = make_run(0, n_iterations=0)
    reason = ""
    try:
        FIGURES[name].compute([load_run(run.path)])
    except DoesNotApplyError as error:
        reason = f"(no figure {name}: {error})"
    report = analyze(run.path)
    assert (name in report.figures) == (not reason)
    assert reason in report.text
