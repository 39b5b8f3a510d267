"""hpbandster itself reads our runs, and its incumbents are ours where its definition is the same."""

from collections.abc import Callable

import pytest
from hpbandster.core.result import Result, logged_results_to_HBS_result

from analysis.trajectory import Axis, incumbent_trajectory
from results.incumbents import IncumbentMode
from results.reading import read_journals
from results.run_directory import RunDirectory


def reference_trajectory(result: Result, larger_preferred: bool) -> list[tuple[tuple[int, ...], float, float, float]]:
    """(id, seconds since the first submission, budget, loss) of hpbandster's incumbents."""
    found = result.get_incumbent_trajectory(bigger_is_better=larger_preferred, non_decreasing_budget=larger_preferred)
    columns = (found["config_ids"], found["times_finished"], found["budgets"], found["losses"])
    lines = list(zip(*columns, strict=True))
    # It repeats the last incumbent at the time of the last run.
    return lines[:-1] if len(lines) > 1 and lines[-1][0] == lines[-2][0] and lines[-1][3] == lines[-2][3] else lines


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_hpbandster_finds_the_same_incumbents(make_run: Callable[..., RunDirectory], seed: int) -> None:
    run = make_run(seed, n_iterations=12, n_workers=3)
    journals = read_journals(run)
    results = journals.results
    reference = logged_results_to_HBS_result(str(run.path))

    assert len(reference.get_all_runs()) == len(results)
    assert reference.get_id2config_mapping() == {
        config_id: {"config": proposal.config, "config_info": {"model_based_pick": proposal.model_based}}
        for config_id, proposal in journals.configs.items()
    }
    at_largest = incumbent_trajectory(results, Axis.WALL_CLOCK, IncumbentMode.LARGEST_BUDGET).incumbents
    assert reference.get_incumbent_id() == at_largest[-1].result.config_id
    for mode in (IncumbentMode.ANY_BUDGET, IncumbentMode.LARGER_PREFERRED):
        ours = incumbent_trajectory(results, Axis.WALL_CLOCK, mode).incumbents
        theirs = reference_trajectory(reference, mode is IncumbentMode.LARGER_PREFERRED)
        assert [timed.result.config_id for timed in ours] == [line[0] for line in theirs]
        assert [timed.end for timed in ours] == pytest.approx([line[1] for line in theirs], abs=1e-5)
        assert [timed.result.budget for timed in ours] == [line[2] for line in theirs]
        assert [timed.result.evaluation.loss for timed in ours] == [line[3] for line in theirs]
