"""The commands ``search`` and ``evaluate``."""

import pytest
import tyro

from nas.datasets import DATASETS
from nas.oneshot import METHODS
from nas.oneshot.commands import Evaluate, Search
from nas.tabular import TABLES
from spaces import SEARCH_SPACES


@pytest.mark.parametrize(("command", "registries"), [(Search, [METHODS, SEARCH_SPACES]), (Evaluate, [])])
def test_help_names_what_there_is_to_choose_from(command, registries, capsys):
    with pytest.raises(SystemExit):
        tyro.cli(command, args=["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert all(" or ".join(names) in text for names in registries)
    assert f"{', '.join(TABLES)}, the path of a table's directory, or none" in text
    assert command is Evaluate or f"{', '.join(DATASETS)}, or the path of an .npz file" in text
