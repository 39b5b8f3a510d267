"""What holds for every figure."""

import csv
import io
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import FIGURES, DoesNotApplyError
from analysis.figures.figure import csv_text, render
from analysis.load import load_run
from analysis.report import analyze, write_figures
from results.run_directory import RunDirectory
from spaces.config_spaces import CS1
from tests.analysis.runs import write_space_run
from tests.analysis.single_searches import write_one_shot_errors, write_search

#: Figures of single searches; all others show a study.
OF_SEARCHES = ("anytime", "sweep", "one_shot_correlation")


@pytest.fixture
def path(tmp_path: Path, name: str) -> Path:
    """A study, or a folder of searches, that the figure applies to."""
    if name not in OF_SEARCHES:
        return write_space_run(tmp_path / "run", CS1, n=10, budgets=(8, 16), n_failed=1).path
    for seed, value in product((0, 1), (1e-4, 1e-2)):
        folder = tmp_path / "searches" / f"{value}_{seed}"
        write_search(folder, [0.5, 0.2], [0.1, 0.05 + seed / 100], weight_decay=value, seed=seed)
        write_one_shot_errors(folder, [0.1, 0.2, 0.3, 0.4], [0.2, 0.1, 0.3, 0.4])
    return tmp_path / "searches"


@pytest.mark.parametrize("name", list(FIGURES))
def test_its_numbers_are_a_table_and_a_picture(path: Path, name: str) -> None:
    figure = FIGURES[name]
    data = figure.compute([load_run(path)])
    table = list(csv.reader(io.StringIO(csv_text(figure.rows(data)))))
    assert len(table) > 1
    assert len(set(table[0])) == len(table[0]) == max(map(len, table)) == min(map(len, table))
    picture = figure.draw(data)
    assert isinstance(picture, Figure)
    assert render(picture, "png").startswith(b"\x89PNG")
    assert all(axes.get_xlabel() or not axes.axison or axes.get_label() == "<colorbar>" for axes in _outer(picture))


@pytest.mark.parametrize("name", list(FIGURES))
def test_the_same_run_gives_the_same_files(path: Path, name: str) -> None:
    files = write_figures([path], figure=name).files
    assert [file.name for file in files] == [f"{name}.csv", f"{name}.png", f"{name}.pdf"]
    first = [file.read_bytes() for file in files]
    write_figures([path], figure=name)
    assert [file.read_bytes() for file in files] == first


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


def _outer(picture: Figure) -> list[Axes]:
    """The panels of the lowest row, which name what is on their axes."""
    specs = [(axes, axes.get_subplotspec()) for axes in picture.axes]
    return [axes for axes, spec in specs if spec is not None and spec.is_last_row()]
