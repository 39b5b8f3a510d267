"""docs/fanova.md says what is so: its example runs, and its table of presets states their settings."""

import re
from pathlib import Path

import pytest

from analysis.importance import PRESETS

TEXT = (Path(__file__).parents[3] / "docs" / "fanova.md").read_text()


def test_the_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    found: dict[str, object] = {}
    exec(example, found)
    importances = found["found"]
    assert importances.of("cutout_prob") > 0.8  # type: ignore[attr-defined]
    assert importances.warning is None  # type: ignore[attr-defined]


def test_the_table_of_presets_states_their_trees() -> None:
    header = re.search(r"^\| \| ours \| (.*) \|$", TEXT, flags=re.MULTILINE)
    trees = re.search(r"^\| trees \| (.*) \|$", TEXT, flags=re.MULTILINE)
    assert header is not None
    assert trees is not None
    names = ["nasbohb", *re.findall(r"`(\w+)`", header[1])]
    assert names == list(PRESETS)
    assert [int(re.match(r"\d+", cell)[0]) for cell in trees[1].split(" | ")] == [  # type: ignore[index]
        PRESETS[name].n_trees for name in names
    ]


@pytest.mark.parametrize("name", ["by_budget", "with_budget", "resampled", "shuffled", "Cutoff"])
def test_what_it_names_is_public(name: str) -> None:
    import analysis.importance

    assert name in TEXT
    assert name in analysis.importance.__all__
