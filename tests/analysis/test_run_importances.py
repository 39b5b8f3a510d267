"""The importances of runs: which evaluations they are computed from, what they say, and why there are none."""

import gc
import json
import random
import re
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace
from hpbandster.core.result import logged_results_to_HBS_result

import run_bohb
from analysis.evaluations import evaluations_by_budget, fit_forest
from analysis.importance import PRESETS, Surrogate, importances, surrogate_of
from analysis.importance_text import importances_text
from analysis.load import load_run
from analysis.run_importances import BudgetImportances, cutoff_of, run_importances
from results.records import Status
from results.run_directory import RunDirectory
from spaces.config_spaces import CS1, CS2
from tests.analysis.runs import error_of, write_space_run

Write = Callable[..., RunDirectory]


class OldNames(ConfigurationSpace):
    """A configuration space with the methods that hpbandster calls, and ConfigSpace 1 has not."""

    def get_hyperparameter_names(self) -> list[str]:
        return list(self)

    def get_hyperparameters(self) -> list[Any]:
        return list(self.values())


def found_at(run: RunDirectory, **options: Any) -> list[BudgetImportances | str]:
    return run_importances(load_run(run.path), **options)


def of_budget(found: Sequence[BudgetImportances | str]) -> BudgetImportances:
    (only,) = found
    assert isinstance(only, BudgetImportances)
    return only


def test_a_forest_is_fitted_once_however_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are more budgets than anyone would count on: nine, and all of them together."""
    n_fits = 0

    def counted(*arguments: Any) -> Surrogate:
        nonlocal n_fits
        n_fits += 1
        return surrogate_of(*arguments)

    monkeypatch.setattr("analysis.evaluations.surrogate_of", counted)
    run = load_run(write_space_run(tmp_path / "run", CS2, n=10, budgets=[2**k for k in range(9)]).path)
    for _ in range(2):
        for evaluations in evaluations_by_budget(run):
            forest = fit_forest(evaluations)
            assert fit_forest(evaluations, None, 0) is forest
            assert fit_forest(evaluations, settings=PRESETS["nasbohb"], seed=0) is forest
    assert n_fits == 10
    assert fit_forest(evaluations, seed=1) is not forest
    run_there, forest_there = weakref.ref(run), weakref.ref(forest)
    del run, evaluations, forest
    gc.collect()
    assert (run_there(), forest_there()) == (None, None), "what is kept goes with the run"


def test_hpbandster_reads_the_same_arrays(tmp_path: Path) -> None:
    run = write_space_run(tmp_path / "run", CS2, n=12, budgets=(4, 8), n_failed=0)
    reference = logged_results_to_HBS_result(str(run.path))
    for evaluations in evaluations_by_budget(load_run(run.path))[:-1]:
        space = OldNames()
        space.add(list(CS2.build(0).values()))
        theirs, losses, _ = reference.get_fANOVA_data(space, budgets=[evaluations.budget])
        names = list(space)
        ours = np.array([[config[name] for name in names] for config in evaluations.configurations])
        order, their_order = np.lexsort(ours.T), np.lexsort(theirs.T)
        assert np.array_equal(ours[order], theirs[their_order])
        assert np.array_equal(evaluations.losses[order], losses[their_order])


def test_failures_are_left_out_by_kind_and_budgets_stand_apart(tmp_path: Path) -> None:
    run = write_space_run(tmp_path / "run", CS1, n=12, budgets=(4, 8), n_failed=2)
    at_4, at_8, together = evaluations_by_budget(load_run(run.path))
    assert [each.budget for each in (at_4, at_8, together)] == [4, 8, None]
    assert len(at_4.losses) == len(at_4.configurations) == 12
    assert at_4.left_out == {Status.DIVERGED: 2}
    assert len(at_4.failed) == 2
    assert at_4.counted == "12 evaluations used, left out: 2 diverged"
    assert len(together.losses) == 24
    assert together.left_out == {Status.DIVERGED: 4}
    assert [dimension.name for dimension in together.dimensions][-1] == "budget"
    assert {config["budget"] for config in together.configurations} == {4, 8}
    assert at_8.losses.min() == at_8.losses[at_8.configurations.index(at_8.incumbent or {})]


def test_what_matters_stands_first_and_above_the_noise(tmp_path: Path) -> None:
    run = load_run(write_space_run(tmp_path / "run", CS2, n=60, budgets=(8,)).path)
    found = of_budget(run_importances(run, n_samples=3))
    assert found.main_effects[0] == ("cutout_prob",)
    assert not found.is_noise(("cutout_prob",))
    assert found.is_noise(("weight_decay",))
    assert set(found.views) == {"better than the default", "best 20 %"}
    text = importances_text(run, [found], n_pairs=1)
    first = next(line for line in text.splitlines() if line.startswith("  cutout_prob "))
    assert float(first.split()[1]) == pytest.approx(100 * found.found.of("cutout_prob"), abs=0.06)
    assert "± samples" in text
    assert "2 other pairs" in text
    assert "At 8 search epochs: 60 evaluations used; out-of-bag R2 0." in text


def test_the_rows_sum_to_the_whole(tmp_path: Path) -> None:
    run = load_run(write_space_run(tmp_path / "run", CS2, n=30, budgets=(8,)).path)
    lines = importances_text(run, run_importances(run), n_pairs=1).splitlines()
    start = next(index for index, line in enumerate(lines) if "noise floor" in line) + 1
    stop = next(index for index, line in enumerate(lines) if "higher orders" in line)
    shares = [float(re.findall(r"  +(\d+\.\d)", line)[0]) for line in lines[start : stop + 1]]
    assert len(shares) == 3 + 1 + 1 + 1  # main effects, a pair, the other pairs, higher orders
    assert sum(shares) == pytest.approx(100, abs=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 5}, r"--budget: got 5, expected one of 4, 8"),
        ({"preset": "mine"}, r"--preset: got 'mine', expected one of nasbohb, automl, optuna, deepcave"),
        ({"cutoff": "low"}, r"--cutoff: got 'low', expected default, a share such as 20%, or a loss"),
        ({"cutoff": "120%"}, r"--cutoff: got '120%'"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    run = write_space_run(tmp_path / "run", CS1, n=10, budgets=(4, 8))
    with pytest.raises(ValueError, match=message):
        found_at(run, **options)


def test_a_preset_reports_what_its_tool_does(tmp_path: Path) -> None:
    optuna = of_budget(found_at(write_space_run(tmp_path / "run", CS1, n=20, budgets=(4,)), preset="optuna"))
    assert optuna.pairs == []
    assert sum(optuna.found.fractions.values()) == pytest.approx(1)


def test_a_cut_off_is_the_defaults_loss_a_share_or_a_loss(tmp_path: Path) -> None:
    run = write_space_run(tmp_path / "run", CS1, n=20, budgets=(4,))
    (evaluations,) = evaluations_by_budget(load_run(run.path))
    assert cutoff_of("default", evaluations).upper == error_of(CS1.default, 4)
    assert cutoff_of("30%", evaluations).upper == np.quantile(evaluations.losses, 0.3)
    assert cutoff_of("0.125", evaluations).upper == 0.125
    clipped = of_budget(found_at(run, cutoff="30%"))
    assert clipped.found == importances(fit_forest(evaluations), cutoff=cutoff_of("30%", evaluations))
    assert not clipped.views


def test_without_a_loss_of_the_default_its_view_and_its_cut_off_say_so(tmp_path: Path) -> None:
    run = write_space_run(tmp_path / "run", CS1, n=11, budgets=(4,), default_config={"weight_decay": 1e-4})
    assert "has no loss" in str(of_budget(found_at(run)).views["better than the default"])
    assert found_at(run, cutoff="default") == [
        "At 4 search epochs: the default configuration has no loss to cut off at"
    ]


def test_only_failures_are_one_sentence(tmp_path: Path) -> None:
    run = write_space_run(tmp_path / "run", CS1, n=0, n_failed=11, budgets=(4,))
    assert found_at(run) == [
        "At 4 search epochs: 0 evaluations used, left out: 11 diverged; importances need at least 10 that succeeded"
    ]


def test_three_evaluations_are_one_sentence(tmp_path: Path) -> None:
    run = write_space_run(tmp_path / "run", CS1, n=3, budgets=(4,))
    assert found_at(run) == [
        "At 4 search epochs: 3 evaluations used; importances need at least 10 that succeeded",
    ]


def test_one_distinct_value_is_named_beside_the_others_and_alone_is_one_sentence(tmp_path: Path) -> None:
    run = write_space_run(tmp_path / "one", CS1, n=12, budgets=(4,), fixed={"weight_decay": 1e-4})
    assert of_budget(found_at(run)).found.left_out == {"weight_decay": "one value in all evaluations"}
    fixed, rng = {"weight_decay": 1e-4, "cutout_prob": 0.5}, random.Random(0)
    (sentence,) = found_at(
        write_space_run(tmp_path / "both", CS1, n=12, budgets=(4,), fixed=fixed, loss=lambda *_: rng.random())
    )
    assert isinstance(sentence, str)
    assert sentence.startswith("At 4 search epochs: no hyperparameter varies (")


def test_equal_losses_are_one_sentence(tmp_path: Path) -> None:
    run = write_space_run(tmp_path / "run", CS1, n=12, budgets=(4,), loss=lambda config, budget: 0.25)
    assert found_at(run) == [
        "At 4 search epochs: all losses are 0.25 (evaluations: 12); importances need two different ones"
    ]


def test_the_space_is_of_the_file_or_of_the_studys_name(tmp_path: Path) -> None:
    run = write_space_run(tmp_path / "run", CS1, n=12, budgets=(4,))
    assert load_run(run.path).tuner_space == CS1.build(0)
    run.configspace_json.unlink()
    assert load_run(run.path).tuner_space == CS1.build(0)
    run.configspace_json.write_text("{")
    damaged = load_run(run.path)
    assert damaged.tuner_space == CS1.build(0)
    assert any(note.startswith("configspace.json cannot be used") for note in damaged.notes)


def test_without_a_space_or_with_another_one_it_says_so(tmp_path: Path) -> None:
    run = write_space_run(tmp_path / "run", CS1, n=12, budgets=(4,))
    space = json.loads(run.configspace_json.read_text())
    space["hyperparameters"] = space["hyperparameters"][:1]
    run.configspace_json.write_text(json.dumps(space))
    with pytest.raises(ValueError, match="lacks hyperparameters of the configurations: weight_decay"):
        found_at(run)
    run.configspace_json.unlink()
    run.run_json.unlink()  # a log of hpbandster
    with pytest.raises(ValueError, match=r"no usable configspace\.json"):
        found_at(run)


def test_many_evaluations_are_bounded_per_tree(tmp_path: Path) -> None:
    rng = random.Random(0)
    run = write_space_run(
        tmp_path / "run", CS1, n=1_200, budgets=(4,), loss=lambda config, budget: rng.random() / 2, n_failed=0
    )
    (evaluations,) = evaluations_by_budget(load_run(run.path))
    surrogate = fit_forest(evaluations)
    assert surrogate.settings.evaluations_per_tree == 1_000
    assert (~surrogate.is_out_of_bag).sum(axis=1).max() <= 1_000


def test_losses_drawn_per_configuration_have_a_warning_over_all_budgets_too(tmp_path: Path) -> None:
    drawn: dict[float, float] = {}
    rng = random.Random(0)

    def loss(config: Any, budget: float) -> float:
        return drawn.setdefault(config["weight_decay"], rng.random() / 2) + budget / 1000

    run = write_space_run(tmp_path / "run", CS2, n=30, budgets=(3, 6, 12), loss=loss)
    for each in found_at(run):
        assert isinstance(each, BudgetImportances)
        assert (each.found.out_of_bag_r2 or 0) < 0
        assert each.found.warning is not None


def test_a_run_without_importances_is_named_and_the_others_have_their_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = write_space_run(tmp_path / "some", CS1, n=12, budgets=(4,))
    none = write_space_run(tmp_path / "none", CS1, n=0, budgets=(4,))
    none.results_json.write_text("no line of a journal\n")
    few = write_space_run(tmp_path / "few", CS1, n=3, budgets=(4,))
    failed = write_space_run(tmp_path / "failed", CS1, n=0, n_failed=3, budgets=(4,))
    assert run_bohb.main(["importance", str(none.path), str(some.path)]) == 2
    out = capsys.readouterr().out
    assert f"{none.path}: there is no result of an evaluation." in out
    assert "lines that cannot be used are left out: 1" in out
    assert "At 4 search epochs: 12 evaluations used" in out
    assert [run_bohb.main(["importance", str(run.path)]) for run in (none, few, failed, some)] == [2, 2, 2, 0]
    with pytest.raises(ValueError, match="--cutoff: got 'low'"):
        found_at(none, cutoff="low")


def test_a_value_outside_of_the_bounds_is_named_with_its_configuration(tmp_path: Path) -> None:
    run = write_space_run(tmp_path / "run", CS1, n=12, budgets=(4, 8), fixed={"cutout_prob": 7.5}, loss=lambda *_: 0.2)
    with pytest.raises(ValueError, match=r"configuration \(0, 0, 0\): cutout_prob: got 7\.5, expected a number from"):
        found_at(run)


def test_a_column_of_which_the_forest_explains_nothing_has_a_warning_below_the_table(tmp_path: Path) -> None:
    rng = random.Random(0)

    def loss(config: Any, budget: float) -> float:
        """Bad configurations are told apart, good ones are noise."""
        return 0.1 + 0.01 * rng.random() + (0.5 if config["cutout_prob"] > 0.5 else 0)

    run = load_run(write_space_run(tmp_path / "run", CS2, n=40, budgets=(4,), loss=loss).path)
    each = of_budget(run_importances(run))
    view = each.views["best 20 %"]
    assert not isinstance(view, str)
    assert each.found.warning is None
    assert view.warning is not None
    last = importances_text(run, [each], n_pairs=1).splitlines()[-1]
    assert last == f"  column 'best 20 %', out-of-bag R2 {view.out_of_bag_r2:.2f}: {view.warning}"
