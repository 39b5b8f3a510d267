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
def runs(tmp_path: Path) -> Callable[[str], list[Path]]:
    """A function of a figure that gives what it applies to: a study, six of three optimizers, or searches."""
    one = write_space_run(tmp_path / "run", CS1, n=10, budgets=(8, 16), n_failed=1).path

    def suitable(name: str) -> list[Path]:
        if name in OF_SEARCHES:
            return [searches(tmp_path / "searches")]
        try:
            FIGURES[name].compute([load_run(one)])
            return [one]
        except DoesNotApplyError as error:
            if "there is one" not in str(error):
                raise
        cases = [(optimizer, seed) for optimizer in ("darts", "gdas", "enas") for seed in (0, 1)]
        return [
            write_space_run(
                tmp_path / f"{optimizer}-{seed}", CS1, n=6, budgets=(8,), optimizer=optimizer, seed=seed, draw=index
            ).path
            for index, (optimizer, seed) in enumerate(cases)
        ]

    return suitable


def searches(folder: Path) -> Path:
    """A folder of searches, two seeds of two values."""
    for seed, value in product((0, 1), (1e-4, 1e-2)):
        search = folder / f"{value}_{seed}"
        write_search(search, [0.5, 0.2], [0.1, 0.05 + seed / 100], weight_decay=value, seed=seed)
        write_one_shot_errors(search, [0.1, 0.2, 0.3, 0.4], [0.2, 0.1, 0.3, 0.4])
    return folder


@pytest.mark.parametrize("name", list(FIGURES))
def test_its_numbers_are_a_table_and_a_picture(runs: Callable[[str], list[Path]], name: str) -> None:
    figure = FIGURES[name]
    data = figure.compute([load_run(path) for path in runs(name)])
    table = list(csv.reader(io.StringIO(csv_text(figure.rows(data)))))
    assert len(table) > 1
    assert len(set(table[0])) == len(table[0]) == max(map(len, table)) == min(map(len, table))
    picture = figure.draw(data)
    assert isinstance(picture, Figure)
    assert render(picture, "png").startswith(b"\x89PNG")
    assert all(axes.get_xlabel() or not axes.axison or axes.get_label() == "<colorbar>" for axes in _outer(picture))


@pytest.mark.parametrize("name", list(FIGURES))
def test_the_same_run_gives_the_same_files(runs: Callable[[str], list[Path]], tmp_path: Path, name: str) -> None:
    paths = runs(name)
    files = write_figures(paths, figure=name, output=tmp_path / "out").files
    assert [path.name for path in files] == [f"{name}.csv", f"{name}.png", f"{name}.pdf"]
    first = [path.read_bytes() for path in files]
    write_figures(paths, figure=name, output=tmp_path / "out")
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


def _outer(picture: Figure) -> list[Axes]:
    """The panels of the lowest row, which name what is on their axes."""
    specs = [(axes, axes.get_subplotspec()) for axes in picture.axes]
    return [axes for axes, spec in specs if spec is not None and spec.is_last_row()]


def test_dollar_signs_are_text_and_powers_of_ten_are_numbers() -> None:
    picture = Figure()
    axes = picture.subplots()
    axes.set_title(r"cost$\foo$")  # as a formula it could not be drawn
    axes.set_xscale("log")
    axes.plot([1e-4, 1e4], [0, 1], label="a$b$")
    axes.set_yticks([0, 1], [r"$\foo$", "b"])
    axes.legend()
    assert render(picture, "png").startswith(b"\x89PNG")
    assert axes.xaxis.get_major_ticks()[0].label1.get_parse_math()
    plain = [axes.title, axes.get_legend().get_texts()[0], axes.yaxis.get_major_ticks()[0].label1]  # type: ignore[union-attr]
    assert not any(text.get_parse_math() for text in plain)
