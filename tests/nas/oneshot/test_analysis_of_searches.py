"""The analysis reads what a search writes, and both agree on what makes it another search."""

from pathlib import Path

from analysis.load import load_run
from analysis.searches import by_settings
from nas.oneshot.search import run_search
from nas.oneshot.spec import PLACEMENT_FIELDS
from nas.tabular import open_table
from results.records import NO_DIFFERENCE
from tests.nas.oneshot.searches import small


def test_the_settings_and_the_epochs_of_real_searches_are_read(tmp_path: Path) -> None:
    table = open_table("digits")
    for seed in (0, 1):
        run_search(small(epochs=2, seed=seed), table, tmp_path / f"{seed}")
    run_search(small(epochs=2, weight_decay=0.01), table, tmp_path / "decay")
    searches = load_run(tmp_path).searches
    assert [(s.optimizer, s.space, s.settings["seed"], len(s.epochs)) for s in searches] == [
        ("darts", "1", 0, 2),
        ("darts", "1", 1, 2),
        ("darts", "1", 3, 2),
    ]
    assert [len(group) for group in by_settings(searches).values()] == [2, 1]
    assert all(record.table[12].test_error > 0 for search in searches for record in search.epochs)
    assert PLACEMENT_FIELDS | {"seed"} <= NO_DIFFERENCE
