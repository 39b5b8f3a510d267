"""Architectures evaluated with the weights of a search, beside what the table says."""

import json

import numpy as np
import pytest

from nas.oneshot import run_search
from nas.oneshot.checkpoint import CheckpointError
from nas.oneshot.commands import Evaluate
from nas.oneshot.data import load_data
from nas.oneshot.report import TableFigures
from nas.oneshot.shared_weights import ErrorFile, OneShotError, SharedWeights, rank_correlations
from nas.tabular import open_table
from spaces import SEARCH_SPACES
from tests.nas.oneshot.searches import small

INDICES = [7, 14_000, 3_333]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Of a search of random_ws, whose last report is the error of its architecture on the whole half."""
    path = tmp_path_factory.mktemp("search")
    run_search(small("random_ws", epochs=3, init_channels=8, learning_rate=0.1), None, path)
    return path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_found_architecture_has_the_error_that_the_search_reported(directory):
    last = lines(directory / "trajectory.jsonl")[-1]
    ((error,),) = SharedWeights(directory).errors([last["architecture"]])
    assert (error.one_shot_validation_error, error.cell_hash) == (last["one_shot_validation_error"], last["cell_hash"])
    assert (error.epoch, error.n_images, error.table) == (3, 400, {})


def test_errors_are_of_the_first_images_and_beside_the_tables(directory):
    table = open_table("digits")
    weights = SharedWeights(directory)
    (errors,) = weights.errors(INDICES, 150, table)
    assert [error.architecture for error in errors] == INDICES
    space = SEARCH_SPACES["1"]
    for error in errors:
        cell = space.cell(space.decode(error.architecture))
        assert error.n_images == 150
        assert (error.one_shot_validation_error * 150) % 1 == pytest.approx(0, abs=1e-9)
        assert error.cell_hash == cell.hash
        assert error.table[12].test_error == table.query(cell, 12).mean_test_error
        assert OneShotError.from_dict(json.loads(json.dumps(error.to_dict()))) == error
    assert weights.n_images(None) == len(load_data(weights.spec).architecture) == 400


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
    assert Evaluate(architectures=8, **evaluate).run() == 0
    assert asked == [5, 3]
    kept = ErrorFile(output).read()
    assert [error.to_dict() for error in kept[:5]] == first
    assert len({error.architecture for error in kept}) == 8
    said = capsys.readouterr().out
    assert "8 architectures with the weights of epoch 3, on 50 images" in said
    assert "rank correlation with the test error at 12 epochs of table digits" in said
    # Other images are other errors: all are computed.
    assert Evaluate(architectures=5, **{**evaluate, "images": 60}).run() == 0
    assert asked == [5, 3, 5]


def test_the_rank_correlation_is_spearmans():
    """By hand: ranks 1 2 3 4 against 2 1 4 3 have squared differences of 4, so 1 - 6 * 4 / (4 * 15)."""

    def error(one_shot, test_error):
        return OneShotError(1, 10, 0, "", one_shot, {12: TableFigures(0.0, test_error, 0.0)})

    errors = [error(0.1, 0.02), error(0.2, 0.01), error(0.3, 0.4), error(0.9, 0.03)]
    assert rank_correlations(errors) == {12: (pytest.approx(0.6), 4)}
    assert rank_correlations([OneShotError(1, 10, 0, "", 0.5)] * 5) == {}


def test_a_directory_without_a_search_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint; expected the directory of a search"):
        Evaluate(tmp_path).run()
    with pytest.raises(ValueError, match="images: got -1, expected at least 0"):
        Evaluate(tmp_path, images=-1).run()


def test_the_draw_is_of_distinct_architectures_and_all_of_them_if_asked():
    space = SEARCH_SPACES["1"]
    drawn = Evaluate("", architectures=500)._chosen(space)
    assert len(set(drawn)) == 500
    assert drawn[:100] == Evaluate("", architectures=100)._chosen(space)
    assert drawn[:100] != Evaluate("", architectures=100, seed=1)._chosen(space)
    assert len(np.unique(Evaluate("", architectures=0)._chosen(space))) == 3_702
