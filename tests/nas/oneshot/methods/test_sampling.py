import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from nas.oneshot.model.batches import fixed_batches, normalise
from nas.oneshot.model.evaluation import Evaluator
from nas.oneshot.model.mixture import Mixture
from nas.oneshot.model.weight_trainer import DivergedError
from spaces import SEARCH_SPACES


class RecordingEvaluator:
    """Gives each architecture the error of a table, and notes what was asked on which batches."""

    def __init__(self, errors_of, n_batches=20):
        self.n_mini_batches = n_batches
        self.batches = ["the whole half"]
        self.errors_of = errors_of
        self.asked = []

    def first_batches(self, n):
        return [f"mini-batch {i}" for i in range(n)]

    def architecture_errors(self, architectures, batches):
        self.asked.append((list(architectures), list(batches)))
        return np.array([self.errors_of(a, batches) for a in architectures])


@pytest.mark.parametrize("space", list(SEARCH_SPACES))
def test_random_ws_draws_uniformly(space, tiny_method):
    method, _ = tiny_method("random_ws", space)
    drawn = method.sample(4000)
    choices = method.space.decode_choices([method.space.encode(a) for a in drawn])
    for column, radix in zip(choices.T, method.space.radices, strict=True):
        if radix > 1:
            assert chisquare(np.bincount(column, minlength=radix)).pvalue > 0.001


@pytest.mark.parametrize("optimizer", ["random_ws", "enas"])
def test_each_mini_batch_trains_one_new_architecture_in_all_cells(optimizer, tiny_method):
    method, _ = tiny_method(optimizer, "3")
    drawn = []
    for _ in range(20):
        mixtures = method.mixtures()
        assert all(mixture is mixtures[0] for mixture in mixtures)
        assert all(len(ops) <= 1 for ops in mixtures[0].operations)
        assert mixtures[0].gamma is None
        drawn.append(mixtures[0])
    assert len(set(drawn)) > 15


@pytest.mark.parametrize(("optimizer", "samples"), [("random_ws", 1000), ("enas", 100)])
def test_final_selection_ranks_all_on_the_same_10_batches_and_5_on_the_whole_half(optimizer, samples, tiny_method):
    """Trap: the public code ranked every sample on other mini-batches."""
    method, _ = tiny_method(optimizer, "3", final_samples=None)

    def error(architecture, batches):
        number = method.space.encode(architecture)
        # On the whole half the order of the five is another one.
        return number / method.space.size if len(batches) == 10 else -number / method.space.size

    evaluator = RecordingEvaluator(error)
    selected = method.select(evaluator, final=True)

    (ranked, ranking_batches), (finalists, whole) = evaluator.asked
    assert len(ranked) == samples
    assert ranking_batches == [f"mini-batch {i}" for i in range(10)]
    assert whole == ["the whole half"]
    numbers = sorted(method.space.encode(a) for a in ranked)
    assert [method.space.encode(a) for a in finalists] == numbers[:5]
    assert method.space.encode(selected) == numbers[4]


def test_the_finalists_differ_in_more_than_loose_ends(tiny_method, monkeypatch):
    """Equal samples have equal errors, so they lie side by side in the ranking."""
    method, _ = tiny_method("random_ws", "1")
    space = method.space
    by_cell = {}
    for index in range(space.size):
        by_cell.setdefault(Mixture.discrete(space.decode(index)), []).append(space.decode(index))
    groups = sorted((group for group in by_cell.values() if len(group) > 2), key=len)[:7]  # with loose ends
    errors = {a: number / 10 for number, group in enumerate(groups) for a in group}
    monkeypatch.setattr(method, "sample", lambda n: [group[i] for i in (2, 0, 1, 0) for group in groups])
    evaluator = RecordingEvaluator(lambda a, batches: errors[a])
    assert method.select(evaluator, final=True) == groups[0][2]
    finalists, _ = evaluator.asked[1]
    assert finalists == [group[2] for group in groups[:5]]


@pytest.mark.parametrize("optimizer", ["random_ws", "enas"])
def test_selection_of_an_epoch_costs_one_forward_pass_a_step(optimizer, tiny_method):
    method, _ = tiny_method(optimizer, "1")
    evaluator = RecordingEvaluator(lambda a, b: -method.space.encode(a), n_batches=17)
    selected = method.select(evaluator, final=False)
    ((ranked, batches),) = evaluator.asked
    assert len(ranked) == 17
    assert batches == ["mini-batch 0"]
    assert method.space.encode(selected) == max(method.space.encode(a) for a in ranked)


def test_errors_of_architectures_are_those_of_a_forward_pass_each(tiny_net, small_data):
    net, data = tiny_net("3").float(), small_data()
    evaluator = Evaluator(net, data, batch_size=16)
    architectures = [net.space.decode(i) for i in (5, 777_777, 5, 1_000_000)]
    errors = evaluator.architecture_errors(architectures, evaluator.batches)
    for architecture, error in zip(architectures, errors, strict=True):
        wrong = n = 0
        for batch in fixed_batches(data.architecture, 500):
            predicted = net(normalise(batch.images, data), [Mixture.discrete(architecture)] * 2).argmax(1)
            wrong += int((predicted != batch.labels).sum())
            n += len(batch)
        assert error == wrong / n
    assert errors[0] == errors[2]


@pytest.mark.parametrize("optimizer", ["random_ws", "enas"])
def test_the_error_that_is_reported_is_that_of_the_selected_on_the_whole_half(optimizer, tiny_method):
    method, _ = tiny_method(optimizer, "1")
    selected = method.space.decode(99)
    evaluator = RecordingEvaluator(lambda architecture, batches: 0.25)
    assert method.one_shot_error(evaluator, selected) == 0.25
    assert evaluator.asked == [([selected], ["the whole half"])]


def test_an_output_that_is_no_number_is_a_divergence(tiny_net, small_data):
    net = tiny_net("1").float()
    evaluator = Evaluator(net, small_data(), batch_size=16)
    with torch.no_grad():
        net.classifier.bias[3] = torch.nan
    mixture = Mixture.discrete(net.space.decode(99))
    with pytest.raises(DivergedError, match="not finite"):
        evaluator.error(lambda: [mixture] * 2)
    with pytest.raises(DivergedError, match="not finite"):
        evaluator.architecture_errors([net.space.decode(99)], evaluator.batches)


def test_one_shot_error_is_the_fraction_of_the_whole_half(tiny_net, small_data):
    net, data = tiny_net("1").float(), small_data()
    evaluator = Evaluator(net, data, batch_size=16)
    architecture = net.space.decode(99)
    (whole,) = fixed_batches(data.architecture, 500)
    mixtures = [Mixture.discrete(architecture)] * 2
    expected = float((net(normalise(whole.images, data), mixtures).argmax(1) != whole.labels).double().mean())
    assert evaluator.error(lambda: mixtures) == pytest.approx(expected)
    assert 0 < expected < 1


def test_first_batches_are_the_images_of_the_first_mini_batches(tiny_net, small_data):
    data = small_data(n=40)
    evaluator = Evaluator(tiny_net("1").float(), data, batch_size=16)
    assert evaluator.n_mini_batches == 3
    (joined,) = evaluator.first_batches(2)
    (whole,) = evaluator.batches
    assert torch.equal(joined.images, whole.images[:32])
    assert torch.equal(joined.labels, whole.labels[:32])
    (all_there_are,) = evaluator.first_batches(10)
    assert len(all_there_are) == 40
