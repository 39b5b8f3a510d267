"""What the loop does when, and with which images: the order of Algorithms 1 to 5."""

import time
from dataclasses import replace
from itertools import pairwise
from math import cos, pi

import pytest
import torch

from nas.oneshot import METHODS
from nas.oneshot.data import Half
from nas.oneshot.loop import Search
from nas.oneshot.methods.enas import Enas
from nas.oneshot.methods.gdas import Gdas
from nas.oneshot.methods.method import Method
from nas.oneshot.model.batches import Batch, Batches, normalise
from nas.oneshot.model.weight_trainer import WeightTrainer

#: Images of a half, and of a batch: three steps an epoch.
N, BATCH = 60, 20
STEPS = N // BATCH


@pytest.fixture
def search(small_data, tiny_spec):
    """A search whose weights' half has the labels 0 to 4, and whose architecture's half has 5 to 9."""

    def make(optimizer="darts", **fields):
        data = small_data(n=N)
        halves = {
            name: Half(half.images, half.labels % 5 + first)
            for name, half, first in (("weights", data.weights, 0), ("architecture", data.architecture, 5))
        }
        return Search(tiny_spec(optimizer, batch_size=BATCH, **fields), replace(data, **halves))

    return make


def half_of(batch: Batch) -> str:
    (of_architecture,) = set((batch.labels >= 5).tolist())  # all of one half
    return "architecture" if of_architecture else "weights"


@pytest.fixture
def events(monkeypatch):
    """What the loop calls, in order, with the halves that the images come from."""
    seen = []

    def record(owner, name, describe):
        original = getattr(owner, name)

        def recorded(self, *args, **kwargs):
            seen.append((name, *describe(self, *args, **kwargs)))
            return original(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, recorded)

    record(WeightTrainer, "start_epoch", lambda self, epoch: ("weights", epoch))
    record(WeightTrainer, "step", lambda self, batch, mixtures: (half_of(batch),))
    for cls in {c for method in METHODS.values() for c in method.mro() if issubclass(c, Method)}:
        own = vars(cls)
        if "select" in own:
            record(cls, "select", lambda self, evaluator, *, final: (final,))
        if "end_epoch" in own:
            record(cls, "end_epoch", lambda self, batches: ())
        if "architecture_step" in own:
            record(cls, "architecture_step", lambda self, weight_batch, batch, weights: (half_of(weight_batch),))
        if "architecture_gradient" in own and cls is not Gdas:  # whose gradient is DARTS's, clipped
            record(
                cls,
                "architecture_gradient",
                lambda self, weight_batch, batch, weights: (half_of(weight_batch), half_of(batch)),
            )
    return seen


GRADIENT_STEP = [
    ("architecture_step", "weights"),
    ("architecture_gradient", "weights", "architecture"),
    ("step", "weights"),
]
SAMPLED_STEP = [("step", "weights")]


@pytest.mark.parametrize("optimizer", ["darts", "darts_2nd", "gdas", "pc_darts", "enas", "random_ws"])
def test_each_epoch_takes_the_steps_of_the_algorithm_in_order(optimizer, search, events):
    warm = 0 if optimizer == "random_ws" else 1
    running = search(optimizer, epochs=3, warm_start_epochs=warm)
    for epoch in range(3):
        events.clear()
        running.run_epoch(epoch)
        start, *between, end = events
        assert start == ("start_epoch", "weights", epoch)
        assert end == ("select", epoch == 2)
        step = GRADIENT_STEP if optimizer not in ("enas", "random_ws") else SAMPLED_STEP
        if epoch < warm:
            assert between == [("step", "weights")] * STEPS
        else:
            assert between == [*step * STEPS, ("end_epoch",)]


@pytest.mark.parametrize("optimizer", list(METHODS))
def test_the_learning_rate_follows_the_epochs_and_stays_within_one(optimizer, search, monkeypatch):
    """Trap: the public code stepped ENAS's learning rate with every mini-batch."""
    rates, step = [], WeightTrainer.step

    def recording_step(self, batch, mixtures):
        rates.append(float(self.rate))
        return step(self, batch, mixtures)

    monkeypatch.setattr(WeightTrainer, "step", recording_step)
    running = search(optimizer, epochs=4, learning_rate=0.3, learning_rate_min=0.1)
    reported = [running.run_epoch(epoch).learning_rate for epoch in range(4)]
    expected = [0.1 + 0.2 * (1 + cos(pi * epoch / 4)) / 2 for epoch in range(4)]
    assert reported == pytest.approx(expected)
    assert rates == pytest.approx([rate for rate in expected for _ in range(STEPS)])


@pytest.mark.parametrize("optimizer", list(METHODS))
def test_momentum_goes_on_from_epoch_to_epoch(optimizer, search, monkeypatch):
    before, after, step = [], [], WeightTrainer.step

    def recording_step(self, batch, mixtures):
        before.append([velocity.clone() for velocity in self.velocities])
        loss = step(self, batch, mixtures)
        after.append([velocity.clone() for velocity in self.velocities])
        return loss

    monkeypatch.setattr(WeightTrainer, "step", recording_step)
    running = search(optimizer, epochs=3)
    for epoch in range(3):
        running.run_epoch(epoch)
    assert not any(velocity.any() for velocity in before[0])
    assert any(velocity.any() for velocity in after[0])
    for left, found in pairwise([*zip(after, before, strict=True)]):
        assert all(torch.equal(old, new) for old, new in zip(left[0], found[1], strict=True))


@pytest.mark.parametrize("optimizer", ["darts", "darts_2nd", "gdas", "pc_darts"])
def test_the_architectures_half_is_seen_pass_after_pass(optimizer, search, monkeypatch):
    """As many batches as the half has: each image once."""
    seen, cls = [], METHODS[optimizer]
    gradient = cls.architecture_gradient

    def recording(self, weight_batch, batch, weights):
        seen.extend(zip(batch.images.mean((1, 2, 3)).tolist(), batch.labels.tolist(), strict=True))
        return gradient(self, weight_batch, batch, weights)

    monkeypatch.setattr(cls, "architecture_gradient", recording)
    running = search(optimizer, epochs=2)
    for batches in (running.weight_batches, running.architecture_batches):  # what is seen tells the images apart

        def as_they_are(draws, _, half=batches.half):
            return Batch(normalise(half.images[draws.chosen], running.data), half.labels[draws.chosen])

        monkeypatch.setattr(batches, "make", as_they_are)
    for epoch in range(2):
        seen.clear()
        running.run_epoch(epoch)
        assert len(seen) == len(set(seen)) == N


@pytest.mark.parametrize("optimizer", list(METHODS))
def test_cutout_is_for_the_images_of_both_halves(optimizer, search, monkeypatch):
    probabilities, make = {}, Batches.make

    def recording(self, draws, cutout_prob):
        probabilities.setdefault(bool((self.half.labels >= 5).all()), set()).add(float(cutout_prob))
        return make(self, draws, cutout_prob)

    monkeypatch.setattr(Batches, "make", recording)
    running = search(optimizer, epochs=3, cutout_prob=0.5)
    for epoch, expected in enumerate((0.0, 0.25, 0.5)):
        probabilities.clear()
        assert running.run_epoch(epoch).cutout_prob == expected
        # What updates nothing but the weights only ranks on the second half.
        halves = {False, True} if METHODS[optimizer].updates_architecture else {False}
        assert probabilities == {half: {expected} for half in halves}


@pytest.mark.parametrize("optimizer", list(METHODS))
def test_only_reports_draw_from_the_stream_of_reports(optimizer, search, monkeypatch):
    streams, cls = [], METHODS[optimizer]
    select, one_shot_error = cls.select, cls.one_shot_error

    def recording_select(self, evaluator, *, final):
        streams.append(("select", self.generator))
        return select(self, evaluator, final=final)

    def recording_error(self, evaluator, selected):
        streams.append(("error", self.generator))
        return one_shot_error(self, evaluator, selected)

    monkeypatch.setattr(cls, "select", recording_select)
    monkeypatch.setattr(cls, "one_shot_error", recording_error)
    running = search(optimizer, epochs=2)
    for epoch in range(2):
        running.run_epoch(epoch)
    own, report = running.streams.architecture, running.streams.report
    assert streams == [("select", report), ("error", report), ("select", own), ("error", report)]
    assert running.method.generator is own


def test_the_seconds_of_a_search_are_those_of_training_and_of_the_selection_at_the_end(search, monkeypatch):
    clock = [0.0]

    def taking(cls, name, seconds):
        original = getattr(cls, name)

        def slow(self, *args, **kwargs):
            clock[0] += seconds
            return original(self, *args, **kwargs)

        monkeypatch.setattr(cls, name, slow)

    running = search("random_ws", epochs=2)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    taking(WeightTrainer, "step", 1.0)
    taking(type(running.method), "select", 100.0)
    taking(type(running.method), "one_shot_error", 10_000.0)
    assert [running.run_epoch(epoch).search_s for epoch in range(2)] == [STEPS, 2 * STEPS + 100.0]


def test_pc_darts_mixes_a_quarter_of_the_channels(search):
    shapes = {
        optimizer: {
            tuple(p.shape[:2])
            for p in search(optimizer, init_channels=16).supernet.cells[0].parameters()
            if p.ndim == 4 and p.shape[-1] == 3
        }
        for optimizer in ("darts", "pc_darts")
    }
    assert shapes["darts"] == {(16, 16)}
    assert shapes["pc_darts"] == {(4, 4)}


def test_the_temperature_of_gdas_falls_with_the_epochs(search, monkeypatch):
    temperatures, mixtures = [], Gdas.mixtures

    def recording_mixtures(self):
        temperatures.append(float(self.temperature))
        return mixtures(self)

    monkeypatch.setattr(Gdas, "mixtures", recording_mixtures)
    running = search("gdas", epochs=4)
    for epoch in range(4):
        temperatures.clear()
        running.run_epoch(epoch)
        assert set(temperatures) == {10.0 - 3.0 * epoch}


@pytest.mark.parametrize(("bias", "reward"), [(100.0, 1.0), (-100.0, 0.0)])
def test_the_controller_is_rewarded_for_accuracy_on_the_architectures_half(bias, reward, search, monkeypatch):
    """A classifier that says 5 to all images is right where the label is 5; one that never does is wrong."""
    rewards, halves, update = [], [], Enas._update
    monkeypatch.setattr(Enas, "reinforce", lambda self, log_prob, value: rewards.append(value))

    def update_of_one_label(self, batch):
        halves.append(half_of(batch))
        return update(self, Batch(batch.images, torch.full_like(batch.labels, 5)))

    monkeypatch.setattr(Enas, "_update", update_of_one_label)
    running = search("enas", epochs=1, controller_steps=4)
    with torch.no_grad():
        running.supernet.classifier.weight.zero_()
        running.supernet.classifier.bias.zero_()[5] = bias
    running.method.end_epoch(running.architecture_batches.passes(0.0))
    assert halves == ["architecture"] * 4
    assert rewards == pytest.approx([reward] * 4, abs=0.01)  # the entropy adds less


@pytest.mark.parametrize("optimizer", list(METHODS))
def test_what_is_reported_changes_nothing(optimizer, search, monkeypatch):
    def learned():
        running = search(optimizer, epochs=2)
        for epoch in range(2):
            running.run_epoch(epoch)
        return torch.cat([p.detach().flatten() for p in running.supernet.parameters()])

    reported = learned()
    monkeypatch.setattr(METHODS[optimizer], "one_shot_error", lambda self, evaluator, selected: 0.5)
    assert torch.equal(learned(), reported)


@pytest.mark.parametrize("optimizer", list(METHODS))
@pytest.mark.parametrize("space", ["1", "2", "3"])
def test_no_weight_of_a_mixture_is_negative(optimizer, space, search):
    """The supernet folds them into BatchNorm, as factors of what a ReLU lets through."""
    running = search(optimizer, search_space=space)
    with torch.no_grad():
        for parameter in running.supernet.architecture_parameters():
            parameter.copy_(torch.linspace(-3, 3, parameter.numel()).view_as(parameter))
    running.method.start_epoch(1)
    for mixture in running.method.mixtures():
        for weights in (*mixture.alpha, *mixture.beta, mixture.gamma):
            assert weights is None or bool((weights >= 0).all())
