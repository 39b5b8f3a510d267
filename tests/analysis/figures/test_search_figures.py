"""Figures of searches, worked by hand."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest

import run_bohb
from analysis.correlation import rank_correlations
from analysis.figures import FIGURES, DoesNotApplyError
from analysis.figures.figure import csv_text
from analysis.load import load_run
from nas.tabular import open_table
from results import journal
from results.bohb_lines import config_line, result_line
from results.records import Evaluation, Proposal, Status, TrialResult, TrialSpec
from results.run_directory import RunDirectory
from results.trial_directory import write_trial_spec
from spaces import SEARCH_SPACES
from spaces.config_spaces import CS1
from tests.analysis.runs import loaded_run, study_spec
from tests.analysis.single_searches import write_epochs, write_one_shot_errors, write_search

#: The lowest mean test error of space 1 in the embedded table at 12 epochs.
BEST = open_table("digits").best_test_error(SEARCH_SPACES["1"], 12)


def table_of(figure: str, *paths: Path) -> list[dict[str, str]]:
    """The numbers of a figure as its CSV file has them."""
    module = FIGURES[figure]
    data = module.compute([load_run(path) for path in paths])
    return list(csv.DictReader(io.StringIO(csv_text(module.rows(data)))))


def numbers(rows: Sequence[dict[str, str]], name: str) -> list[float | None]:
    return [float(row[name]) if row[name] else None for row in rows]


def test_mean_and_spread_over_seeds_epoch_by_epoch(tmp_path: Path) -> None:
    write_search(tmp_path / "0", [0.5, 0.4, 0.3], [0.1, 0.2, 0.3], seed=0)
    write_search(tmp_path / "1", [0.7, 0.6, 0.5], [0.3, None, 0.5], seed=1)
    write_search(tmp_path / "2", [0.9], [0.2], seed=2, failed=True)
    rows = table_of("anytime", tmp_path)
    assert {(row["panel"], row["line"]) for row in rows} == {("Search space 1", "darts")}
    assert numbers(rows, "n_searches") == [3, 2, 2]
    assert numbers(rows, "one_shot_validation_error_mean") == pytest.approx([0.7, 0.5, 0.4])
    assert numbers(rows, "one_shot_validation_error_std") == pytest.approx([0.2, stdev([0.4, 0.6]), stdev([0.3, 0.5])])
    # The table lacks a cell of the second epoch, so there is no mean.
    first, second, third = numbers(rows, "test_regret_mean")
    assert second is None
    assert (first, third) == (pytest.approx(0.2 - BEST), pytest.approx(0.4 - BEST))
    assert numbers(rows, "test_regret_std")[2] == pytest.approx(stdev([0.3, 0.5]))


def test_lines_are_optimizers_whose_own_defaults_differ_and_seeds_may_lie_in_several_folders(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_search(tmp_path / f"{seed}" / "a", [0.5], [0.1], seed=seed)
        write_search(tmp_path / f"{seed}" / "b", [0.5], [0.1], seed=seed, optimizer="enas", batch_size=64)
        write_search(tmp_path / f"{seed}" / "c", [0.5], [0.1], seed=seed, search_space="3", threads=2)
    rows = table_of("anytime", tmp_path / "0", tmp_path / "1")
    assert [(row["panel"], row["line"], row["n_searches"]) for row in rows] == [
        ("Search space 1", "darts", "2"),
        ("Search space 1", "enas", "2"),
        ("Search space 3", "darts", "2"),
    ]
    # The table does not hold all of space 3, so its lowest error is not known.
    assert numbers(rows, "test_error_mean") == pytest.approx([0.1] * 3)


def test_where_a_hyperparameter_varies_columns_are_optimizers_and_lines_its_values(tmp_path: Path) -> None:
    for value in (27e-4, 1e-4, 9e-4):
        write_search(tmp_path / f"{value}", [0.5], [0.1], weight_decay=value)
    rows = table_of("anytime", tmp_path)
    assert [row["line"] for row in rows] == ["weight decay 0.0001", "weight decay 0.0009", "weight decay 0.0027"]
    assert {row["panel"] for row in rows} == {"Search space 1, darts"}


def test_a_sweep_shows_each_search_at_its_end_by_the_values(tmp_path: Path) -> None:
    for optimizer in ("darts", "gdas"):
        for seed in (0, 1):
            for value in (0.5, 0.0):
                error = 0.1 + value / 10 + seed / 100
                folder = tmp_path / optimizer / f"{value}" / f"{seed}"
                write_search(folder, [0.9, error], [0.9, 2 * error], optimizer=optimizer, seed=seed, cutout_prob=value)
    rows = table_of("sweep", tmp_path)
    assert [(row["optimizer"], row["cutout_prob"]) for row in rows[::2]] == [
        (optimizer, value) for optimizer in ("darts", "gdas") for value in ("0.0", "0.5")
    ]
    assert numbers(rows, "one_shot_validation_error")[:4] == pytest.approx([0.1, 0.11, 0.15, 0.16])
    assert numbers(rows, "test_regret")[:4] == pytest.approx([e - BEST for e in (0.2, 0.22, 0.3, 0.32)])


def test_a_sweep_needs_one_hyperparameter_that_varies(tmp_path: Path) -> None:
    write_search(tmp_path / "a", [0.5], [0.1], weight_decay=1e-4, batch_size=64)
    write_search(tmp_path / "b", [0.5], [0.1], weight_decay=1e-3, batch_size=96)
    with pytest.raises(DoesNotApplyError, match="and here vary: batch_size, weight_decay"):
        table_of("sweep", tmp_path)
    with pytest.raises(DoesNotApplyError, match="and here vary: none"):
        table_of("sweep", tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "values", "scale", "ticks"),
    [
        ("precision", ("bf16", "float32"), "linear", ["bf16", "float32"]),
        ("cutout_prob", (0.0, 0.5, 1.0), "linear", ["0", "0.5", "1"]),
        ("batch_size", (2, 64), "log", ["2", "64"]),
    ],
)
def test_the_axis_of_a_sweep_has_the_values_at_its_ticks(
    tmp_path: Path, name: str, values: tuple[float | str, ...], scale: str, ticks: list[str]
) -> None:
    for value in values:
        write_search(tmp_path / str(value), [0.5], [0.1], **{name: value})
    figure = FIGURES["sweep"]
    bottom = figure.draw(figure.compute([load_run(tmp_path)])).axes[1]
    assert bottom.get_xscale() == scale
    assert [tick.get_text() for tick in bottom.get_xticklabels()] == ticks
    assert bottom.get_xlabel() == name.replace("_", " ") + (" [images]" if name == "batch_size" else "")


def test_a_study_is_shown_by_its_default_its_incumbent_and_all_others(tmp_path: Path) -> None:
    spec = study_spec(config_space="cs1", min_budget=2, max_budget=4, default_config=CS1.default)
    run = RunDirectory.create(tmp_path / "run", spec, CS1.build(seed=0).to_serialized_dict(), {})
    for index in range(9):
        config = {**CS1.default, "cutout_prob": index / 10}
        journal.append(run.configs_json, config_line((0, 0, index), Proposal(config=config, model_based=False)))
        for budget in (2, 4):
            trial = TrialSpec(study=spec, config_id=(0, 0, index), budget=budget, config=config, seed=index)
            directory = run.trial_directory((0, 0, index), budget)
            write_trial_spec(directory, trial)
            write_epochs(directory, [(index + 1) / 10] * budget, [0.3] * budget)
            # At the smaller budget another configuration is the best.
            loss = {2: {7: 0.0}, 4: {5: 0.1}}[budget].get(index, 0.2)
            evaluation = Evaluation(status=Status.OK, validation_error=loss, test_error=0.3)
            times = {"submitted": 0.0, "started": 1.0, "finished": 2.0}
            journal.append(
                run.results_json,
                result_line(
                    TrialResult(
                        config_id=(0, 0, index),
                        config=config,
                        model_based=False,
                        budget=budget,
                        evaluation=evaluation,
                        **times,
                    )
                ),
            )
    rows = [row for row in table_of("anytime", run.path) if row["epoch"] == "1"]
    assert [(row["line"], row["n_searches"]) for row in rows] == [
        ("default configuration", "1"),
        ("incumbent", "1"),
        ("all other configurations", "7"),
    ]
    assert numbers(rows, "one_shot_validation_error_mean") == pytest.approx([0.1, 0.6, (45 - 1 - 6) / 70])
    assert len(table_of("anytime", run.path)) == 3 * 4


def test_one_shot_correlation_per_epoch_is_the_mean_over_seeds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    expected = []
    for seed in (0, 1):
        folder = write_search(tmp_path / f"{seed}", [0.5], [0.1], seed=seed)
        one_shot, test = rng.random((2, 20))
        write_one_shot_errors(folder, one_shot.tolist(), test.tolist(), epoch=10)
        write_one_shot_errors(folder, one_shot[::-1].tolist(), test.tolist(), epoch=10, n_images=50)  # of fewer images
        write_one_shot_errors(folder, test.tolist(), test.tolist(), epoch=20)
        expected.append(rank_correlations(one_shot, test)["kendall"].coefficient)
    rows = {(row["coefficient"], row["search_epochs"]): row for row in table_of("one_shot_correlation", tmp_path)}
    early, late = rows["kendall", "10"], rows["spearman", "20"]
    assert float(early["mean"]) == pytest.approx(sum(expected) / 2)
    assert float(early["lower"]) < min(expected)
    assert float(early["upper"]) > max(expected)
    assert (early["n_searches"], early["n_cells"], early["table_epochs"]) == ("2", "20", "12")
    assert [float(late[name]) for name in ("mean", "lower", "upper")] == [1, 1, 1]
    assert len(rows) == 4


def test_the_interval_over_seeds_is_wider_than_that_of_a_seed_where_seeds_differ(tmp_path: Path) -> None:
    test = np.linspace(0, 1, 40)
    for seed, one_shot in enumerate((test, 1 - test)):
        folder = write_search(tmp_path / f"{seed}", [0.5], [0.1], seed=seed)
        write_one_shot_errors(folder, one_shot.tolist(), test.tolist())
    row = table_of("one_shot_correlation", tmp_path)[0]
    assert [float(row[name]) for name in ("mean", "lower", "upper")] == pytest.approx([0, -1, 1])


def test_the_distribution_counts_the_architectures_of_a_space() -> None:
    """Against the answers to one query per architecture."""
    table, space = open_table("digits"), SEARCH_SPACES["1"]
    by_query = np.array([table.query(space.cell_of(index), 12).mean_test_error for index in range(space.size)])
    evaluation = Evaluation(status=Status.OK, validation_error=0.1, test_error=0.03)
    result = TrialResult(
        config_id=(0, 0, 0),
        config={},
        model_based=False,
        budget=4,
        submitted=0,
        started=0,
        finished=1,
        evaluation=evaluation,
    )
    data = FIGURES["error_distributions"].compute([loaded_run([result])])
    (found,) = [d for d in data.distributions if d.budget == 12]
    assert (found.space, found.n) == ("1", 14_580)
    assert len(found.errors) > 50
    assert np.allclose(found.shares, [(by_query <= error + 1e-9).mean() for error in found.errors], atol=1e-12)
    assert found.errors[0] == pytest.approx(by_query.min())
    assert (found.errors[-1], found.shares[-1]) == (pytest.approx(by_query.max()), 1)
    (incumbent,) = data.incumbents
    assert incumbent.share == pytest.approx((by_query <= 0.03 + 1e-9).mean())
    assert data.left_out == ("2", "3")


def _results(losses: dict[int, list[float | None]]) -> list[TrialResult]:
    """Budget to the loss of each configuration, None for a failure."""
    return [
        TrialResult(
            config_id=(0, 0, index),
            config={},
            model_based=False,
            budget=budget,
            submitted=0.0,
            started=0.0,
            finished=1.0,
            evaluation=Evaluation(status=Status.DIVERGED if loss is None else Status.OK, validation_error=loss),
        )
        for budget, of_budget in losses.items()
        for index, loss in enumerate(of_budget)
    ]


def test_budgets_are_compared_by_the_configurations_that_succeeded_at_both() -> None:
    """Four pairs, ranks 1 2 3 4 against 2 1 4 3: Spearman 0.6, Kendall 1/3."""
    run = loaded_run(_results({25: [0.1, 0.2, 0.3, 0.4, 0.5, None], 100: [0.2, 0.1, 0.4, 0.3, None, 0.1], 50: [0.3]}))
    (pair,) = FIGURES["budget_correlation"].compute([run]).pairs
    assert (pair.small, pair.large, len(pair.losses)) == (25, 100, 4)
    assert pair.correlations["spearman"].coefficient == pytest.approx(0.6)
    assert pair.correlations["kendall"].coefficient == pytest.approx(1 / 3)
    with pytest.raises(DoesNotApplyError, match="no 3 configurations have succeeded at two budgets"):
        FIGURES["budget_correlation"].compute([loaded_run(_results({25: [0.1, 0.2], 50: [0.1, 0.2]}))])


def test_equal_losses_have_no_coefficient_and_still_a_picture() -> None:
    run = loaded_run(_results({25: [0.1, 0.1, 0.1], 50: [0.1, 0.2, 0.3]}))
    figure = FIGURES["budget_correlation"]
    data = figure.compute([run])
    assert "no coefficient, as all losses are equal" in figure.draw(data).axes[0].get_title()
    assert list(figure.rows(data))[1][-6:] == (None,) * 6


def test_analyze_takes_folders_of_searches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for value in (0.0, 0.5):
        write_search(tmp_path / "searches" / f"{value}", [0.5, 0.4], [0.1, 0.2], cutout_prob=value)
    assert run_bohb.main(["analyze", str(tmp_path / "searches")]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "Searches in searches\n(no figure trajectory: it shows a study, and there are single searches)"
    )
    written = {path.name for path in (tmp_path / "searches" / "report").iterdir()}
    assert {"anytime.png", "sweep.csv", "error_distributions.pdf"} <= written
    assert not any(name.startswith(("trajectory", "pairs")) for name in written)


def test_a_folder_of_studies_is_no_folder_of_searches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory.create(tmp_path / "run", study_spec(), {}, {})
    write_epochs(run.trial_directory((0, 0, 0), 4), [0.5], [0.1])
    assert run_bohb.main(["analyze", str(tmp_path)]) == 2
    assert "this path holds no run.json" in capsys.readouterr().err


def test_a_damaged_search_is_left_out_with_a_warning_and_one_that_goes_on_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in range(3):
        write_search(tmp_path / f"{seed}", [0.5], [0.1], seed=seed)
    (tmp_path / "0" / "architecture.json").write_text("{}")
    (tmp_path / "1" / "architecture.json").unlink()
    assert [row["n_searches"] for row in table_of("anytime", tmp_path)] == ["1"]
    (warning,) = caplog.messages
    assert "0/architecture.json: expected the result of a search" in warning
    with pytest.raises(DoesNotApplyError, match="no search that has ended"):
        table_of("anytime", tmp_path / "1")
