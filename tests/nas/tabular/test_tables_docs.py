"""docs/tables.md says what is so: it lists the files of a store and the tables that have a name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tabular_file import payloads, write_file
from nas.tabular import TABLES, TableSource
from nas.tabular.nasbench101.importing import import_tfrecord
from spaces import SEARCH_SPACES

TEXT = (Path(__file__).parents[3] / "docs" / "tables.md").read_text(encoding="utf-8")


def first_column(heading: str) -> list[str]:
    """The names in the first column of the table below a heading."""
    section = f"\n{TEXT}".split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"`([^`]+)`", "\n".join(re.findall(r"^\| ([^|]*) \|", section, flags=re.MULTILINE)))


def test_every_file_of_a_store_is_described(sample: Path, tmp_path: Path) -> None:
    import_tfrecord(sample, tmp_path / "t.table")
    files = {file.name for file in (tmp_path / "t.table").iterdir()}
    described = first_column("## The store")
    spaces = {f"index_{'_'.join(map(str, space.n_parents))}.npy" for space in SEARCH_SPACES.values()}
    expanded = set(described) - {"index_<parents>.npy", "halfway_*.npy"} | spaces
    expanded |= {f"halfway_{name}" for name in described if name.endswith(("accuracy.npy", "time_s.npy"))}
    assert files == expanded


def test_every_table_with_a_name_is_described() -> None:
    assert first_column("# Tables") == list(TABLES)


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    space = SEARCH_SPACES["1"]
    cells = [space.cell_of(index) for index in (0, 1, 1234)]
    keys = {cell.hash: cell.key for cell in cells}  # some are isomorphs
    write_file(tmp_path / "s.tfrecord", payloads(np.array(list(keys.values())), budgets=(1, 4, 12)))
    import_tfrecord(tmp_path / "s.tfrecord", tmp_path / "s.table")
    monkeypatch.setitem(TABLES, "digits", TableSource("made up", lambda: tmp_path / "s.table", "never"))
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    found: dict[str, object] = {}
    exec(example, found)
    assert found["batch"].test_error.shape == (3, 3)
    assert str(found["entry"].mean_validation_error) in capsys.readouterr().out
