"""Trajectories, worked out by hand.

``STUDY`` is one bracket on two workers, A and B (time in seconds since the study began, t_sim = t_search +
t_train):

    ======  =======  ======  ======  ========  =======  ========  =====================
    name    id       budget  worker  started   ended    t_sim     validation/test error
    ======  =======  ======  ======  ========  =======  ========  =====================
    a       0,0,0    2       A       1         3        2 + 10    0.30 / 0.20
    b       0,0,1    2       B       1         4        3 + 5     0.20 / 0.25
    c       0,0,2    2       A       3         5        2 + 0     diverged
    d       0,0,3    2       B       4         7        3 + 20    0.25 / 0.10
    e       0,0,1    4       A       7         13       6 + 5     0.22 / 0.24
    f       0,0,3    4       B       7         12       5 + 20    0.15 / 0.30
    g       1,0,0    4       B       12        17       5 + 1     0.15 / 0.05
    ======  =======  ======  ======  ========  =======  ========  =====================
"""

import itertools
import random
from collections.abc import Sequence

import pytest

from analysis.trajectory import Axis, Trajectory, incumbent_trajectory, place, replay
from results.incumbents import IncumbentMode
from results.records import ConfigId, Evaluation, Status, TrialResult

ORIGIN = 1_700_000_000.0


def evaluation_at(
    config_id: ConfigId,
    budget: int,
    started: float,
    finished: float,
    t_train: float | None,
    validation: float | None,
    test: float | None,
) -> TrialResult:
    outcome = Evaluation(
        status=Status.OK if validation is not None else Status.DIVERGED,
        validation_error=validation,
        test_error=test,
        t_search_s=finished - started,
        t_train_s=t_train,
    )
    return TrialResult(
        config_id=config_id,
        config={},
        model_based=False,
        budget=budget,
        submitted=ORIGIN + started - 1,
        started=ORIGIN + started,
        finished=ORIGIN + finished,
        evaluation=outcome,
    )


A = evaluation_at((0, 0, 0), 2, 1, 3, 10, 0.30, 0.20)
B = evaluation_at((0, 0, 1), 2, 1, 4, 5, 0.20, 0.25)
C = evaluation_at((0, 0, 2), 2, 3, 5, None, None, None)
D = evaluation_at((0, 0, 3), 2, 4, 7, 20, 0.25, 0.10)
E = evaluation_at((0, 0, 1), 4, 7, 13, 5, 0.22, 0.24)
F = evaluation_at((0, 0, 3), 4, 7, 12, 20, 0.15, 0.30)
G = evaluation_at((1, 0, 0), 4, 12, 17, 1, 0.15, 0.05)
STUDY = [A, B, C, D, F, E, G]
NAMES = {id(result): name for result, name in zip((A, B, C, D, E, F, G), "abcdefg", strict=True)}


def incumbents(trajectory: Trajectory) -> list[tuple[float, str]]:
    return [(timed.end, NAMES[id(timed.result)]) for timed in trajectory.incumbents]


def schedule(results: Sequence[TrialResult], n_workers: int) -> dict[str, tuple[float, float]]:
    return {NAMES[id(timed.result)]: (timed.start, timed.end) for timed in replay(results, n_workers)}


def test_the_serial_axis_adds_up_all_times_in_the_order_of_ends() -> None:
    # a 12, b 8, c 2 (failed: its search alone), d 23, f 25, e 11, g 6
    ends = [timed.end for timed in place(STUDY, Axis.SERIAL)]
    assert ends == [12, 20, 22, 45, 70, 81, 87]
    assert [timed.start for timed in place(STUDY, Axis.SERIAL)] == [0, *ends[:-1]]


def test_the_wall_clock_begins_when_the_first_job_is_submitted() -> None:
    placed = place(STUDY, Axis.WALL_CLOCK)
    assert [(timed.start, timed.end) for timed in placed] == [
        (1, 3),
        (1, 4),
        (3, 5),
        (4, 7),
        (7, 12),
        (7, 13),
        (12, 17),
    ]


def test_two_workers_are_replayed_with_their_simulated_times() -> None:
    # Handed out a, b, c, d, f, e, g.  a: worker 1, 0-12.  b: worker 2, 0-8.  c: worker 2 is free first, 8-10.
    # d: worker 2, 10-33.  f: worker 1 is free at 12 but f waits for all of its rung, until 33: 33-58.
    # e: worker 2 is free at 33, as its rung is: 33-44.  g, of another iteration, waits for nobody: worker 2, 44-50.
    assert schedule(STUDY, 2) == {
        "a": (0, 12),
        "b": (0, 8),
        "c": (8, 10),
        "d": (10, 33),
        "f": (33, 58),
        "e": (33, 44),
        "g": (44, 50),
    }
    assert [NAMES[id(timed.result)] for timed in replay(STUDY, 2)] == ["b", "c", "a", "d", "e", "g", "f"]


def test_many_workers_are_held_up_by_the_rungs_alone() -> None:
    # a 0-12, b 0-8, c 0-2, d 0-23 at once; then f and e wait for d; g starts at 0 on a worker of its own.
    assert schedule(STUDY, 7) == {
        "a": (0, 12),
        "b": (0, 8),
        "c": (0, 2),
        "d": (0, 23),
        "f": (23, 48),
        "e": (23, 34),
        "g": (0, 6),
    }


def test_one_worker_takes_as_long_as_the_serial_sum() -> None:
    assert replay(STUDY, 1)[-1].end == place(STUDY, Axis.SERIAL)[-1].end == 87


def test_an_evaluation_that_did_not_wait_for_a_smaller_budget_is_not_held_up_by_it() -> None:
    # The same iteration, but the larger budget had started before the smaller one finished.
    small = evaluation_at((0, 0, 0), 2, 0, 10, 90, 0.3, 0.3)
    large = evaluation_at((0, 0, 1), 4, 5, 9, 1, 0.2, 0.2)
    assert [(timed.result.budget, timed.start, timed.end) for timed in replay([small, large], 2)] == [
        (4, 0, 5),
        (2, 0, 100),
    ]


def test_a_lost_trial_is_run_again_after_it_was_lost() -> None:
    lost = evaluation_at((0, 0, 0), 2, 0, 8, None, None, None)
    again = evaluation_at((0, 0, 0), 2, 9, 12, 7, 0.2, 0.2)
    assert [(timed.start, timed.end) for timed in replay([lost, again], 2)] == [(0, 8), (8, 18)]


def test_without_workers_there_is_no_replay() -> None:
    with pytest.raises(ValueError, match="n_workers: got 0"):
        replay(STUDY, 0)


@pytest.mark.parametrize("n_workers", [1, 2, 5])
@pytest.mark.parametrize("seed", range(5))
def test_in_any_replay_no_worker_does_two_things_and_no_work_is_lost(seed: int, n_workers: int) -> None:
    rng = random.Random(seed)
    results = []
    for index in range(30):
        started = rng.uniform(0, 100)
        finished = started + rng.uniform(1, 10)
        config_id = (index % 4, 0, index)
        results.append(
            evaluation_at(config_id, rng.choice([2, 4]), started, finished, rng.uniform(0, 50), rng.random(), 0.5)
        )
    placed = replay(results, n_workers)
    assert sorted(timed.result.config_id for timed in placed) == sorted(result.config_id for result in results)
    for timed in placed:
        assert timed.end - timed.start == pytest.approx(timed.result.evaluation.t_sim_s)
        at_once = [other for other in placed if other.start <= timed.start < other.end]
        assert len(at_once) <= n_workers
    for early, late in itertools.permutations(placed, 2):
        same_iteration = early.result.config_id[0] == late.result.config_id[0]
        if same_iteration and early.result.budget < late.result.budget and early.result.finished <= late.result.started:
            assert early.end <= late.start


def test_validation_error_chooses_and_test_error_is_reported() -> None:
    trajectory = incumbent_trajectory(STUDY, Axis.SERIAL, IncumbentMode.ANY_BUDGET, best_test_error=0.04)
    # d has a lower test error than b, and g than f, but no lower validation error.
    assert incumbents(trajectory) == [(12, "a"), (20, "b"), (70, "f")]
    test_errors = [timed.result.evaluation.test_error for timed in trajectory.incumbents]
    assert test_errors == [0.20, 0.25, 0.30]
    assert [timed.test_regret for timed in trajectory.incumbents] == pytest.approx([0.16, 0.21, 0.26])
    assert trajectory.end == 87


def test_only_the_largest_budget_counts_where_that_is_asked_for() -> None:
    trajectory = incumbent_trajectory(STUDY, Axis.WALL_CLOCK, IncumbentMode.LARGEST_BUDGET, largest_budget=4)
    assert incumbents(trajectory) == [(12, "f")]
    so_far = incumbent_trajectory(STUDY[:4], Axis.WALL_CLOCK, IncumbentMode.LARGEST_BUDGET, largest_budget=4)
    assert so_far.incumbents == ()


def test_larger_budgets_replace_smaller_ones_even_when_they_are_worse() -> None:
    # On the wall clock with e ending before f: e (budget 4, 0.22) replaces b (budget 2, 0.20).
    results = [A, B, C, D, E, G]
    trajectory = incumbent_trajectory(results, Axis.WALL_CLOCK, IncumbentMode.LARGER_PREFERRED)
    assert incumbents(trajectory) == [(3, "a"), (4, "b"), (13, "e"), (17, "g")]
    late_small = evaluation_at((2, 0, 0), 2, 17, 18, 1, 0.01, 0.01)
    assert incumbent_trajectory([*results, late_small], Axis.WALL_CLOCK, IncumbentMode.LARGER_PREFERRED).at(
        18
    ) == trajectory.at(17)


def test_incumbents_follow_the_order_of_ends_on_their_own_axis() -> None:
    # On two simulated workers e ends at 44, g at 50 and f, which really ended first, only at 58.
    trajectory = incumbent_trajectory(STUDY, Axis.PARALLEL, IncumbentMode.LARGEST_BUDGET, n_workers=2)
    assert incumbents(trajectory) == [(44, "e"), (50, "g")]


def test_an_incumbent_holds_from_its_end_until_the_next_one() -> None:
    trajectory = incumbent_trajectory(STUDY, Axis.SERIAL)
    holders = {place: trajectory.at(place) for place in (0, 11.99, 12, 19.99, 20, 69.99, 70, 1e9)}
    assert [timed and NAMES[id(timed.result)] for timed in holders.values()] == [None, None, *"aabbff"]


@pytest.mark.parametrize("mode", list(IncumbentMode))
@pytest.mark.parametrize("axis", [Axis.SERIAL, Axis.WALL_CLOCK])
def test_later_results_never_change_earlier_times(axis: Axis, mode: IncumbentMode) -> None:
    whole = incumbent_trajectory(STUDY, axis, mode, largest_budget=4)
    for n in range(len(STUDY)):
        part = incumbent_trajectory(STUDY[:n], axis, mode, largest_budget=4)
        assert part.incumbents == tuple(timed for timed in whole.incumbents if timed.end <= part.end)


def test_failures_cost_time_and_are_never_the_incumbent() -> None:
    trajectory = incumbent_trajectory([C, A], Axis.SERIAL)
    assert incumbents(trajectory) == [(12, "a")]
    only_failures = incumbent_trajectory([C], Axis.SERIAL, best_test_error=0.0)
    assert (only_failures.incumbents, only_failures.end, only_failures.at(5)) == ((), 2, None)
    assert only_failures.evaluations[0].test_regret is None


def test_the_order_in_which_results_are_given_does_not_matter() -> None:
    for axis in Axis:
        assert (
            incumbent_trajectory(STUDY[::-1], axis, n_workers=2).incumbents
            == incumbent_trajectory(STUDY, axis, n_workers=2).incumbents
        )


def test_nothing_yields_nothing() -> None:
    for axis in Axis:
        trajectory = incumbent_trajectory([], axis)
        assert (trajectory.evaluations, trajectory.incumbents, trajectory.end) == ((), (), 0.0)
