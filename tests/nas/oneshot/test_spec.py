from dataclasses import fields

import pytest

from nas.oneshot import SearchSpec


def test_every_field_is_documented():
    for field in fields(SearchSpec):
        assert f"\n        {field.name}: " in SearchSpec.__doc__


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
        ({"precision": "fp8"}, "precision: got 'fp8', expected 'float32' or 'bf16'"),
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
