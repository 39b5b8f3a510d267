"""The regret of a hand-made run in every mode, on every axis, by every definition.

Ten evaluations on two workers; c and g failed; b and d, e and f, h and j have equal validation errors. On two
simulated workers e and f end at the same time. t_sim = t_search + t_train.

    ====  =======  ======  =========  =======  ===================  =====================
    name  id       budget  started    ended    t_sim                validation/test error
    ====  =======  ======  =========  =======  ===================  =====================
    a     0,0,0    2       0          2        2 + 8                0.30 / 0.20
    b     0,0,1    2       0          3        3 + 3                0.20 / 0.24
    c     0,0,2    2       2          4        2                    diverged
    d     0,0,3    2       3          6        3 + 1                0.20 / 0.10
    e     0,0,1    4       6          10       4 + 6                0.25 / 0.30
    f     0,0,3    4       6          11       5 + 5                0.25 / 0.12
    g     1,0,0    4       10         14       4                    out of memory
    h     1,0,1    4       11         15       4 + 1                0.15 / 0.22
    i     2,0,0    2       14         16       2 + 2                0.10 / 0.26
    j     2,0,1    4       15         19       4 + 4                0.15 / 0.08
    ====  =======  ======  =========  =======  ===================  =====================

In the table, the lowest mean test error is 0.05, and the lowest single training, of another cell, 0.02. The three
trainings of each cell above are equal, so that the draw of one of them is known.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.load import LoadedRun, find_best_test_error
from analysis.regret import REGRETS, NoRegretError, PublicChoice, Regret, curve_of_run
from analysis.trajectory import Axis
from nas.tabular import Table, open_table
from results.incumbents import IncumbentMode
from results.records import Evaluation, Status, TrialResult
from spaces import SEARCH_SPACES
from tests.analysis.runs import loaded_run

EVALUATIONS = {
    "a": ((0, 0, 0), 2, 0, 2, 8, 0.30, 0.20),
    "b": ((0, 0, 1), 2, 0, 3, 3, 0.20, 0.24),
    "c": ((0, 0, 2), 2, 2, 4, None, Status.DIVERGED, None),
    "d": ((0, 0, 3), 2, 3, 6, 1, 0.20, 0.10),
    "e": ((0, 0, 1), 4, 6, 10, 6, 0.25, 0.30),
    "f": ((0, 0, 3), 4, 6, 11, 5, 0.25, 0.12),
    "g": ((1, 0, 0), 4, 10, 14, None, Status.OUT_OF_MEMORY, None),
    "h": ((1, 0, 1), 4, 11, 15, 1, 0.15, 0.22),
    "i": ((2, 0, 0), 2, 14, 16, 2, 0.10, 0.26),
    "j": ((2, 0, 1), 4, 15, 19, 4, 0.15, 0.08),
}
SPACE = SEARCH_SPACES["1"]

#: Where each evaluation ends. Two workers: a 0-10, b 0-6, c 6-8, d 8-12; e and f wait for d: 12-22 both; g 22-26,
#: h 22-27, i 26-30, j 27-35. The first job was submitted a second before it began.
ENDS = {
    Axis.EVALUATIONS: dict(zip("abcdefghij", range(1, 11), strict=True)),
    Axis.EPOCHS: dict(zip("abcdefghij", (2, 4, 6, 8, 12, 16, 20, 24, 26, 30), strict=True)),
    Axis.SERIAL: dict(zip("abcdefghij", (10, 16, 18, 22, 32, 42, 46, 51, 55, 63), strict=True)),
    Axis.PARALLEL: dict(zip("abcdefghij", (10, 6, 8, 12, 22, 22, 26, 27, 30, 35), strict=True)),
    Axis.WALL_CLOCK: dict(zip("abcdefghij", (3, 4, 5, 7, 11, 12, 15, 16, 17, 20), strict=True)),
}
#: The incumbents in turn, by validation and by test error; on two workers b ends before a.
BY_VALIDATION = {
    IncumbentMode.ANY_BUDGET: ("abhi", "bhi"),
    IncumbentMode.LARGEST_BUDGET: ("eh", "eh"),
    IncumbentMode.LARGER_PREFERRED: ("abeh", "beh"),
}
BY_TEST = {
    IncumbentMode.ANY_BUDGET: ("adj", "badj"),
    IncumbentMode.LARGEST_BUDGET: ("efj", "efj"),
    IncumbentMode.LARGER_PREFERRED: ("adefj", "badefj"),
}


def result_of(name: str) -> TrialResult:
    config_id, budget, started, ended, t_train, validation, test = EVALUATIONS[name]
    ok = not isinstance(validation, Status)
    return TrialResult(
        config_id=config_id,
        config={},
        model_based=False,
        budget=budget,
        submitted=99.0 + started,
        started=100.0 + started,
        finished=100.0 + ended,
        evaluation=Evaluation(
            status=Status.OK if ok else validation,
            validation_error=validation if ok else None,
            test_error=test,
            t_search_s=ended - started,
            t_train_s=t_train,
            architecture_index=1000 + 131 * list(EVALUATIONS).index(name) if ok else None,
        ),
    )


def hand_made_table() -> Table:
    """The cells of digits, with test errors of our own."""
    digits = open_table("digits")
    errors = np.full_like(digits.data.measurements["test_accuracy"], 0.5)
    rows = digits.query_indices(SPACE, [1000 + 131 * i for i in range(10)]).rows
    assert len(set(rows.tolist())) == 10
    for row, (*_, test) in zip(rows, EVALUATIONS.values(), strict=True):
        if test is not None:
            errors[:, row] = test
    others = [row for row in range(len(digits)) if row not in rows]
    errors[:, others[0]] = 0.05
    errors[:, others[1]] = (0.02, 0.08, 0.08)
    measurements = {**digits.data.measurements, "test_accuracy": 1 - errors}
    return Table("hand-made", replace(digits.data, measurements=measurements))


def hand_made_run() -> LoadedRun:
    run = loaded_run([result_of(name) for name in EVALUATIONS], min_budget=2, max_budget=4, n_workers=2)
    assert run.description is not None
    table = hand_made_table()
    return replace(run, table=table, best_test_error=find_best_test_error(run.description.spec, table))


RUN = hand_made_run()


@pytest.mark.parametrize("definition", list(REGRETS))
@pytest.mark.parametrize("mode", list(IncumbentMode))
@pytest.mark.parametrize("axis", list(Axis))
def test_the_hand_made_run(axis: Axis, mode: IncumbentMode, definition: str) -> None:
    serial, parallel = (BY_TEST if definition == "figure5" else BY_VALIDATION)[mode]
    names = parallel if axis is Axis.PARALLEL else serial
    zero = {"best_mean": 0.05, "figure2": 0.02, "figure5": 0.02}[definition]
    curve = curve_of_run(RUN, axis, mode, Regret.named([definition]))
    assert curve.x.tolist() == [ENDS[axis][name] for name in names]
    assert curve.y == pytest.approx([EVALUATIONS[name][-1] - zero for name in names], abs=1e-6)
    assert curve.end == max(ENDS[axis].values())


def test_of_evaluations_that_end_at_once_the_later_incumbent_holds() -> None:
    curve = curve_of_run(RUN, Axis.PARALLEL, IncumbentMode.LARGEST_BUDGET, Regret.named(["figure5"]))
    assert curve.at([21.9, 22, 34.9, 35]) == pytest.approx([np.nan, 0.10, 0.10, 0.06], abs=1e-6, nan_ok=True)


def test_choices_of_the_public_code_can_be_made_one_by_one() -> None:
    by_test = Regret.named(["test_incumbent"])
    curve = curve_of_run(RUN, Axis.EVALUATIONS, IncumbentMode.ANY_BUDGET, by_test)
    assert (curve.x.tolist(), curve.y) == ([1, 4, 10], pytest.approx([0.15, 0.05, 0.03], abs=1e-6))
    assert Regret.named(["test_incumbent", "single_zero", "one_training", "queried_epochs"]) == Regret.named(
        ["figure5"]
    )
    for names in (["figure3"], ["figure5", "single_zero"], []):
        with pytest.raises(ValueError, match=r"--regret: got .*expected one of best_mean, figure2, figure5"):
            Regret.named(names)


def test_a_definition_is_named_on_the_axis() -> None:
    labels = {name: Regret.named([name]).label.replace("\n", " ") for name in REGRETS}
    assert labels == {
        "best_mean": "Test regret (fraction): mean of the trainings minus lowest mean, incumbent by validation error",
        "figure2": "Test regret as in public Figure 2 (fraction): mean of the trainings minus lowest single training, "
        "incumbent by validation error",
        "figure5": "Test regret as in public Figure 5 (fraction): one training at the queried epochs minus lowest "
        "single training, incumbent by test error",
    }


def test_one_training_is_drawn_for_each_evaluation_by_the_seed_of_the_study() -> None:
    digits = open_table("digits")
    regret = Regret(frozenset({PublicChoice.ONE_TRAINING}))
    drawn = set()
    for seed in range(12):
        run = loaded_run([result_of("a")], best_test_error=0.0, seed=seed)
        run = replace(run, table=digits)
        (value,) = curve_of_run(run, Axis.SERIAL, IncumbentMode.ANY_BUDGET, regret).y
        assert [value] == curve_of_run(run, Axis.SERIAL, IncumbentMode.ANY_BUDGET, regret).y.tolist()
        drawn.add(float(value))
    assert drawn == set(digits.query_indices(SPACE, [1000]).test_error[0].tolist())


def test_without_the_best_cell_there_is_no_regret() -> None:
    with pytest.raises(NoRegretError, match="the lowest test error in its search space is not known"):
        curve_of_run(loaded_run([result_of("a")]), Axis.SERIAL, IncumbentMode.ANY_BUDGET, Regret())


def test_only_failures_have_no_curve() -> None:
    run = replace(RUN, results=[result_of("c"), result_of("g")])
    curve = curve_of_run(run, Axis.SERIAL, IncumbentMode.ANY_BUDGET, Regret())
    assert (len(curve.x), curve.end) == (0, 6)
