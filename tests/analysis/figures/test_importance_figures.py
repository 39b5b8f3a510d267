"""The figures of importances show what was computed, at the right places of the right axes."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Float
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from analysis.evaluations import fit_forest, forests_of
from analysis.figures import FIGURES, DoesNotApplyError, importances, interactions, maps_by_budget, marginals, pairs
from analysis.figures.figure import render
from analysis.figures.scales import Scale, scales_of
from analysis.importance import Categories, Integer, Ordered, marginal
from analysis.load import LoadedRun, load_run
from results.run_directory import RunDirectory
from spaces.config_spaces import CS1, CS2
from tests.analysis.runs import write_space_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    return load_run(write_space_run(tmp_path_factory.mktemp("runs") / "a", CS2, n=14, budgets=(4, 8), n_failed=2).path)


def meshes(figure: Figure) -> list[QuadMesh]:
    return [artist for axes in figure.axes if axes.get_label() != "<colorbar>" for artist in axes.collections
            if isinstance(artist, QuadMesh)]  # fmt: skip


def test_bars_and_floors_are_the_shares_in_percent(run: LoadedRun) -> None:
    data = importances.compute([run])
    assert [panel.evaluations.budget for panel in data.panels] == [4, 8, None]
    figure = importances.draw(data)
    for axes, panel in zip(figure.axes, data.panels, strict=False):
        shown = [*panel.main_effects, *panel.pairs[:5]]
        widths = [bar.get_width() for container in axes.containers for bar in container if hasattr(bar, "get_width")]
        assert widths[:-1] == pytest.approx([100 * panel.found.fractions[names] for names in shown])
        assert sum(widths) == pytest.approx(100)
        floor = next(line for line in axes.get_lines() if str(line.get_label()).startswith("noise floor"))
        assert list(floor.get_xdata()) == [100 * panel.floor[names] for names in shown]
    assert len({axes.get_xlim() for axes in figure.axes[:3]}) == 1


def test_curves_are_the_marginals_and_mark_the_default_and_the_incumbent(run: LoadedRun) -> None:
    data = marginals.compute([run])
    assert next(iter(data.curves)) == "cutout_prob"
    axes = marginals.draw(data).axes[0]
    evaluations, forest = forests_of(run)[-1]
    expected = marginal(forest, ["cutout_prob"], n_points=100)
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    curve = lines["8 search epochs"]
    assert np.array_equal(curve.get_xdata(), expected.values[0])
    assert np.array_equal(curve.get_ydata(), expected.mean)
    assert list(lines["evaluation, 8 epochs"].get_xdata()) == [c["cutout_prob"] for c in evaluations.configurations]
    assert set(lines["default configuration"].get_xdata()) == {CS2.default["cutout_prob"]}
    best = min(evaluations.configurations, key=lambda config: abs(float(config["cutout_prob"]) - 0.3))
    assert set(lines["incumbent, 8 epochs"].get_xdata()) == {best["cutout_prob"]}


def test_a_map_has_each_loss_at_its_values_and_not_at_swapped_ones(run: LoadedRun) -> None:
    """The expected losses come from marginals on single points, not from the map."""
    data = interactions.compute([run])
    figure = interactions.draw(data)
    surrogate = data.at.surrogate
    for axes, mesh, each in zip(figure.axes, meshes(figure), data.maps, strict=False):
        assert axes.get_xlabel() == each.names[0].replace("_", " ")
        assert axes.get_ylabel() == each.names[1].replace("_", " ")
        corners = mesh.get_coordinates()
        swapped = marginal(surrogate, each.names[::-1], n_points=40)
        for row, column in ((0, 0), (3, 30), (37, 2), (39, 39)):  # rows are fields of one y
            x, y = swapped.values[1][column], swapped.values[0][row]
            assert corners[row, column, 0] <= x <= corners[row, column + 1, 0]
            assert corners[row, column, 1] <= y <= corners[row + 1, column, 1]
            drawn = np.asarray(mesh.get_array()).reshape(40, 40)
            assert drawn[row, column] == pytest.approx(swapped.mean[row, column])


def test_evaluations_and_failures_are_points_of_the_map(run: LoadedRun) -> None:
    data = interactions.compute([run])
    axes = interactions.draw(data).axes[0]
    x, y = data.maps[0].names
    shown = {str(artist.get_label()): artist for artist in axes.collections}
    assert len(shown["failed evaluation"].get_offsets()) == 2
    evaluated = max(
        axes.collections, key=lambda artist: len(artist.get_offsets()) if artist.get_array() is not None else 0
    )
    expected = [(config[x], config[y]) for config in data.at.evaluations.configurations]
    assert np.array_equal(evaluated.get_offsets(), expected)
    assert np.array_equal(evaluated.get_array(), data.at.evaluations.losses)


def test_the_triangle_has_each_pair_once_and_one_scale_of_colours(run: LoadedRun) -> None:
    data = pairs.compute([run])
    assert {frozenset(pair) for pair in data.maps} == {
        frozenset(pair) for pair in [("cutout_prob", "weight_decay"), ("cutout_prob", "learning_rate"),
                                     ("learning_rate", "weight_decay")]
    }  # fmt: skip
    figure = pairs.draw(data)
    assert len({(mesh.norm.vmin, mesh.norm.vmax) for mesh in meshes(figure)}) == 1
    assert len({axes.get_ylim() for axes in figure.axes if axes.get_title()}) == 1
    numbers = [text.get_text() for axes in figure.axes for text in axes.texts]
    expected = [
        f"{100 * data.at.found.of(a, b):.1f}" for b in data.names for a in data.names[data.names.index(b) + 1 :]
    ]
    assert numbers == expected


def test_runs_are_rows_and_budgets_are_columns(run: LoadedRun, tmp_path: Path) -> None:
    other = load_run(write_space_run(tmp_path / "b", CS1, n=12, budgets=(8, 16), search_space="2").path)
    data = maps_by_budget.compute([run, other])
    assert data.pair == ("cutout_prob", "weight_decay")
    assert [list(of_run) for of_run in data.rows] == [[4, 8], [8, 16]]
    figure = maps_by_budget.draw(data)
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    missing = [axes.texts[0].get_text() for axes in panels if axes.texts]
    assert missing == ["too few evaluations\nat 16 epochs", "too few evaluations\nat 4 epochs"]
    labels = [axes.get_ylabel() for axes in panels]
    assert labels[0].startswith("search space 1\ndarts, cs2")
    assert labels[4].startswith("search space 2\ndarts, cs1")  # its first panel is empty
    assert [axes.get_xlabel() for axes in panels if axes.axison] == ["cutout prob", "", "cutout prob", "cutout prob"]
    drawn = meshes(figure)
    assert len(drawn) == 4
    assert len({(mesh.norm.vmin, mesh.norm.vmax) for mesh in drawn}) == 1
    table = list(maps_by_budget.rows(data))
    assert {row[0] for row in table[1:]} == {"search space 1, darts, cs2", "search space 2, darts, cs1"}


def test_rows_of_one_study_with_several_seeds_are_told_apart(tmp_path: Path) -> None:
    seeds = [
        load_run(write_space_run(tmp_path / name, CS2, n=12, budgets=(8,), seed=seed).path)
        for seed, name in enumerate(("first", "second"))
    ]
    other = load_run(write_space_run(tmp_path / "other", CS2, n=12, budgets=(8,), optimizer="gdas").path)
    figure = maps_by_budget.draw(maps_by_budget.compute([*seeds, other]))
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert labels == [
        "first\nsearch space 1\ndarts, cs2\nweight decay",
        "second\nsearch space 1\ndarts, cs2\nweight decay",
        "search space 1\ngdas, cs2\nweight decay",
    ]
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        shutil.copytree(seeds[0].path, tmp_path / name / "run")
    table = list(
        maps_by_budget.rows(maps_by_budget.compute([load_run(tmp_path / n / "run") for n in ("left", "right")]))
    )
    titles = [title.replace(", ", "") for title in dict.fromkeys(str(row[0]) for row in table[1:])]
    assert all(name in title for name, title in zip(("left", "right"), titles, strict=True))


def test_without_the_papers_pair_the_strongest_one_is_shown(tmp_path: Path) -> None:
    fixed = {"weight_decay": 1e-4}
    one = load_run(write_space_run(tmp_path / "a", CS2, n=12, budgets=(8,), fixed=fixed).path)
    assert set(maps_by_budget.compute([one]).pair) == {"cutout_prob", "learning_rate"}
    other = load_run(write_space_run(tmp_path / "b", CS1, n=12, budgets=(8,)).path)
    with pytest.raises(DoesNotApplyError, match="fewer than two hyperparameters in common that vary"):
        maps_by_budget.compute([one, other])


@pytest.mark.parametrize("name", ["importances", "marginals", "interactions", "pairs", "maps_by_budget"])
def test_what_cannot_be_decomposed_is_one_sentence(tmp_path: Path, name: str) -> None:
    failures = write_space_run(tmp_path / "failures", CS1, n=0, n_failed=3, budgets=(4,))
    with pytest.raises(DoesNotApplyError, match=r"0 evaluations used, left out: 3 diverged; importances need at least"):
        FIGURES[name].compute([load_run(failures.path)])
    few = write_space_run(tmp_path / "few", CS1, n=3, budgets=(4,))
    with pytest.raises(DoesNotApplyError, match=r"At 4 search epochs: 3 evaluations used; importances need"):
        FIGURES[name].compute([load_run(few.path)])


def test_a_log_with_choices_is_drawn(tmp_path: Path) -> None:
    """Choices, a log of hpbandster and losses below zero."""
    space = ConfigurationSpace(space=[Categorical("kind", ["a", "b", "c"]), Float("rate", (1e-3, 1.0), log=True)])
    rng, folder = random.Random(0), tmp_path / "log"
    folder.mkdir()
    times = {"submitted": 0.0, "started": 0.0, "finished": 1.0}
    configs = [{"kind": rng.choice("abc"), "rate": 10 ** rng.uniform(-3, 0)} for _ in range(12)]
    ids = [[0, 0, index] for index in range(12)]
    log = RunDirectory(folder)
    log.configs_json.write_text("".join(f"{json.dumps([i, c, {}])}\n" for i, c in zip(ids, configs, strict=True)))
    log.results_json.write_text(
        "".join(
            json.dumps([i, 9.0, times, {"loss": -1 - (c["kind"] == "b"), "info": {}}, None]) + "\n"
            for i, c in zip(ids, configs, strict=True)
        )
    )
    space.to_json(log.configspace_json)
    run = load_run(folder)
    data = interactions.compute([run])
    assert data.at.evaluations.default is None
    axes = next(axes for axes in interactions.draw(data).axes if axes.get_xlabel() == "kind")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    curves = marginals.compute([run])
    (kind,) = curves.curves["kind"].values()
    assert int(np.argmin(kind.mean)) == 1
    figure = marginals.draw(curves)
    assert figure.axes[0].get_ylabel() == "Loss (of another program, no unit)"
    for draw in (lambda: figure, lambda: pairs.draw(pairs.compute([run]))):
        assert render(draw(), "png").startswith(b"\x89PNG")


def test_scales_place_values_and_cells() -> None:
    scales = scales_of([Integer("n", 2, 32, log=True), Categories("kind", ("b", "a")), Ordered("budget", (3, 6, 12))])
    assert scales["n"].edges([2, 8, 32]) == pytest.approx([1.5, 4, 16, 32.5])
    assert list(scales["kind"].edges(("b", "a"))) == [-0.5, 0.5, 1.5]
    assert list(scales["budget"].coordinates([12, 3])) == [2, 0]
    assert scales["budget"].label == "budget [search epochs]"
    assert list(Scale(name="x", lower=0, upper=1).edges([0.0, 0.5, 1.0])) == [0, 0.25, 0.75, 1]


def test_the_same_seed_gives_the_same_forest(run: LoadedRun) -> None:
    evaluations, forest = forests_of(run)[0]
    assert np.array_equal(fit_forest(evaluations).predictions, forest.predictions)
