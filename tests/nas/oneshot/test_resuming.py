"""A search that was killed goes on where it was; a directory that it cannot go on in is refused."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from nas.oneshot import METHODS
from nas.oneshot.checkpoint import CheckpointError, UnreadableCheckpointError, write_checkpoint
from nas.oneshot.model.weight_trainer import WeightTrainer
from nas.oneshot.search import run_search
from tests.nas.oneshot.searches import Killed, assert_same_search, small, trajectory

ROOT = Path(__file__).resolve().parents[3]


#: The sizes that tests use for speed, and the narrowest for which every kernel is native.
KILLED = [*((optimizer, 4) for optimizer in METHODS), ("darts", 16), ("gdas", 16)]


@pytest.mark.parametrize(("optimizer", "channels"), KILLED)
def test_a_search_killed_within_an_epoch_goes_on_to_the_same_result(optimizer, channels, tmp_path, monkeypatch):
    spec = small(optimizer, init_channels=channels)
    whole = run_search(spec, None, tmp_path / "whole")
    step, calls = WeightTrainer.step, []

    def fails_in_the_third_epoch(self, batch, mixtures):
        calls.append(None)
        if len(calls) == 2 * 4 + 3:
            raise Killed
        return step(self, batch, mixtures)

    with monkeypatch.context() as patch:
        patch.setattr(WeightTrainer, "step", fails_in_the_third_epoch)
        with pytest.raises(Killed):
            run_search(spec, None, tmp_path / "killed")
    assert len(trajectory(tmp_path / "killed")) == 2
    assert not (tmp_path / "killed" / "architecture.json").exists()

    again = []
    result = run_search(spec, None, tmp_path / "killed", again.append)

    assert [report.epoch for report in again] == [3, 4]
    assert (result.architecture_index, result.one_shot_validation_error) == (
        whole.architecture_index,
        whole.one_shot_validation_error,
    )
    assert_same_search(tmp_path / "whole", tmp_path / "killed")


def test_a_search_killed_between_line_and_checkpoint_repeats_the_epoch(tmp_path, monkeypatch):
    run_search(small(), None, tmp_path / "whole")

    def fails(directory, state):
        if len(state["reports"]) == 3:
            raise Killed
        return write(directory, state)

    from nas.oneshot import checkpoint

    write = checkpoint.write_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_checkpoint", fails)
        with pytest.raises(Killed):
            run_search(small(), None, tmp_path / "killed")
    assert len(trajectory(tmp_path / "killed")) == 3
    run_search(small(), None, tmp_path / "killed")
    assert_same_search(tmp_path / "whole", tmp_path / "killed")


def test_a_process_killed_with_signal_9_goes_on_to_the_same_result(tmp_path):
    spec = small("gdas", epochs=10)
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from nas.oneshot import SearchSpec
        from nas.oneshot.search import run_search
        run_search(SearchSpec(**eval(sys.argv[2])), None, Path(sys.argv[1]))
        """
    )
    killed = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", script, str(killed), repr(spec.to_dict())], cwd=ROOT)
    try:
        deadline = time.monotonic() + 120
        while not (killed / "checkpoint").exists() or len(trajectory(killed)) < 3:
            assert process.poll() is None, "the search ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert len(trajectory(killed)) < 10

    resumed = run_search(spec, None, killed)
    whole = run_search(spec, None, tmp_path / "whole")

    assert resumed.architecture_index == whole.architecture_index
    assert_same_search(tmp_path / "whole", killed)


def test_a_finished_search_answers_again_without_training(tmp_path, caplog):
    first = run_search(small(), None, tmp_path)
    epochs = []
    caplog.set_level("INFO")
    assert run_search(small(), None, tmp_path, epochs.append) == first
    assert epochs == []
    assert "goes on after epoch 4 of 4" in caplog.text


def test_what_a_killed_process_was_writing_goes_away(tmp_path):
    (tmp_path / ".checkpoint.0123abcd").write_bytes(b"half a")
    run_search(small(epochs=1), None, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["architecture.json", "checkpoint", "trajectory.jsonl"]


def test_a_line_of_a_worker_that_was_believed_dead_does_not_stay(tmp_path):
    def writes_late(report):
        if report.epoch == 3:
            path = tmp_path / "trajectory.jsonl"
            path.write_text(path.read_text() + path.read_text().splitlines(keepends=True)[0])

    run_search(small(), None, tmp_path, writes_late)
    assert [line["epoch"] for line in trajectory(tmp_path)] == [1, 2, 3, 4]


def test_a_directory_of_another_search_is_refused(tmp_path):
    run_search(small(), None, tmp_path)
    before = (tmp_path / "trajectory.jsonl").read_text()
    with pytest.raises(CheckpointError, match=r"another specification.*learning_rate 0\.5 instead of 0\.025"):
        run_search(small(learning_rate=0.5), None, tmp_path)
    assert (tmp_path / "trajectory.jsonl").read_text() == before


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    path = tmp_path / "notes"
    path.write_text("mine")
    with pytest.raises(CheckpointError, match="notes, which is a file; expected a directory or a new path"):
        run_search(small(), None, path)
    assert path.read_text() == "mine"


def test_a_checkpoint_damaged_anywhere_is_refused_in_one_line(tmp_path):
    run_search(small(epochs=1), None, tmp_path)
    path = tmp_path / "checkpoint"
    whole = path.read_bytes()
    middle, weights = len(whole) // 2, slice(len(whole) // 3, len(whole) // 3 + 4096)
    zeroed = bytearray(whole)
    zeroed[weights] = bytes(4096)
    damaged = {b"", whole[:middle], whole[:-1], whole + b"x", bytes(zeroed)}
    for place in range(0, len(whole), len(whole) // 40):  # the archive's records, their names, weights, the checksum
        flipped = bytearray(whole)
        flipped[place] ^= 4
        damaged.add(bytes(flipped))
    assert whole not in damaged
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(UnreadableCheckpointError, match=r"expected a whole .*; remove it to start again") as e:
            run_search(small(epochs=1), None, tmp_path)
        assert "\n" not in str(e.value)
        assert path.read_bytes() == content


def test_a_full_disk_says_of_which_file(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*trajectory\.jsonl'"):
        run_search(small(epochs=1), None, tmp_path)


@pytest.mark.parametrize("state", [{"format": 1}, {"spec": {"no_field": 1}}, {"spec": {}, "reports": [{}]}, {}])
def test_a_whole_checkpoint_of_another_version_is_refused_in_one_line(state, tmp_path):
    write_checkpoint(tmp_path, state)
    with pytest.raises(UnreadableCheckpointError, match="expected a whole checkpoint of this version") as e:
        run_search(small(epochs=1), None, tmp_path)
    assert "\n" not in str(e.value)


def test_a_finished_search_keeps_saying_what_computed_it(tmp_path):
    run_search(small(epochs=1, init_channels=16), None, tmp_path)
    found = (tmp_path / "architecture.json").read_text()
    assert json.loads(found)["spec"]["kernels"] == "native"
    run_search(small(epochs=1, init_channels=16, kernels="torch"), None, tmp_path)
    assert (tmp_path / "architecture.json").read_text() == found


def test_going_on_with_other_kernels_says_so_and_keeps_those_of_the_end(tmp_path, monkeypatch, caplog):
    def stops(report):
        if report.epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        run_search(small(init_channels=16), None, tmp_path, before_save=stops)
    run_search(small(init_channels=16, kernels="torch"), None, tmp_path)
    assert "goes on with torch kernels after native ones, which round differently" in caplog.text
    assert json.loads((tmp_path / "architecture.json").read_text())["spec"]["kernels"] == "torch"
