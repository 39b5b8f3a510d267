"""The optimizers by name."""

import subprocess
import sys
from pathlib import Path

import pytest

from nas.oneshot import METHODS
from nas.oneshot.methods import Methods
from nas.oneshot.methods.method import Method

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("optimizer", list(METHODS))
def test_every_name_leads_to_a_method(optimizer):
    assert issubclass(METHODS[optimizer], Method)
    assert METHODS[optimizer].uses <= METHODS[optimizer].defaults.keys()


def test_is_a_mapping_that_loads_what_is_asked_for():
    methods = Methods({"darts": "nas.oneshot.methods.darts:Darts", "absent": "nas.oneshot.methods.absent:Absent"})
    assert list(methods) == ["darts", "absent"]
    assert "absent" in methods
    assert "other" not in methods
    assert methods["darts"] is METHODS["darts"]
    with pytest.raises(ModuleNotFoundError):
        methods["absent"]
    with pytest.raises(KeyError):
        methods["other"]
    methods["other"] = METHODS["gdas"]
    del methods["absent"]
    assert dict(methods) == {"darts": METHODS["darts"], "other": METHODS["gdas"]}


def test_the_names_need_no_torch():
    code = "import sys, nas.oneshot, nas.oneshot.commands; print(*nas.oneshot.METHODS, 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [*METHODS, "False"]
