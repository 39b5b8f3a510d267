"""Measuring a table: reproducible, resumable, tied to its settings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.datasets import PARTS, Dataset, DatasetId, Images, load_dataset
from nas.datasets.dataset import moments
from nas.tabular.measured.measure import (
    Measurement,
    check_network_fits,
    measure,
    measure_cell,
    read_journal,
    spread,
    table_data,
)
from nas.tabular.measured.training import BudgetResult, LabelledImages, train_cell
from nas.tabular.measured.training_spec import NetworkSize, TrainingSpec
from nas.tabular.table import Table
from spaces import SEARCH_SPACES, Cell
from tests.nas.datasets.made_up import own_arrays

SPEC = TrainingSpec(
    budgets=(1, 2),
    n_repeats=2,
    network=NetworkSize(
        image_channels=1, n_classes=2, stem_channels=4, n_stacks=1, cells_per_stack=1, batch_norm_momentum=0.2
    ),
    batch_size=16,
)


def two_classes() -> Dataset:
    """The separable images of ``own_arrays``, in 256 images of 4x4 pixels."""
    arrays = own_arrays()
    parts = {part: Images(arrays["images"][arrays[part]], arrays["labels"][arrays[part]]) for part in PARTS}
    mean, std = moments(parts["train"])
    return Dataset(id=DatasetId("own"), parts=parts, n_classes=2, mean=mean, std=std, crop_padding=0, flip=False)


def images() -> LabelledImages:
    return LabelledImages.of(two_classes())


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    path = tmp_path / "images.npz"
    np.savez(path, **own_arrays(seed=3))
    return str(path)


def cells(n: int) -> list[Cell]:
    space = SEARCH_SPACES["1"]
    return [space.cell_of(index * 997) for index in range(n)]


def errors(measurement: Measurement) -> list[tuple[float, ...]]:
    return [r.validation_error + r.test_error for r in measurement.results.values()]


def test_training_learns_and_is_reproducible() -> None:
    first, second = (train_cell(cells(1)[0], images(), SPEC, budget=8) for _ in range(2))
    assert first.test_error == second.test_error
    assert max(first.test_error) < 0.2
    assert all(seconds > 0 for seconds in first.training_time_s)


def test_a_repeat_does_not_depend_on_the_number_of_repeats() -> None:
    data = images()
    one = train_cell(cells(1)[0], data, TrainingSpec(**{**vars(SPEC), "n_repeats": 1}), budget=2)
    two = train_cell(cells(1)[0], data, SPEC, budget=2)
    assert one.validation_error[0] == pytest.approx(two.validation_error[0], abs=1 / 64 + 1e-9)


def test_another_seed_gives_other_results() -> None:
    data = LabelledImages.of(load_dataset("digits"))
    spec = TrainingSpec(n_repeats=1, network=NetworkSize(1, 10, 4, 2, 1, 1))
    other = TrainingSpec(**{**vars(spec), "seed": 1})
    cell = cells(1)[0]
    assert train_cell(cell, data, spec, 1).validation_error != train_cell(cell, data, other, 1).validation_error


def test_the_schedule_reaches_every_budget_of_its_own() -> None:
    measurement = measure_cell(cells(1)[0], images(), SPEC)
    assert list(measurement.results) == [1, 2]
    alone = train_cell(cells(1)[0], images(), SPEC, budget=2)
    assert measurement.results[2].validation_error == alone.validation_error


def test_a_line_of_the_journal_reads_back() -> None:
    measurement = measure_cell(cells(2)[1], images(), SPEC)
    again = Measurement.from_record(json.loads(json.dumps(measurement.to_record())))
    assert again.cell == measurement.cell
    assert again.results == measurement.results
    assert again.trainable_parameters == measurement.trainable_parameters


def test_normalised_by_the_training_part() -> None:
    data = images()
    train = data.images[data.train]
    torch.testing.assert_close(train.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(train.std(correction=0), torch.tensor(1.0), atol=1e-6, rtol=0)


def test_an_interrupted_measurement_goes_on_and_gives_the_same(tmp_path: Path, dataset: str) -> None:
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    measure(cells(4), dataset, SPEC, whole, n_processes=2)
    measure(cells(2), dataset, SPEC, parts, n_processes=1)
    content = parts.read_bytes()
    parts.write_bytes(content[: len(content) - 40])  # killed in the middle of the second line
    fresh: list[Measurement] = []
    measure(cells(4), dataset, SPEC, parts, n_processes=1, on_measured=fresh.append)
    assert len(fresh) == 3
    expected = {m.cell.hash: errors(m) for m in read_journal(whole)}
    assert {m.cell.hash: errors(m) for m in read_journal(parts)} == expected
    assert len(expected) == 4


def test_other_settings_are_refused(tmp_path: Path, dataset: str) -> None:
    journal = tmp_path / "journal.jsonl"
    measure([], dataset, SPEC, journal, n_processes=1)
    with pytest.raises(ValueError, match="another data set or other training settings"):
        measure([], dataset, TrainingSpec(), journal, n_processes=1)
    with pytest.raises(ValueError, match="another data set or other training settings"):
        measure([], "digits", SPEC, journal, n_processes=1)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_text('{"hash": 1}\n')
    with pytest.raises(ValueError, match="line 1"):
        list(read_journal(journal))


def measurement_of(cell: Cell, test_errors: tuple[float, ...]) -> Measurement:
    return Measurement(cell, 10, {1: BudgetResult(test_errors, test_errors, test_errors, (1.0, 2.0))}, 3.0)


def test_spreads_worked_by_hand() -> None:
    first, second = cells(2)
    both = [measurement_of(first, (0.1, 0.3)), measurement_of(second, (0.4, 0.4))]
    found = spread(both, 1)
    # Means 0.2 and 0.4: deviation 0.2 / sqrt 2.  Repeats: variances 0.02 and 0, their mean 0.01.
    assert found.mean == pytest.approx(0.3)
    assert found.between_cells == pytest.approx(0.2 / 2**0.5)
    assert found.between_repeats == pytest.approx(0.1)
    assert (found.best, found.worst) == pytest.approx((0.2, 0.4))


def test_a_table_answers_with_what_was_measured() -> None:
    first, second = cells(2)
    measurements = [measurement_of(first, (0.1, 0.3)), measurement_of(second, (0.4, 0.5))]
    table = Table("own", table_data(measurements, (1,)))
    entry = table.query(second, 1)
    assert entry.test_error == pytest.approx((0.4, 0.5))
    assert entry.training_time_s == (1.0, 2.0)
    assert entry.trainable_parameters == 10


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (NetworkSize(image_channels=3, n_classes=2), "got 3 and 2, expected 1 and 2"),
        (NetworkSize(image_channels=1, n_classes=1), "expected 1 and 2"),
        (NetworkSize(image_channels=1, n_classes=2, n_stacks=4), "leave no pixel of 4"),
        (NetworkSize(image_channels=1, n_classes=2, n_stacks=3, stem_stride=2), "leave no pixel of 4"),
    ],
)
def test_a_network_that_does_not_fit_the_images_is_refused(size: NetworkSize, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_network_fits(two_classes(), size)
    check_network_fits(two_classes(), NetworkSize(image_channels=1, n_classes=2, n_stacks=3))
