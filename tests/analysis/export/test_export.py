"""What is exported, read again by the libraries it is for."""

import csv
import io
import re
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

import run_bohb
from analysis.export import FORMATS, data_frame
from analysis.export.evaluations import csv_content, parquet_content
from analysis.export.latex import latex_content
from analysis.export.optuna_journal import journal_content
from analysis.load import load_run
from results import journal
from results.bohb_lines import config_line, result_line
from results.records import Evaluation, Proposal, Status, TrialResult
from results.run_directory import RunDirectory
from spaces.config_spaces import CS2, CS3
from tests.analysis.runs import study_spec, write_space_run

ERRORS = {(0, 0, 0): {4: 0.3, 16: 0.1}, (0, 0, 1): {4: 0.4}, (0, 0, 2): {4: None, 16: None}, (0, 0, 3): {}}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Four configurations: promoted, not promoted, failed, without a result."""
    spec = study_spec(config_space="cs2", min_budget=4, max_budget=16, default_config=CS2.default)
    run = RunDirectory.create(tmp_path / "my_run", spec, CS2.build(seed=0).to_serialized_dict(), {})
    time = 1000.0
    for config_id, by_budget in ERRORS.items():
        config = {**CS2.default, "cutout_prob": config_id[2] / 10}
        journal.append(run.configs_json, config_line(config_id, Proposal(config=config, model_based=config_id[2] == 1)))
        for budget, error in by_budget.items():
            time += 10
            failed = Evaluation(status=Status.OUT_OF_MEMORY, t_search_s=2.0, error='no "memory", left')
            ok = Evaluation(
                status=Status.OK, validation_error=error, test_error=0.2, t_search_s=5.0, t_train_s=7.0, cell_hash="0f"
            )
            journal.append(
                run.results_json,
                result_line(
                    TrialResult(
                        config_id=config_id,
                        config=config,
                        model_based=config_id[2] == 1,
                        budget=budget,
                        submitted=time - 1,
                        started=time,
                        finished=time + 5,
                        evaluation=failed if error is None else ok,
                    )
                ),
            )
    return run


def test_csv_has_a_row_per_evaluation_with_errors_times_and_hyperparameters(run: RunDirectory) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_content([load_run(run.path)]).decode())))
    assert [(row["index"], row["budget"], row["loss"]) for row in rows] == [
        ("0", "4.0", "0.3"),
        ("0", "16.0", "0.1"),
        ("1", "4.0", "0.4"),
        ("2", "4.0", "1.0"),
        ("2", "16.0", "1.0"),
    ]
    assert rows[3]["validation_error"] == rows[3]["t_train_s"] == ""
    assert (rows[3]["status"], rows[3]["error"]) == ("out_of_memory", 'no "memory", left')
    assert {row["run"] for row in rows} == {"my_run"}
    assert [row["t_sim_s"] for row in rows[:4]] == ["12.0", "12.0", "12.0", "2.0"]
    assert [row["config.cutout_prob"] for row in rows] == ["0.0", "0.0", "0.1", "0.2", "0.2"]
    # The lowest mean test error of space 1 in the embedded table at 12 epochs is 9 1/3 of 500 images.
    assert float(rows[0]["test_regret"]) == pytest.approx(0.2 - 28 / 1500)


def test_a_run_without_a_result_is_a_table_without_rows(make_run: Callable[..., RunDirectory]) -> None:
    (header,) = csv.reader(io.StringIO(csv_content([load_run(make_run(0, n_iterations=0).path)]).decode()))
    assert header[:2] == ["run", "optimizer"]


def test_parquet_and_the_data_frame_have_the_same_values_with_types(run: RunDirectory, tmp_path: Path) -> None:
    pandas, parquet = pytest.importorskip("pandas"), pytest.importorskip("pyarrow.parquet")
    loaded = [load_run(run.path), load_run(write_space_run(tmp_path / "other", CS3, n=3, budgets=(8,)).path)]
    frame = data_frame(loaded)
    table = parquet.read_table(io.BytesIO(parquet_content(loaded)))
    assert frame["run"].tolist() == ["my_run"] * 5 + ["other"] * 3
    assert frame.groupby("run")["loss"].min()["my_run"] == 0.1
    assert str(frame["config.batch_size"].dtype) == "Int64"
    assert frame["config.batch_size"].isna().sum() == 5
    assert {name: str(table.schema.field(name).type) for name in ("index", "budget", "model_based", "status")} == {
        "index": "int64",
        "budget": "double",
        "model_based": "bool",
        "status": "string",
    }
    text = pandas.read_csv(io.BytesIO(csv_content(loaded)), float_precision="round_trip")
    for name in ("loss", "test_regret", "config.learning_rate", "config.batch_size"):
        assert table.column(name).to_pandas().equals(text[name])
        assert frame[name].astype("float64").equals(text[name].astype("float64"))
    assert list(text) == list(frame) == table.column_names


def test_optuna_reads_a_trial_per_configuration(run: RunDirectory, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    file = tmp_path / "journal.log"
    file.write_bytes(journal_content([load_run(run.path)]))
    assert file.read_bytes() == journal_content([load_run(run.path)])
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(file)))
    study = optuna.load_study(study_name="my_run", storage=storage)
    trials = study.trials
    assert [(trial.state.name, trial.value, trial.intermediate_values) for trial in trials] == [
        ("COMPLETE", 0.1, {4: 0.3, 16: 0.1}),
        ("PRUNED", 0.4, {4: 0.4}),
        ("FAIL", None, {}),
        ("WAITING", None, {}),
    ]
    assert [trial.params for trial in trials] == [{**CS2.default, "cutout_prob": index / 10} for index in range(4)]
    rate = trials[0].distributions["learning_rate"]
    assert (rate.low, rate.high, rate.log) == (pytest.approx(1e-3), 1.0, True)
    assert study.best_trial.number == 0
    assert study.user_attrs["optimizer"] == "darts"
    assert trials[0].user_attrs["test_error"] == 0.2
    assert [trial.user_attrs["model_based"] for trial in trials] == [False, True, False, False]
    assert (trials[2].user_attrs["status"], trials[2].user_attrs["budget"]) == ("out_of_memory", 16)
    times = trials[0].datetime_start, trials[0].datetime_complete
    assert [time.astimezone(timezone.utc) for time in times] == [
        datetime.fromtimestamp(unix, timezone.utc) for unix in (1010, 1025)
    ]


def test_optuna_reads_a_study_per_run_and_its_importances(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    runs = [write_space_run(tmp_path / name, CS3, n=30, budgets=(4, 8), n_failed=2) for name in ("one", "two")]
    file = tmp_path / "both.log"
    file.write_bytes(journal_content([load_run(run.path) for run in runs]))
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(file)))
    studies = [optuna.load_study(study_name=name, storage=storage) for name in ("one", "two")]
    assert [len(study.trials) for study in studies] == [32, 32]
    importances = optuna.importance.get_param_importances(studies[0])
    assert next(iter(importances)) == "cutout_prob"  # which alone decides the error of these runs


def test_optuna_is_not_given_what_it_cannot_hold(run: RunDirectory) -> None:
    pytest.importorskip("optuna")
    run.configspace_json.write_text("{}")
    with pytest.raises(ValueError, match=r"configspace\.json lacks hyperparameters of the configurations: cutout_prob"):
        journal_content([load_run(run.path)])
    run.configspace_json.write_text("no JSON")
    run.run_json.write_text(run.run_json.read_text().replace('"cs2"', '"unknown"'))
    with pytest.raises(ValueError, match="my_run: the bounds of the hyperparameters are not known"):
        journal_content([load_run(run.path)])


def test_latex_tables_have_the_incumbent_beside_the_default(run: RunDirectory, tmp_path: Path) -> None:
    other = write_space_run(tmp_path / "50%", CS3, n=3, budgets=(8,))
    text = latex_content([load_run(run.path), load_run(other.path)]).decode()
    first, second = re.findall(r"\\begin{tabular}{(\w+)}\n(.*?)\\end{tabular}", text, re.DOTALL)
    for columns, body in (first, second):
        assert [body.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert all(_width(row) == len(columns) for row in rows)
    assert r"my\_run & darts & 1 & 5 & 2 & 16 & 10.00 & 20.00 & 18.13 & 16 & 10.00 & 20.00 \\" in first[1]
    assert r"50\% & darts" in first[1]
    assert r"learning rate & 0.001 to 1, log & 0.025 & 0.025 & 0.025 &" in second[1]
    assert r"weight decay & $1 \cdot 10^{-5}$ to 0.001, log & $3 \cdot 10^{-4}$" in second[1]
    assert r"batch size & 16 to 128 & -- & -- & 96 &" in second[1]


def _width(row: str) -> int:
    """Number of columns that a row spans."""
    spans = [int(n) for n in re.findall(r"\\multicolumn{(\d)}", row)]
    return row.replace(r"\&", "").count("&") + 1 + sum(spans) - len(spans)


@pytest.mark.parametrize("name", list(FORMATS))
def test_the_command_writes_each_format_into_the_report(
    run: RunDirectory, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    package = {"parquet": "pyarrow", "optuna": "optuna"}.get(name)
    if package:
        pytest.importorskip(package)
    assert run_bohb.main(["export", str(run.path), "--format", name]) == 0
    file = run.report / FORMATS[name].file_name
    assert file.stat().st_size > 0
    assert capsys.readouterr().out == f"Written: {file}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["RUN", "--format", "xlsx"], "--format: got 'xlsx', expected one of csv, parquet, latex, optuna"),
        (["RUN", "RUN"], "2 runs have no common folder for the file; name one with --output"),
        (["RUN", "RUN", "--output", "RUN/twice.csv"], "this run was named twice; name each run once"),
        ([], "export: no run was named"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_a_sentence(
    run: RunDirectory, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_bohb.main(["export", *(argument.replace("RUN", str(run.path)) for argument in arguments)]) == 2
    assert said in capsys.readouterr().err


def test_runs_of_the_same_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    runs = [write_space_run(tmp_path / folder / "run", CS2, n=1, budgets=(8,)) for folder in "ab"]
    rows = list(csv.DictReader(io.StringIO(csv_content([load_run(run.path) for run in runs]).decode())))
    assert [row["run"] for row in rows] == [str(run.path) for run in runs]


def test_a_value_outside_of_the_bounds_is_named_with_run_and_configuration(run: RunDirectory) -> None:
    pytest.importorskip("optuna")
    line = run.configs_json.read_text().splitlines()[1]
    run.configs_json.write_text(run.configs_json.read_text().replace(line, line.replace("0.1", "7.5")))
    run.results_json.write_text("")
    with pytest.raises(ValueError, match=r"my_run: configuration \(0, 0, 1\): cutout_prob: got 7\.5, expected"):
        journal_content([load_run(run.path)])


def test_an_export_says_what_was_left_out(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with run.results_json.open("a") as stream:
        stream.write("no line of a journal\n")
    assert run_bohb.main(["export", str(run.path), "--output", str(tmp_path / "it.csv")]) == 0
    assert "(my_run: lines that cannot be used are left out: 1: results.json, line 6" in capsys.readouterr().out
