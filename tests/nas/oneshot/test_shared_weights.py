"""Architectures evaluated with the weights of a search, beside what the table says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.oneshot.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from nas.oneshot.commands import Evaluate
from nas.oneshot.data import load_data
from nas.oneshot.model.mixture import Mixture
from nas.oneshot.search import run_search
from nas.oneshot.shared_weights import SharedWeights
from nas.tabular import open_table
from results.one_shot_errors import ErrorFile, OneShotError
from spaces import SEARCH_SPACES
from tests.nas.oneshot.searches import Killed, small

INDICES = [7, 14_000, 3_333]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Of a search of random_ws, whose last report is the error of its architecture on the whole half."""
    path = tmp_path_factory.mktemp("search")
    run_search(small("random_ws", epochs=3, init_channels=8, learning_rate=0.1), None, path)
    return path


def killing_after(n):
    """Kills a search after n epochs."""

    def on_epoch(report):
        if report.epoch == n:
            raise Killed

    return on_epoch


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def test_the_found_architecture_has_the_error_that_the_search_reported(directory):
    last = lines(directory / "trajectory.jsonl")[-1]
    ((error,),) = SharedWeights(directory).errors([last["architecture_index"]])
    assert (error.one_shot_validation_error, error.cell_hash) == (last["one_shot_validation_error"], last["cell_hash"])
    assert (error.epoch, error.n_images, error.table) == (3, 400, {})


def test_errors_are_of_the_first_images_and_beside_the_tables(directory):
    table = open_table("digits")
    weights = SharedWeights(directory)
    (errors,) = weights.errors(INDICES, 150, table)
    assert [error.architecture_index for error in errors] == INDICES
    space = SEARCH_SPACES["1"]
    for error in errors:
        cell = space.cell_of(error.architecture_index)
        assert error.n_images == 150
        assert (error.one_shot_validation_error * 150) % 1 == pytest.approx(0, abs=1e-9)
        assert error.cell_hash == cell.hash
        assert error.table[12].test_error == table.query(cell, 12).mean_test_error
        assert OneShotError.from_dict(json.loads(json.dumps(error.to_dict())), "line") == error
    assert weights.n_images(None) == len(load_data(weights.settings).architecture) == 400


def test_what_is_there_is_not_computed_again_and_a_torn_line_spoils_nothing(directory, tmp_path, capsys, monkeypatch):
    output = tmp_path / "errors.jsonl"
    asked = []
    errors = SharedWeights.errors
    monkeypatch.setattr(
        SharedWeights, "errors", lambda self, some, *rest: asked.append(len(some)) or errors(self, some, *rest)
    )
    evaluate = {"directory": directory, "images": 50, "output": output, "threads": 1}
    assert Evaluate(architectures=5, **evaluate).run() == 0
    first = lines(output)
    with output.open("a") as file:
        file.write('{"epoch": 3, "n_ima')
    with output.open("ab") as file:
        file.write(b"\xff\xfe\n")
    assert Evaluate(architectures=8, **evaluate).run() == 0
    assert asked == [5, 3]
    kept = ErrorFile(output).read()
    assert [error.to_dict() for error in kept[:5]] == first
    assert len({error.architecture_index for error in kept}) == 8
    said = capsys.readouterr().out
    assert "8 architectures with the weights of epoch 3, on 50 images" in said
    assert "rank correlation with the test error at 12 epochs of table digits" in said
    # Other images are other errors: all are computed.
    assert Evaluate(architectures=5, **{**evaluate, "images": 60}).run() == 0
    assert asked == [5, 3, 5]


def test_errors_of_other_weights_are_not_taken_for_these(tmp_path):
    output = tmp_path / "errors.jsonl"
    found = {}
    for seed in (1, 2):
        run_search(small(epochs=1, seed=seed), None, tmp_path / f"{seed}")
        Evaluate(tmp_path / f"{seed}", architectures=6, output=output, threads=1).run()
        Evaluate(tmp_path / f"{seed}", architectures=6, output=tmp_path / f"{seed}.jsonl", threads=1).run()
        found[seed] = lines(tmp_path / f"{seed}.jsonl")
    assert len(lines(output)) == 12
    assert lines(output) == [*found[1], *found[2]]
    assert [a["one_shot_validation_error"] for a in found[1]] != [b["one_shot_validation_error"] for b in found[2]]


def test_another_table_is_asked_anew_and_nothing_is_evaluated_again(directory, tmp_path, capsys, monkeypatch):
    evaluate = {"directory": directory, "architectures": 6, "output": tmp_path / "errors.jsonl", "threads": 1}
    Evaluate(table="none", **evaluate).run()
    assert "correlation" not in capsys.readouterr().out
    monkeypatch.setattr(
        SharedWeights, "errors", lambda self, some, *rest: iter([]) if not some else pytest.fail("evaluated again")
    )
    Evaluate(table="digits", **evaluate).run()
    assert "rank correlation with the test error at 12 epochs of table digits" in capsys.readouterr().out
    without, beside = lines(evaluate["output"])[:6], lines(evaluate["output"])[6:]
    assert [{**line, "table": {}} for line in beside] == without
    table, space = open_table("digits"), SEARCH_SPACES["1"]
    for line in beside:
        cell = space.cell_of(line["architecture_index"])
        assert line["table"]["12"]["test_error"] == table.query(cell, 12).mean_test_error
    Evaluate(table="digits", **evaluate).run()
    assert len(lines(evaluate["output"])) == 12


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state["spec"].update(optimizer="no_such"), "optimizer: got 'no_such', expected one of"),
        (lambda state: state["spec"].update(no_field=1), "expected a whole checkpoint of this version"),
        (lambda state: state.pop("reports"), "expected a whole checkpoint of this version"),
        (lambda state: state.pop("method"), "expected a whole checkpoint of this version"),
        (lambda state: state["supernet"].update(beta=torch.zeros(1, 1)), "expected a whole checkpoint of this version"),
        (lambda state: state["reports"].extend(state["reports"] * 3), "expected a whole checkpoint of this version"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_in_one_line(change, said, directory, tmp_path):
    state = read_checkpoint(directory)
    change(state)
    write_checkpoint(tmp_path, state)
    with pytest.raises(ValueError, match=said):
        SharedWeights(tmp_path)


def test_another_file_is_refused_and_left_alone(directory, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("One line.\n")
    with pytest.raises(ValueError, match="holds no one-shot error"):
        Evaluate(directory, architectures=2, output=readme, table="none", threads=1).run()
    assert readme.read_text() == "One line.\n"
    torn = tmp_path / "torn.jsonl"
    torn.write_text('{"weights": "0')
    Evaluate(directory, architectures=2, output=torn, table="none", threads=1).run()
    assert len(ErrorFile(torn).read()) == 2


def test_under_enas_the_controller_draws_a_hundred(tmp_path):
    run_search(small("enas", epochs=1), None, tmp_path)
    weights = SharedWeights(tmp_path)
    chosen = weights.choose()
    assert 50 < len(chosen) == len(set(chosen)) <= 100
    assert weights.choose(seed=1) != chosen == weights.choose()
    assert weights.choose(5) == chosen[:5]
    method, space = weights.search.method, weights.search.space
    with method.drawing_from(torch.Generator().manual_seed(0)):
        assert [space.decode(index) for index in chosen[:3]] == [method.sample(1)[0] for _ in range(3)]
    assert len(weights.choose(0)) == 3_702


def test_methods_with_softmax_weights_average_the_parents(directory, tmp_path):
    run_search(small("darts", epochs=1, init_channels=8), None, tmp_path)
    weights, plain = SharedWeights(tmp_path), SharedWeights(directory)
    assert (weights.averages_parents, plain.averages_parents) == (True, False)
    space, evaluator = weights.search.space, weights.search.evaluator
    chosen = weights.choose(40)
    found = [error for errors in weights.errors(chosen) for error in errors]
    mixtures = [Mixture.discrete(space.decode(index)).averaging(space, torch.device("cpu")) for index in chosen]
    n_cells = len(weights.search.supernet.cells)
    expected = [evaluator.error(lambda mixture=mixture: [mixture] * n_cells) for mixture in mixtures]
    assert [error.one_shot_validation_error for error in found] == expected
    summed = evaluator.architecture_errors([space.decode(index) for index in chosen], evaluator.batches)
    assert summed.tolist() != expected


def test_checkpoints_that_were_kept_can_be_evaluated(tmp_path):
    spec = small("darts", epochs=5)
    run_search(spec, None, tmp_path, keep_every=2)
    assert sorted(path.name for path in tmp_path.glob("checkpoint*")) == ["checkpoint", "checkpoint-2", "checkpoint-4"]
    with pytest.raises(Killed):
        run_search(spec, None, tmp_path / "other", on_epoch=killing_after(2))
    kept, stopped, last = SharedWeights(tmp_path, 2), SharedWeights(tmp_path / "other"), SharedWeights(tmp_path)
    assert (kept.epoch, last.epoch) == (2, 5)
    assert kept.fingerprint == stopped.fingerprint != last.fingerprint
    with pytest.raises(CheckpointError, match=r"holds no checkpoint-3; .*--keep-every"):
        SharedWeights(tmp_path, 3)
    (tmp_path / "checkpoint").unlink()  # a search that starts again keeps nothing of the one before
    with pytest.raises(Killed):
        run_search(spec, None, tmp_path, on_epoch=killing_after(1))
    assert sorted(path.name for path in tmp_path.glob("checkpoint*")) == ["checkpoint"]


def test_an_output_that_is_no_file_is_refused_in_a_sentence(directory):
    with pytest.raises(ValueError, match=r"/dev/null: this is no regular file; name a new path"):
        Evaluate(directory, architectures=2, output=Path("/dev/null"), table="none", threads=1).run()


def test_a_single_image_is_refused(directory):
    with pytest.raises(ValueError, match="--images: got 1, expected at least 2"):
        Evaluate(directory, images=1).run()


def test_a_directory_without_a_search_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint; expected the directory of a search"):
        Evaluate(tmp_path).run()
    with pytest.raises(ValueError, match="images: got -1, expected at least 0"):
        Evaluate(tmp_path, images=-1).run()


def test_the_draw_is_of_distinct_architectures_and_all_of_them_if_asked(directory):
    weights = SharedWeights(directory)
    drawn = weights.choose(500)
    assert len(set(drawn)) == 500
    assert weights.choose() == drawn[:200]
    assert weights.choose(100) == drawn[:100] != weights.choose(100, seed=1)
    assert len(np.unique(weights.choose(0))) == 3_702
