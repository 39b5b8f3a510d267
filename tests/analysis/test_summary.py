"""A study in numbers, worked out by hand."""

import dataclasses
from collections.abc import Iterable, Sequence

import pytest
from msgspec.structs import replace

from analysis.load import LoadedRun
from analysis.summary import Verdict, compare_with_default, summarise
from analysis.summary_text import compare_line, describe_cell, duration, summary_text
from results.incumbents import IncumbentMode
from results.records import ConfigId, Evaluation, Proposal, Status, TrialResult
from spaces import CONFIG_SPACES, SEARCH_SPACES, Architecture
from tests.analysis.runs import loaded_run


def loaded(
    results: Sequence[TrialResult], config_ids: Iterable[ConfigId] = (), best_test_error: float | None = None
) -> LoadedRun:
    return loaded_run(results, config_ids, best_test_error=best_test_error, min_budget=2, max_budget=4, n_workers=2)


def evaluated(config_id: ConfigId, budget: int, validation: float, test: float | None, end: float) -> TrialResult:
    outcome = Evaluation(
        status=Status.OK,
        validation_error=validation,
        test_error=test,
        t_search_s=2.0,
        t_train_s=3.0,
        worker=f"w{config_id[2] % 2}",
    )
    return TrialResult(
        config_id=config_id,
        config={"x": config_id[2]},
        model_based=False,
        budget=budget,
        submitted=end - 3,
        started=end - 2.5,
        finished=end,
        evaluation=outcome,
    )


def failed(config_id: ConfigId, budget: int, status: Status, end: float) -> TrialResult:
    outcome = Evaluation(status=status, t_search_s=1.0, error="why")
    return TrialResult(
        config_id=config_id,
        config={"x": config_id[2]},
        model_based=False,
        budget=budget,
        submitted=end - 3,
        started=end - 1.0,
        finished=end,
        evaluation=outcome,
    )


RESULTS = [
    evaluated((0, 0, 0), 2, 0.30, 0.31, end=10.0),
    evaluated((0, 0, 1), 2, 0.20, 0.35, end=10.0),
    failed((0, 0, 2), 2, Status.DIVERGED, end=11.0),
    failed((0, 0, 3), 2, Status.WORKER_LOST, end=12.0),
    evaluated((0, 0, 3), 2, 0.40, 0.10, end=15.0),
    evaluated((0, 0, 0), 4, 0.32, 0.20, end=20.0),
    evaluated((0, 0, 1), 4, 0.25, 0.15, end=17.5),
]


def test_evaluations_are_counted_by_budget_and_status() -> None:
    summary = summarise(loaded(RESULTS, [(1, 0, 0), (1, 0, 1)]))
    assert summary.n_evaluations == 7
    assert summary.n_pending == 2
    assert summary.counts == {
        2: {Status.OK: 3, Status.DIVERGED: 1, Status.WORKER_LOST: 1},
        4: {Status.OK: 2},
    }


def test_incumbents_of_the_three_modes() -> None:
    found = summarise(loaded(RESULTS)).incumbents
    assert {mode: (r.config_id, r.budget) for mode, r in found.items() if r} == {
        IncumbentMode.ANY_BUDGET: ((0, 0, 1), 2),
        IncumbentMode.LARGEST_BUDGET: ((0, 0, 1), 4),
        IncumbentMode.LARGER_PREFERRED: ((0, 0, 1), 4),
    }
    early = summarise(loaded(RESULTS[:2])).incumbents
    assert early[IncumbentMode.LARGEST_BUDGET] is None
    assert early[IncumbentMode.LARGER_PREFERRED] == RESULTS[1]


def test_the_default_is_compared_by_its_own_best_validation_error_and_at_its_largest_budget() -> None:
    over_any, at_largest = compare_with_default(RESULTS, {(0, 0, 0)})
    # Any budget: both chosen by validation error; the default's test error at 4 epochs would have been lower.
    assert (over_any.budget, over_any.incumbent, over_any.default) == (None, RESULTS[1], RESULTS[0])
    assert over_any.verdict is Verdict.WORSE
    assert (at_largest.budget, at_largest.incumbent, at_largest.default) == (4, RESULTS[6], RESULTS[5])
    assert at_largest.verdict is Verdict.BETTER
    assert compare_line(over_any) == (
        "Incumbent test error 0.3500 (2 epochs, best of 5) vs default 0.3100 (2 epochs, best of 2): "
        "NOT better than the default (over any budget)"
    )
    assert compare_line(at_largest) == (
        "Incumbent test error 0.1500 (4 epochs, best of 2) vs default 0.2000 (4 epochs, best of 1): "
        "better than the default (at 4 epochs alone)"
    )


def test_a_default_that_stays_the_incumbent_is_equal() -> None:
    over_any, at_largest = compare_with_default(RESULTS[:1], {(0, 0, 0)})
    assert over_any.verdict is at_largest.verdict is Verdict.EQUAL
    assert compare_line(over_any) == (
        "Incumbent test error 0.3100 (2 epochs, best of 1) vs default 0.3100 (2 epochs, best of 1): equal "
        "(over any budget)"
    )


def test_without_test_errors_there_is_no_verdict() -> None:
    (comparison, _) = compare_with_default([evaluated((0, 0, 0), 2, 0.3, None, end=5.0)], {(0, 0, 0)})
    assert comparison.verdict is None
    assert compare_line(comparison) == (
        "Incumbent test error unknown (2 epochs, best of 1) vs default unknown (2 epochs, best of 1): unknown "
        "(over any budget)"
    )


def test_a_default_that_failed_is_said_to_have_failed() -> None:
    results = [failed((0, 0, 0), 2, Status.DIVERGED, end=9.0), RESULTS[1]]
    run = loaded(results)
    summary = summarise(run)
    assert summary.comparisons == ()
    text = summary_text(run, summary)
    assert "Default configuration: no result to compare with (diverged at 2 epochs)" in text


@pytest.mark.parametrize(
    ("tried", "values", "ids"),
    [
        (False, [0.5, 0.3], {(0, 0, 0)}),  # the run says nothing: its first one counts
        (True, [0.5, None, 0.3], {(0, 0, 1)}),
        (True, [None, 0.5, None], {(0, 0, 0), (0, 0, 2)}),
        (True, [0.5, 0.3], set()),
    ],
)
def test_the_default_is_found_by_its_values_where_others_were_tried_first(
    tried: bool, values: list[float | None], ids: set[ConfigId]
) -> None:
    """None stands for the default's own value."""
    default = CONFIG_SPACES["cs1"].default
    configs = [default if value is None else default | {"cutout_prob": value} for value in values]
    run = loaded_run([], config_space="cs1", default_config=default if tried else {})
    named = {(0, 0, number): Proposal(config=config, model_based=False) for number, config in enumerate(configs)}
    assert dataclasses.replace(run, configs=named).default_ids == ids


def test_times_are_summed_over_failures_too() -> None:
    times = summarise(loaded(RESULTS)).times
    assert times is not None
    assert times.t_search_s == 5 * 2.0 + 2 * 1.0
    assert times.t_train_s == 5 * 3.0
    assert times.mean_t_search_s == pytest.approx(12 / 7)
    assert times.mean_t_sim_s == pytest.approx(27 / 7)
    # Starts at 7.5, 7.5, 10, 11, 12.5, 15, 17.5, t_sim 5, 5, 1, 1, 5, 5, 5: worker 1 does the first 0-5, the
    # failures 5-6, then the next attempt 6-11; worker 2 the second 0-5 and the other failure 5-6; both larger
    # budgets wait for their rung, until 11, and run side by side until 16.
    assert times.parallel_s == 16.0


def test_utilisation_is_the_busy_share_of_all_workers_time() -> None:
    used = summarise(loaded(RESULTS)).utilisation
    assert used is not None
    assert used.span_s == 20.0 - 7.5
    assert used.busy_s == {"unknown": 2.0, "w0": 2 * 2.5, "w1": 3 * 2.5}
    assert used.fraction == pytest.approx(14.5 / (2 * 12.5))


def test_the_text_says_what_a_reader_wants_to_know() -> None:
    architecture = SEARCH_SPACES["1"].encode(Architecture(((0,), (0, 1), (0, 1), (1, 2), (2, 4)), (0, 1, 2, 0)))
    outcome = replace(RESULTS[1].evaluation, architecture_index=architecture, cell_hash="abc")
    results = [RESULTS[0], replace(RESULTS[1], evaluation=outcome), *RESULTS[2:]]
    run = loaded(results, [(1, 0, 0)], best_test_error=0.05)
    text = summary_text(run, summarise(run))
    for line in (
        "Evaluations: 7 (5 ok, 1 diverged, 1 worker_lost)",
        "      5 at 2 epochs (3 ok, 1 diverged, 1 worker_lost)",
        "      2 at 4 epochs (2 ok)",
        "Configurations without a result: 1 (running now, or the study was stopped)",
        "Incumbent (lowest validation error): configuration (0, 0, 1) at 2 epochs",
        "  validation error 0.2000, test error 0.3500, test regret 0.3000",
        "  x = 1",
        "  cell: block 1 = conv3x3-bn-relu(input); block 2 = conv1x1-bn-relu(input, block 1); "
        "block 3 = maxpool3x3(input, block 1); block 4 = conv3x3-bn-relu(block 1, block 2); output(block 2, block 4)",
        f"  architecture {architecture}, cell hash abc",
        "Incumbent, largest budget only: (0, 0, 1) at 4 epochs, validation error 0.2500, test error 0.1500, "
        "test regret 0.1000",
        "Workers: 2 workers for 12.5 s, busy 58% of that (unknown 16%, w0 40%, w1 60%)",
    ):
        assert line in text.splitlines()


def test_only_failures_are_told_apart_from_no_evaluations() -> None:
    failures, empty = loaded(RESULTS[2:3]), loaded([])
    text = summary_text(failures, summarise(failures))
    assert "Incumbent: none, as no evaluation succeeded" in text
    assert "(not evaluated)" in text
    assert summary_text(empty, summarise(empty)).splitlines()[2:] == ["No evaluation has ended yet."]


def test_every_space_describes_its_first_and_last_architecture() -> None:
    for space in SEARCH_SPACES.values():
        for index in (0, space.size - 1):
            assert describe_cell(space, index).count(";") == space.n_blocks


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (9.994, "9.99 s"),
        (59.94, "59.9 s"),
        (60, "1 min 00 s"),
        (245.4, "4 min 05 s"),
        (3599.6, "1 h 00 min"),
        (11_220, "3 h 07 min"),
    ],
)
def test_durations_read_naturally(seconds: float, text: str) -> None:
    assert duration(seconds) == text
