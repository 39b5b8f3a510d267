"""Runs by problem, method and seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text

from analysis.contest import Choices, contests_of, notes_of_failures
from analysis.figures import FIGURES, DoesNotApplyError
from analysis.load import LoadedRun
from analysis.trajectory import Axis
from results.records import Evaluation, Status, TrialResult
from tests.analysis.runs import loaded_run


def result(test_error: float | None = 0.2, index: int = 0) -> TrialResult:
    status = Status.DIVERGED if test_error is None else Status.OK
    return TrialResult(
        config_id=(0, 0, index),
        config={},
        model_based=False,
        budget=4,
        submitted=0.0,
        started=0.0,
        finished=1.0 + index,
        evaluation=Evaluation(status=status, validation_error=test_error, test_error=test_error, t_search_s=1.0),
    )


def run(*results: TrialResult, **changes: Any) -> LoadedRun:
    path = Path("/runs") / "-".join(str(value) for value in changes.values())
    return replace(loaded_run(results or [result()], best_test_error=0.05, **changes), path=path)


def names_of(*runs: LoadedRun) -> dict[str, dict[str, list[int]]]:
    contests, _ = contests_of(runs, Choices())
    return {c.problem.title: {m.name: sorted(m.curves) for m in c.methods} for c in contests}


def test_seeds_are_one_method_and_problems_stand_apart() -> None:
    space_1, space_2 = (f"search space {space}, table digits at 12 epochs" for space in "12")
    assert names_of(
        run(optimizer="gdas", seed=1),
        run(optimizer="darts", seed=0),
        run(optimizer="gdas", seed=0, run_id="another"),
        run(optimizer="gdas", search_space="2"),
    ) == {space_1: {"bohb-gdas": [0, 1], "bohb-darts": [0]}, space_2: {"bohb-gdas": [0]}}


def test_methods_are_named_by_what_tells_them_apart() -> None:
    runs = [
        run(config_space="CS1"),
        run(config_space="CS2"),
        run(config_space="CS2", search_settings={"n_stacks": 2}),
        run(config_space="CS2", initial_configs=({"x": 1},)),
    ]
    (methods,) = names_of(*runs).values()
    settings = "search settings"
    assert list(methods) == [
        f"bohb-darts (config space CS1, {settings} default)",
        f"bohb-darts (config space CS2, {settings} default)",
        f"bohb-darts (config space CS2, {settings} n_stacks=2)",
        f"bohb-darts (config space CS2, {settings} default), other initial configurations 1",
    ]


def test_names_have_the_settings_that_differ_alone() -> None:
    common = {"init_channels": 8, "batch_size": 32}
    settings: list[dict[str, Any]] = [{"n_stacks": 2}, {"n_stacks": 2, "dropout": 0.5}, {"n_stacks": 3}, {}]
    (methods,) = names_of(*(run(search_settings=common | each) for each in settings)).values()
    assert list(methods) == [
        f"bohb-darts (search settings {each})"
        for each in ("n_stacks=2", "n_stacks=2 dropout=0.5", "n_stacks=3", "default")
    ]


def test_what_changes_no_result_makes_no_other_method() -> None:
    (methods,) = names_of(
        run(seed=0, keep_every=5, search_settings={"threads": 1, "device": "cpu", "n_stacks": 2}),
        run(seed=1, search_settings={"n_stacks": 2, "kernels": "triton", "graph": True}),
        run(seed=2, search_settings={"n_stacks": 2}),
    ).values()
    assert methods == {"bohb-darts": [0, 1, 2]}


def test_what_has_no_regret_is_left_out_and_said() -> None:
    log = replace(run(seed=7), description=None)
    unknown = replace(run(seed=8), best_test_error=None)
    failed = run(result(None), seed=9)
    (contest,), notes = contests_of([run(seed=0), log, unknown, failed], Choices())
    assert [(m.counted, m.n_without) for m in contest.methods] == [("bohb-darts (1 run, 1 more without a result)", 1)]
    assert notes == (
        "7 is left out: a log without run.json names no search space and no seed",
        "left out: 8: the lowest test error in its search space is not known",
    )
    (note,) = notes_of_failures([contest])
    assert note == (
        "bohb-darts on search space 1, table digits at 12 epochs: no evaluation succeeded in 1 of 2 runs, which are "
        "left out of means and intervals"
    )


def test_a_method_without_any_success_is_left_out_and_said() -> None:
    failed = [run(result(None), optimizer="gdas", seed=seed) for seed in (0, 1)]
    left_out = "bohb-gdas on search space 1, table digits at 12 epochs is left out: no evaluation succeeded in"
    (contest,), notes = contests_of([run(), *failed], Choices())
    assert [m.name for m in contest.methods] == ["bohb-darts"]
    assert notes == (f"{left_out} any of its 2 runs",)
    assert notes_of_failures([contest]) == ()
    damaged = replace(failed[0], notes=("results.json is missing",))
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the message is compared below
        contests_of([damaged], Choices())
    assert str(caught.value) == (
        f"no run has a test regret to compare: {left_out} its only run; {damaged.path.name}: results.json is missing"
    )


def test_the_same_study_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="another run is the same study with the same seed 3"):
        contests_of([run(seed=3), run(seed=3, run_id="again")], Choices())


def test_the_axis_is_that_of_the_choices() -> None:
    results = [result(0.3), result(0.2, index=1)]
    (contest,), _ = contests_of([run(*results)], Choices(axis=Axis.EPOCHS))
    assert contest.methods[0].curves[0].x.tolist() == [4, 8]


@pytest.mark.parametrize(
    ("name", "runs", "reason"),
    [
        ("trajectories", lambda: [run()], "it compares several runs, and there is one"),
        ("trajectories", lambda: [run(result(None), seed=1), run(result(None))], "no evaluation succeeded"),
        ("comparison", lambda: [run()], "it compares several runs, and there is one"),
        ("comparison", lambda: [run(seed=0), run(seed=1)], "all runs are of one; only their seeds differ"),
        ("comparison", lambda: [run(), run(optimizer="gdas", search_space="2")], "it compares methods"),
    ],
)
def test_figures_say_why_they_do_not_apply(name: str, runs: Callable[[], list[LoadedRun]], reason: str) -> None:
    with pytest.raises(DoesNotApplyError, match=reason):
        FIGURES[name].compute(runs())


@pytest.mark.parametrize("n", [3, 8])
@pytest.mark.parametrize("name", ["trajectories", "comparison"])
def test_long_names_stand_in_the_picture_whole(name: str, n: int) -> None:
    runs = []
    for i in range(n):
        settings = {"n_stacks": i, "cells_per_stack": i, "init_channels": i, "batch_size": i, "learning_rate_min": i}
        for seed in (0, 1):
            runs.append(run(result(0.1 + 0.01 * i), seed=seed, eta=2 + i, search_settings=settings))
    figure = FIGURES[name].draw(FIGURES[name].compute(runs))
    figure.canvas.draw()
    labels = [text for text in figure.findobj(Text) if "bohb-darts (eta" in text.get_text()]
    assert len(labels) >= n
    for label in labels:
        box = label.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width, label.get_text()
        assert 0 <= box.y0 < box.y1 <= figure.bbox.height, label.get_text()


def test_the_figure_of_trajectories_draws_what_was_aggregated() -> None:
    runs = [run(result(0.3), result(0.1 * seed + 0.1, index=1), optimizer="gdas", seed=seed) for seed in (0, 1, 2)]
    data = FIGURES["trajectories"].compute([*runs, run(optimizer="darts")])
    table = [row[1:] for row in FIGURES["trajectories"].rows(data)]
    # Regrets from 2 on: 0.05, 0.15 and 0.25, the last of which is also that of the first evaluation, 0.25.
    assert table[1][:2] == ("bohb-gdas", "serial")
    assert table[1][2:4] == pytest.approx((1.0, 0.25))
    assert table[2][2:6] == pytest.approx((2.0, 0.15, 0.05, 0.25))
    assert table[2][6:] == ("std", 3, 3)
    assert table[3][0:6] == ("bohb-darts", "serial", 1.0, pytest.approx(0.15), None, None)
    (axes,) = FIGURES["trajectories"].draw(data).axes
    assert axes.get_xlabel() == "Simulated time, one worker [seconds]"
    assert axes.get_ylabel().startswith("Test regret (fraction):")
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "mean ± standard deviation"
    gdas, darts = axes.get_lines()
    assert (gdas.get_label(), darts.get_label()) == ("bohb-gdas (3 runs)", "bohb-darts (1 run)")
    assert list(gdas.get_ydata()) == pytest.approx([0.25, 0.15])
    assert (gdas.get_linestyle(), gdas.get_marker()) != (darts.get_linestyle(), darts.get_marker())
