"""From a trial to its outcome: real searches of a tiny network on the digits, with a table that is made up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from nas.datasets import DatasetId
from nas.oneshot import SearchResult
from nas.oneshot.resolve import resolve
from nas.tabular import CellNotInTableError, Entry
from results.epoch import EpochRecord
from results.records import Status, StudySpec, TrialSpec
from results.trial_directory import read_trajectory, read_trial_spec
from spaces import CONFIG_SPACES, SEARCH_SPACES, Cell
from worker import objective as module
from worker.objective import evaluate, search_spec
from worker.outcome import TrialAbandonedError, contained

TINY = {"n_stacks": 1, "cells_per_stack": 1, "init_channels": 2, "threads": 1, "device": "cpu"}
STUDY = StudySpec(
    run_id="test",
    optimizer="darts",
    search_space="1",
    config_space="cs2",
    dataset="digits",
    data_dir=None,
    table="made up",
    table_epochs=16,  # not the largest of the made-up table
    min_budget=1,
    max_budget=2,
    search_settings=TINY,
)
TRIAL = TrialSpec(
    study=STUDY,
    config_id=(0, 0, 0),
    budget=2,
    config={"weight_decay": 3e-4, "cutout_prob": 0.0, "learning_rate": 0.05},
    seed=5,
)


class MadeUpTable:
    """Every cell's errors follow from its hash; all figures differ between budgets, and between the two repeats."""

    name = "made up"
    dataset = DatasetId("digits")
    budgets = (4, 16, 64)
    provenance: ClassVar[dict[str, str]] = {}

    def query(self, cell: Cell, budget: int | None = None) -> Entry:
        epochs = budget or self.budgets[-1]
        error = int(cell.hash[:4], 16) / 2**17
        return Entry(
            cell_hash=cell.hash,
            budget=epochs,
            validation_error=(error + 1 / epochs, error + 2 / epochs),
            test_error=(0.25 / epochs, 0.75 / epochs),
            training_time_s=(10.0 * epochs, 30.0 * epochs),
            trainable_parameters=100,
        )


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> MadeUpTable:
    table = MadeUpTable()
    monkeypatch.setattr(module, "_open_table", lambda name: table)
    return table


@pytest.fixture(autouse=True)
def project_log() -> Iterator[None]:
    logger = logging.getLogger("nasbohb")
    level = logger.level
    logger.setLevel("INFO")
    yield
    logger.setLevel(level)


def test_a_trial_is_searched_and_its_cell_looked_up(tmp_path: Path) -> None:
    epochs: list[EpochRecord] = []
    outcome = evaluate(TRIAL, tmp_path / "trial", epochs.append, worker="w")
    assert (outcome.status, outcome.error, outcome.seed, outcome.worker) == (Status.OK, None, 5, "w")
    assert outcome.architecture_index is not None
    space = SEARCH_SPACES["1"]
    cell_hash = space.cell_of(outcome.architecture_index).hash
    assert outcome.cell_hash == cell_hash
    # Means of the two repeats at the study's 16 epochs of the table.
    assert outcome.validation_error == outcome.loss == int(cell_hash[:4], 16) / 2**17 + 1.5 / 16
    assert outcome.test_error == 0.5 / 16
    assert outcome.t_train_s == 20 * 16
    assert outcome.t_search_s > 0
    assert outcome.t_sim_s == outcome.t_search_s + 20 * 16
    assert [e.epoch for e in epochs] == [1, 2]
    assert (epochs[-1].architecture_index, epochs[-1].cell_hash) == (outcome.architecture_index, cell_hash)
    answers = epochs[-1].table
    assert {budget: answer.test_error for budget, answer in answers.items()} == {4: 0.125, 16: 0.5 / 16, 64: 0.5 / 64}
    assert answers[16].validation_error == outcome.validation_error
    assert outcome.one_shot_validation_error == epochs[-1].one_shot_validation_error


def test_a_trial_leaves_its_files(tmp_path: Path) -> None:
    epochs: list[EpochRecord] = []
    evaluate(TRIAL, tmp_path / "trial", epochs.append)
    assert read_trial_spec(tmp_path / "trial") == TRIAL
    assert read_trajectory(tmp_path / "trial") == epochs
    assert "ended as ok with loss" in (tmp_path / "trial" / "log.txt").read_text()
    assert logging.getLogger("nasbohb").handlers == []


def test_an_abandoned_trial_goes_on_where_it_was(tmp_path: Path) -> None:
    """The epoch in which it learns that the trial is another's leaves no trace."""

    def abandon_second(epoch: EpochRecord) -> None:
        if epoch.epoch == 2:
            raise TrialAbandonedError

    with pytest.raises(TrialAbandonedError):
        evaluate(TRIAL, tmp_path / "trial", abandon_second)
    assert [e.epoch for e in read_trajectory(tmp_path / "trial")] == [1]
    epochs: list[EpochRecord] = []
    resumed = evaluate(TRIAL, tmp_path / "trial", epochs.append)
    assert [e.epoch for e in epochs] == [2]
    whole = evaluate(TRIAL, tmp_path / "other")
    assert (resumed.architecture_index, resumed.validation_error) == (whole.architecture_index, whole.validation_error)


def test_a_trial_with_a_damaged_checkpoint_starts_again(tmp_path: Path) -> None:
    whole = evaluate(TRIAL, tmp_path / "whole")

    def abandon_second(epoch: EpochRecord) -> None:
        if epoch.epoch == 2:
            raise TrialAbandonedError

    with pytest.raises(TrialAbandonedError):
        evaluate(TRIAL, tmp_path / "trial", abandon_second)
    checkpoint = tmp_path / "trial" / "checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    epochs: list[EpochRecord] = []
    again = evaluate(TRIAL, tmp_path / "trial", epochs.append)
    assert [e.epoch for e in epochs] == [1, 2]
    assert (again.status, again.architecture_index) == (Status.OK, whole.architecture_index)
    assert "starting the search again" in (tmp_path / "trial" / "log.txt").read_text()


@pytest.mark.parametrize(("keep_every", "kept"), [(0, []), (1, ["checkpoint", "checkpoint-1", "checkpoint-2"])])
def test_a_finished_trial_keeps_its_trajectory_and_its_weights_if_asked(
    tmp_path: Path, keep_every: int, kept: list[str]
) -> None:
    evaluate(replace(TRIAL, study=replace(STUDY, keep_every=keep_every)), tmp_path)
    assert sorted(path.name for path in tmp_path.glob("checkpoint*")) == kept
    assert len(read_trajectory(tmp_path)) == 2


def test_a_trial_goes_on_from_what_its_worker_saved_at_a_notice(tmp_path: Path) -> None:
    whole = evaluate(TRIAL, tmp_path / "whole")

    def stop_when_saved(epoch: EpochRecord) -> None:
        raise TrialAbandonedError

    with pytest.raises(TrialAbandonedError):
        evaluate(TRIAL, tmp_path / "trial", on_saved=stop_when_saved)
    epochs: list[EpochRecord] = []
    again = evaluate(TRIAL, tmp_path / "trial", epochs.append)
    assert [e.epoch for e in epochs] == [2]
    assert replace(again, t_search_s=0.0) == replace(whole, t_search_s=0.0)


def test_another_trial_under_the_same_id_starts_from_nothing(tmp_path: Path) -> None:
    """A master that was killed before it wrote its proposal had handed it out; its successor proposes another one."""
    other = replace(TRIAL, config={**TRIAL.config, "learning_rate": 0.01})
    expected = evaluate(TRIAL, tmp_path / "alone")

    def abandon(epoch: EpochRecord) -> None:
        raise TrialAbandonedError

    with pytest.raises(TrialAbandonedError):
        evaluate(other, tmp_path / "trial", on_saved=abandon)
    again = evaluate(TRIAL, tmp_path / "trial")
    assert replace(again, t_search_s=0.0) == replace(expected, t_search_s=0.0)
    assert read_trial_spec(tmp_path / "trial") == TRIAL
    (tmp_path / "trial" / "spec.json").write_text("{")
    assert evaluate(TRIAL, tmp_path / "trial").architecture_index == expected.architecture_index


def test_every_hyperparameter_reaches_the_search() -> None:
    config = {h.name: h.upper for h in CONFIG_SPACES["cs3"].hyperparameters}
    spec = search_spec(replace(TRIAL, config=config, budget=7))
    assert {name: getattr(spec, name) for name in config} == config
    assert (spec.epochs, spec.seed, spec.optimizer, spec.search_space, spec.dataset) == (7, 5, "darts", "1", "digits")
    assert {name: getattr(spec, name) for name in TINY} == TINY


def test_the_configuration_goes_over_the_studys_settings() -> None:
    study = replace(STUDY, search_settings={**TINY, "learning_rate": 0.5, "momentum": 0.3})
    spec = search_spec(replace(TRIAL, study=study))
    assert (spec.learning_rate, spec.momentum) == (0.05, 0.3)


@pytest.mark.parametrize("name", CONFIG_SPACES)
def test_the_default_configuration_is_the_default_search(name: str) -> None:
    trial = replace(TRIAL, config={})
    configured = replace(trial, config=CONFIG_SPACES[name].default)
    assert resolve(search_spec(configured)) == resolve(search_spec(trial))


def test_an_impossible_value_is_a_bad_configuration(tmp_path: Path) -> None:
    outcome = evaluate(replace(TRIAL, config={"momentum": 1.5}), tmp_path, worker="w")
    assert (outcome.status, outcome.loss, outcome.seed, outcome.worker) == (Status.BAD_CONFIG, 1.0, 5, "w")
    assert "momentum: got 1.5" in str(outcome.error)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "dartz"}, "optimizer: got 'dartz'"),
        ({"search_space": "9"}, "search_space: got '9'"),
        ({"search_settings": {"n_stacks": 0}}, "n_stacks: got 0"),
        ({"search_settings": {"n_stakcs": 3}}, "n_stakcs"),
        ({"dataset": "cifar10"}, "got a table of data set digits, expected one of cifar10"),
        ({"dataset": "/nowhere/own.npz"}, "/nowhere/own.npz, which is no file"),
    ],
)
def test_a_fault_of_the_study_is_a_bug_and_not_the_configurations(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    outcome = contained(evaluate, replace(TRIAL, study=replace(STUDY, **fields)), tmp_path)
    assert outcome.status is Status.BUG
    assert "Traceback" in str(outcome.error)
    assert message in str(outcome.error)


def test_a_cell_outside_the_table_is_a_bug(tmp_path: Path, table: MadeUpTable, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(cell: Cell, budget: int | None = None) -> Entry:
        raise CellNotInTableError(f"cell {cell.hash} is not in the table")

    monkeypatch.setattr(table, "query", refuse)
    outcome = contained(evaluate, TRIAL, tmp_path)
    assert outcome.status is Status.BUG
    assert "is not in the table" in str(outcome.error)


@pytest.mark.parametrize("status", ["diverged", "out_of_memory"])
def test_a_search_that_fails_keeps_its_kind_and_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: Any
) -> None:
    failed = SearchResult(status, 3, "0" * 32, 0.5, search_s=4.5, epochs=1, error="in epoch 2")
    monkeypatch.setattr("nas.oneshot.search.run_search", lambda *arguments, **options: failed)
    outcome = evaluate(TRIAL, tmp_path, worker="w")
    assert (outcome.status.value, outcome.t_search_s, outcome.error) == (status, 4.5, "in epoch 2")
    assert (outcome.validation_error, outcome.architecture_index, outcome.loss) == (None, None, 1.0)
    assert outcome.status.informs_model
