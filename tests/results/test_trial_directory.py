"""The files of one trial."""

import json
import math
from pathlib import Path

import pytest

from results import journal
from results.epoch import EpochRecord, TableAnswer
from results.records import StudySpec, TrialSpec
from results.trial_directory import read_trajectory, read_trial_spec, write_trial_spec

EPOCH = {
    "epoch": 1,
    "train_loss": 2.25,
    "arch_loss": None,
    "one_shot_validation_error": 0.5,
    "learning_rate": 0.025,
    "cutout_prob": 0,
    "architecture_index": 17,
    "cell_hash": "00005c142e6f48ac74fdcf73e3439874",
    "table": {"4": {"validation_error": 0.1, "test_error": 0.11, "training_time_s": 30.0}},
    "search_s": 1.5,
}


def test_a_specification_is_read_back_as_it_was_written(tmp_path: Path, spec: StudySpec) -> None:
    trial = TrialSpec(
        study=spec,
        config_id=(1, 0, 2),
        budget=4,
        config={"weight_decay": 3e-4, "batch_size": 96, "nesterov": True},
        seed=2**40,
    )
    directory = tmp_path / "trials" / "1_0_2" / "4"
    write_trial_spec(directory, trial)
    assert read_trial_spec(directory) == trial
    assert [entry.name for entry in directory.iterdir()] == ["spec.json"]
    content = json.loads((directory / "spec.json").read_text())
    assert (content["config_id"], content["config"]["batch_size"], content["seed"]) == ([1, 0, 2], 96, 2**40)


def test_a_specification_that_json_cannot_hold_is_refused(tmp_path: Path, spec: StudySpec) -> None:
    with pytest.raises(ValueError, match=r"spec\.json: got inf at \['config'\]\['x'\]"):
        write_trial_spec(tmp_path, TrialSpec(study=spec, config_id=(0, 0, 0), budget=4, config={"x": math.inf}, seed=0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", r"spec\.json: .* should be JSON"), ("[]", r"spec\.json: got \[\] \(list\), expected object")],
)
def test_a_damaged_specification_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "spec.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_trial_spec(tmp_path)


def test_epochs_are_read_while_the_next_one_is_being_written(tmp_path: Path) -> None:
    assert read_trajectory(tmp_path) == []
    line = json.dumps(EPOCH)
    (tmp_path / "trajectory.jsonl").write_text(f"{line}\n{line[:40]}")
    answer = TableAnswer(validation_error=0.1, test_error=0.11, training_time_s=30.0)
    (epoch,) = read_trajectory(tmp_path)
    assert epoch == EpochRecord(
        epoch=1,
        train_loss=2.25,
        arch_loss=None,
        one_shot_validation_error=0.5,
        learning_rate=0.025,
        cutout_prob=0.0,
        architecture_index=17,
        cell_hash="00005c142e6f48ac74fdcf73e3439874",
        table={4: answer},
        search_s=1.5,
    )


def test_what_a_search_writes_is_what_is_read(tmp_path: Path) -> None:
    record = EpochRecord.from_dict(EPOCH, "test")
    assert record.to_dict() == {**EPOCH, "architecture_weights": None}
    journal.append(tmp_path / "trajectory.jsonl", record.to_dict())
    assert read_trajectory(tmp_path) == [record]


def test_an_epoch_of_another_shape_is_named(tmp_path: Path) -> None:
    lines = [EPOCH, {**EPOCH, "table": {"four": {}}}]
    (tmp_path / "trajectory.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ValueError, match=r"trajectory\.jsonl, line 2, table, a key: got str, expected int"):
        read_trajectory(tmp_path)


def test_architecture_weights_are_as_many_as_there_are(tmp_path: Path) -> None:
    line = {**EPOCH, "architecture_weights": [[0.5, -1], [0.25]]}
    (tmp_path / "trajectory.jsonl").write_text(json.dumps(line) + "\n")
    assert read_trajectory(tmp_path)[0].architecture_weights == ((0.5, -1.0), (0.25,))
    (tmp_path / "trajectory.jsonl").write_text(json.dumps({**line, "architecture_weights": [[0.5], ["x"]]}) + "\n")
    with pytest.raises(ValueError, match=r"architecture_weights\[1\]\[0\]: got 'x'"):
        read_trajectory(tmp_path)
