"""The commands ``search`` and ``evaluate``."""

import json
import shutil

import pytest
import tyro

from nas.datasets import DATASETS
from nas.oneshot import METHODS
from nas.oneshot.commands import Evaluate, Search
from nas.tabular import TABLES
from spaces import SEARCH_SPACES
from tests.nas.oneshot.searches import small


@pytest.mark.parametrize(
    ("command", "names"), [(Search, [*METHODS, *SEARCH_SPACES, *DATASETS, *TABLES]), (Evaluate, TABLES)]
)
def test_help_names_what_there_is_to_choose_from(command, names, capsys):
    with pytest.raises(SystemExit):
        tyro.cli(command, args=["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert [name for name in names if f" {name}" not in text] == []


@pytest.fixture
def frozen_table(tmp_path):
    """The digits table as one that cannot grow: most cells of space 3 are not in it."""
    path = tmp_path / "table"
    shutil.copytree(TABLES["digits"].path(), path)
    description = json.loads((path / "table.json").read_text())
    del description["provenance"]["training"]
    (path / "table.json").write_text(json.dumps(description))
    return path


def test_a_found_cell_that_the_table_lacks_is_said_and_the_search_is_kept(frozen_table, tmp_path, capsys):
    spec = small("darts", epochs=1, search_space="3")
    assert Search(spec, tmp_path / "search", str(frozen_table)).run() == 0
    out = capsys.readouterr().out.splitlines()
    assert "  table digits holds no results of this cell; look it up in another one with `table query`" in out
    assert out[-1] == f"files: {tmp_path / 'search'}"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"keep_every": -1}, "--keep-every: got -1"), ({"keep_every": 2}, "--keep-every: got no --directory")],
)
def test_checkpoints_are_kept_at_whole_intervals_and_somewhere(options, message):
    with pytest.raises(ValueError, match=message):
        Search(small(), **options).run()
