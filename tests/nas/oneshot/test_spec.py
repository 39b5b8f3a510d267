import inspect
import json
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from typing_extensions import Doc

from nas.oneshot import SearchSpec
from nas.oneshot.resolve import resolve
from nas.oneshot.spec import OPEN_FIELDS, Settings


def test_every_field_is_documented():
    types = get_type_hints(SearchSpec, include_extras=True)
    text = inspect.getdoc(SearchSpec)  # Python 3.13 stores docstrings without their indentation
    for field in fields(SearchSpec):
        documented = any(isinstance(note, Doc) for note in getattr(types[field.name], "__metadata__", ()))
        assert documented or f"\n    {field.name}: " in text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs: got 0, expected at least 1"),
        ({"batch_size": 1}, "batch_size: got 1, expected at least 2, or nothing"),
        ({"threads": 0}, "threads: got 0, expected at least 1, or nothing"),
        ({"threads": 100_000}, "threads: got 100000, expected at most 1024"),
        ({"learning_rate_min": 5.0}, "learning_rate_min: got 5.0, expected at most the learning rate, 0.025"),
        ({"learning_rate": 1e-4}, "learning_rate_min: got 0.001, expected at most the learning rate, 0.0001"),
        ({"batch_size": 10**11}, "batch_size: got 100000000000, expected at most 2147483647"),
        ({"learning_rate": 1e39}, r"learning_rate: got 1e\+39, expected a number up to 1e\+30"),
        ({"arch_weight_decay": float("inf")}, "arch_weight_decay: got inf, expected a number up to"),
        ({"learning_rate_min": float("nan")}, "learning_rate_min: got nan, expected a number up to"),
        ({"momentum": 1.0}, "momentum: got 1.0, expected 0 to 1"),
        ({"cutout_prob": 1.5}, "cutout_prob: got 1.5, expected 0 to 1"),
        ({"learning_rate": 0.0}, "learning_rate: got 0.0, expected above 0"),
        ({"weight_decay": -1e-4}, "weight_decay: got -0.0001, expected at least 0"),
        ({"split": "half"}, "split: got 'half', expected 'tuning' or 'plain'"),
        ({"precision": "fp8"}, "precision: got 'fp8', expected 'float32', 'tf32' or 'bf16'"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SearchSpec(**values)


def test_values_at_the_ends_of_their_ranges_are_taken():
    SearchSpec(learning_rate=1e30, momentum=0.0, weight_decay=0.0, cutout_prob=1.0, batch_size=2, seed=10**40)


def test_differences_leave_out_where_a_search_runs():
    one = SearchSpec(device="cpu", threads=1, data_dir="a")
    two = SearchSpec(device="cuda", threads=2, data_dir="b", seed=7)
    assert one.differences(two) == ["seed 7 instead of 0"]


def test_other_types_become_the_fields_own_types():
    spec = SearchSpec(
        optimizer=np.str_("gdas"),
        data_dir=Path("images"),
        download=np.bool_(True),
        epochs=np.int64(3),
        seed=np.uint8(7),
        learning_rate=np.float32(0.5),
        momentum=0,
        batch_size=np.int32(8),
        weight_decay=Fraction(1, 4),
    )
    assert json.loads(json.dumps(spec.to_dict())) == spec.to_dict()
    assert spec == SearchSpec(
        optimizer="gdas",
        data_dir="images",
        download=True,
        epochs=3,
        seed=7,
        learning_rate=0.5,
        momentum=0.0,
        batch_size=8,
        weight_decay=0.25,
    )
    assert [type(value) for value in (spec.optimizer, spec.download, spec.epochs, spec.momentum, spec.batch_size)] == [
        str,
        bool,
        int,
        float,
        int,
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 3.0}, "epochs: got 3.0, expected a whole number"),
        ({"epochs": True}, "epochs: got True, expected a whole number"),
        ({"epochs": None}, "epochs: got None, expected a whole number$"),
        ({"batch_size": "8"}, "batch_size: got '8', expected a whole number or nothing"),
        ({"learning_rate": "0.1"}, "learning_rate: got '0.1', expected a number"),
        ({"learning_rate": np.array([0.1])}, r"learning_rate: got array\(\[0.1\]\), expected a number"),
        ({"learning_rate": 10**400}, r"learning_rate: got inf, expected a number up to"),
        ({"momentum": 0.5j}, "momentum: got 0.5j, expected a number"),
        ({"download": 1}, "download: got 1, expected True or False"),
        ({"optimizer": 1}, "optimizer: got 1, expected a text"),
        ({"search_space": 1}, "search_space: got 1, expected a text"),
        ({"data_dir": b"x"}, "data_dir: got b'x', expected a text or nothing"),
        ({"split": None}, "split: got None, expected a text"),
    ],
)
def test_values_of_other_types_are_refused_by_name(values, message):
    with pytest.raises(ValueError, match=message):
        SearchSpec(**values)


def test_settings_have_no_open_field():
    with pytest.raises(TypeError, match="final_samples"):
        Settings()
    settings = resolve(SearchSpec("random_ws"))
    assert all(getattr(settings, name) is not None for name in OPEN_FIELDS)
    with pytest.raises(ValueError, match=r"batch_size: got None, expected a whole number$"):
        replace(settings, batch_size=None)


@pytest.mark.parametrize(("name", "value"), [("graph", "on"), ("precision", "tf32")])
def test_what_only_a_gpu_can_is_refused_on_the_cpu(name, value):
    with pytest.raises(ValueError, match=f"{name}: got '{value}', which is for a GPU, and this search is on cpu"):
        resolve(SearchSpec(device="cpu", **{name: value}))
    assert resolve(SearchSpec(device="cpu", graph="auto", precision="float32")).graph == "auto"
