"""What is drawn is what was computed: the data of the artists, not pixels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from msgspec.structs import replace

from analysis.figures import DoesNotApplyError
from analysis.figures.figure import render
from analysis.figures.trajectory import TrajectoryData, compute, draw
from analysis.load import load_run
from analysis.trajectory import Axis, Trajectory, incumbent_trajectory
from results.incumbents import IncumbentMode
from results.reading import read_results
from results.records import Status, TrialResult
from results.run_directory import RunDirectory


@pytest.fixture
def results(make_run: Callable[..., RunDirectory]) -> list[TrialResult]:
    return read_results(make_run(0))


@pytest.fixture
def trajectory(results: list[TrialResult]) -> Trajectory:
    return incumbent_trajectory(results, Axis.SERIAL)


def data_of(*trajectories: Trajectory, **fields: Any) -> TrajectoryData:
    known = {"title": "study", "n_workers": 1, "default": None, "best_test_error": None}
    return TrajectoryData(trajectories=trajectories, **{**known, **fields})


def lines_of(axes: Axes) -> dict[str, Line2D]:
    return {str(line.get_label()): line for line in axes.get_lines()}


def test_the_incumbent_is_drawn_as_steps_up_to_the_end(trajectory: Trajectory) -> None:
    figure = draw(data_of(trajectory))
    for axes, error in zip(figure.axes, ("validation_error", "test_error"), strict=True):
        line = lines_of(axes)["incumbent"]
        assert line.get_drawstyle() == "steps-post"
        times, errors = line.get_xdata(), line.get_ydata()
        assert "minutes" in figure.axes[-1].get_xlabel()
        expected_times = [timed.end / 60 for timed in trajectory.incumbents] + [trajectory.end / 60]
        assert np.asarray(times, dtype=float) == pytest.approx(expected_times)
        held = [getattr(timed.result.evaluation, error) for timed in trajectory.incumbents]
        assert np.asarray(errors, dtype=float) == pytest.approx([*held, held[-1]])


def test_every_evaluation_is_a_dot_of_its_budget_and_failures_are_crosses(
    trajectory: Trajectory, results: list[TrialResult]
) -> None:
    figure = draw(data_of(trajectory))
    lines = lines_of(figure.axes[0])
    markers = set()
    for budget in (4, 8, 16):
        line = lines[f"evaluation, {budget} epochs"]
        drawn = np.asarray(line.get_ydata(), dtype=float)
        expected = [
            r.evaluation.validation_error for r in results if r.budget == budget and r.evaluation.status is Status.OK
        ]
        assert sorted(drawn[~np.isnan(drawn)]) == sorted(expected)
        markers.add(line.get_marker())
    assert len(markers) == 3
    n_failed = sum(r.evaluation.status is not Status.OK for r in results)
    assert n_failed > 0
    assert len(np.asarray(lines["failed evaluation"].get_xdata())) == n_failed


def test_levels_are_drawn_where_they_are_known(trajectory: Trajectory, results: list[TrialResult]) -> None:
    default = next(r for r in results if r.config_id == (0, 0, 0))
    figure = draw(data_of(trajectory, default=default, best_test_error=0.021))
    level = f"default configuration, {default.budget:g} epochs"
    top, bottom = (lines_of(axes) for axes in figure.axes)
    assert list(top[level].get_ydata()) == [default.evaluation.validation_error] * 2
    assert list(bottom[level].get_ydata()) == [default.evaluation.test_error] * 2
    assert list(bottom["lowest in the search space"].get_ydata()) == [0.021] * 2
    assert "lowest in the search space" not in top
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"incumbent", level, "lowest in the search space", "failed evaluation"} <= set(shown)
    assert len(shown) == len(set(shown))


def test_each_simulated_time_axis_has_a_column_with_its_heading(results: list[TrialResult]) -> None:
    trajectories = [incumbent_trajectory(results, axis, n_workers=2) for axis in Axis]
    figure = draw(data_of(*trajectories, n_workers=2))
    titles = [axes.get_title() for axes in figure.axes[:2]]
    assert titles == ["Simulated time, one worker", "Simulated time, 2 workers"]


def test_a_run_without_evaluations_says_so() -> None:
    empty = draw(data_of(incumbent_trajectory([], Axis.SERIAL)))
    assert [axes.texts[0].get_text() for axes in empty.axes] == ["no evaluation has ended yet"] * 2
    assert render(empty, "png").startswith(b"\x89PNG")


def test_an_error_of_zero_is_shown_on_a_linear_axis(results: list[TrialResult]) -> None:
    perfect = [replace(r, evaluation=replace(r.evaluation, validation_error=0.0)) for r in results[:1]] + results[1:]
    axes = draw(data_of(incumbent_trajectory(perfect, Axis.SERIAL))).axes
    assert [panel.get_yscale() for panel in axes] == ["linear", "log"]


@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_equal_results_give_equal_files(trajectory: Trajectory, kind: str, magic: bytes) -> None:
    files = [render(draw(data_of(trajectory)), kind) for _ in range(2)]
    assert files[0].startswith(magic)
    assert files[0] == files[1]


def test_one_run_is_shown_on_every_axis_in_every_mode(make_run: Callable[..., RunDirectory]) -> None:
    run = load_run(make_run(0).path)
    found = {(trajectory.axis, trajectory.mode) for trajectory in compute([run]).trajectories}
    assert found == {(axis, mode) for axis in Axis for mode in IncumbentMode}
    with pytest.raises(DoesNotApplyError, match="it shows one run, and there are 2"):
        compute([run, run])


def test_a_panel_without_errors_says_so(results: list[TrialResult]) -> None:
    bare = [replace(r, evaluation=replace(r.evaluation, test_error=None)) for r in results]
    top, bottom = draw(data_of(incumbent_trajectory(bare, Axis.SERIAL))).axes
    assert not top.texts
    assert [text.get_text() for text in bottom.texts] == ["no test error is known"]


def test_losses_below_zero_are_shown_on_a_linear_axis(results: list[TrialResult]) -> None:
    odd = [replace(r, evaluation=replace(r.evaluation, validation_error=-3.0)) for r in results[:1]] + results[1:]
    assert draw(data_of(incumbent_trajectory(odd, Axis.SERIAL))).axes[0].get_yscale() == "linear"
