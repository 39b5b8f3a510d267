from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from nas.oneshot import SearchSpec
from nas.oneshot.methods import enas
from nas.oneshot.methods.controller import Controller
from nas.oneshot.model.mixture import Mixture
from nas.oneshot.search import run_search
from spaces import SEARCH_SPACES, SearchSpace

#: A space small enough to see every architecture often: block 2 and the output choose one of 2 and of 3 parents.
SMALL = SearchSpace("small", n_parents=(1, 1, 2))


def controller(space, seed=0, spread=0.0):
    generator = torch.Generator().manual_seed(seed)
    net = Controller(space, generator)
    if spread:
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    return net


@torch.no_grad()
def test_architectures_have_the_probability_that_the_policy_gives_them():
    """Sets of parents are drawn in either order: the probabilities of both orders add up."""
    samples = controller(SMALL, spread=0.8)(20_000, torch.Generator().manual_seed(1))
    indices = SMALL.encode_choices(samples.choices.numpy())
    counts = Counter(indices.tolist())
    probabilities: dict[int, set[float]] = {}
    for index, log_prob in zip(indices.tolist(), samples.log_prob.tolist(), strict=True):
        probabilities.setdefault(index, set()).add(round(float(np.exp(log_prob)), 5))
    total = {index: sum(values) for index, values in probabilities.items()}
    assert sum(total.values()) == pytest.approx(1, abs=0.02)
    common = [index for index, p in total.items() if 20_000 * p >= 20]
    assert len(common) > 10
    expected = np.array([total[i] for i in common])
    observed = np.array([counts[i] for i in common])
    assert chisquare(observed, expected / expected.sum() * observed.sum()).pvalue > 0.001


def test_the_constants_are_those_of_the_paper():
    """Facts of the public code's ENAS: 64 units, U(-0.1, 0.1), entropy weight 1e-4, baseline decay 0.99."""
    net = controller(SEARCH_SPACES["3"])
    assert {net.lstm.hidden_size, net.lstm.input_size, net.embedding.embedding_dim} == {64}
    values = torch.cat([p.detach().flatten() for p in net.parameters()])
    assert -0.1 <= values.min() < -0.0999
    assert 0.0999 < values.max() <= 0.1
    assert values.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.02)
    assert (enas.ENTROPY_WEIGHT, enas.BASELINE_DECAY) == (1e-4, 0.99)


@torch.no_grad()
@pytest.mark.parametrize("space", list(SEARCH_SPACES))
def test_a_fresh_policy_is_nearly_uniform(space):
    """Trap: an operation bias copied from another search space."""
    samples = controller(SEARCH_SPACES[space])(3000, torch.Generator().manual_seed(2))
    for column, radix in zip(samples.choices.numpy().T, SEARCH_SPACES[space].radices, strict=True):
        shares = np.bincount(column, minlength=radix) / 3000
        assert len(shares) == radix
        assert abs(shares - 1 / radix).max() < 0.06


def test_entropy_of_a_uniform_policy_is_the_logarithm_of_its_choices():
    net = controller(SMALL)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    samples = net(4, torch.Generator().manual_seed(0))
    # Two operations of 3; one parent of 2; of the output's two parents of 3, the entropy of the first draw.
    assert samples.entropy.tolist() == pytest.approx([2 * np.log(3) + np.log(2) + np.log(3)] * 4)
    # The draws themselves: (1/3)^2, 1/2, then 1/3 * 1/2.
    assert samples.log_prob.exp().tolist() == pytest.approx([1 / 9 / 2 / 6] * 4)


def test_reinforce_learns_a_toy_reward(tiny_method):
    """Reward: the fraction of blocks with a max-pool."""
    method, _ = tiny_method("enas", "1", arch_learning_rate=3e-3)
    generator = method.generator

    def mean_reward():
        return np.mean([sum(op == 2 for op in a.operations) / 4 for a in method.sample(400)])

    before = mean_reward()
    for _ in range(400):
        samples = method.controller(1, generator)
        reward = float((samples.choices[0, -4:] == 2).float().mean())
        method.reinforce(samples.log_prob[0], reward)
    assert before == pytest.approx(1 / 3, abs=0.08)
    assert mean_reward() > 0.6


def test_baseline_is_a_moving_average_that_starts_at_the_first_reward(tiny_method):
    method, _ = tiny_method("enas", "1")
    for reward in (0.5, 1.0, 0.0):
        method.reinforce(method.controller(1, method.generator).log_prob[0], reward)
    assert method.baseline == pytest.approx((0.99 * 0.5 + 0.01 * 1.0) * 0.99)


def test_a_draw_as_good_as_the_average_changes_nothing(tiny_method):
    method, _ = tiny_method("enas", "1")
    before = [p.detach().clone() for p in method.controller.parameters()]
    method.baseline = 0.5
    method.reinforce(method.controller(1, method.generator).log_prob[0], 0.5)
    assert all(torch.equal(p, old) for p, old in zip(method.controller.parameters(), before, strict=True))


def test_the_step_is_along_the_gradient_of_the_draws_probability_by_what_it_is_better(tiny_method):
    """REINFORCE: -(reward - moving average, with this reward in it) grad log p."""
    method, _ = tiny_method("enas", "1")
    method.reinforce(method.controller(1, method.generator).log_prob[0], 0.5)
    log_prob = method.controller(1, method.generator).log_prob[0]
    gradients = torch.autograd.grad(log_prob, list(method.controller.parameters()), retain_graph=True)
    method.reinforce(log_prob, 1.0)
    advantage = 1.0 - (0.99 * 0.5 + 0.01 * 1.0)
    for parameter, gradient in zip(method.controller.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, -advantage * gradient)


def test_the_architecture_that_was_drawn_is_the_one_that_is_rewarded(tiny_method, batch, monkeypatch):
    method, _ = tiny_method("enas", "2")
    drawn, evaluated, forward = [], [], type(method.supernet).forward

    def drawing(n, generator, controller=method.controller):
        samples = controller.forward(n, generator)
        drawn.append(method.space.encode_choices(samples.choices.numpy()).item())
        return samples

    def recording(net, images, mixtures):
        evaluated.append(mixtures)
        return forward(net, images, mixtures)

    monkeypatch.setattr(method, "controller", drawing)
    monkeypatch.setattr(type(method.supernet), "forward", recording)
    monkeypatch.setattr(method, "reinforce", lambda log_prob, reward: None)
    for i in range(10):
        method._update(batch(i))
    assert len(set(drawn)) > 5
    assert evaluated == [[Mixture.discrete(method.space.decode(index))] * 2 for index in drawn]


def test_the_entropy_of_a_draw_is_rewarded(tiny_method, batch, monkeypatch):
    rewards = []
    for weight in (0.0, 1.0):
        method, _ = tiny_method("enas", "1")
        entropy = float(method.controller(1, torch.Generator().manual_seed(7)).entropy[0].detach())
        monkeypatch.setattr(enas, "ENTROPY_WEIGHT", weight)
        monkeypatch.setattr(method, "generator", torch.Generator().manual_seed(7))
        monkeypatch.setattr(method, "reinforce", lambda log_prob, reward: rewards.append(reward))
        method._update(batch(0))
    assert rewards[1] - rewards[0] == pytest.approx(entropy)
    assert entropy > 1


def test_a_controller_that_is_not_finite_ends_the_search():
    size = {"n_stacks": 2, "cells_per_stack": 1, "init_channels": 4, "device": "cpu", "batch_size": 100}
    result = run_search(SearchSpec("enas", "1", epochs=2, controller_steps=3, arch_learning_rate=1e30, **size))
    assert (result.status, result.epochs) == ("diverged", 0)
    assert "controller" in result.error


def test_controller_takes_its_steps_on_the_architecture_half_and_leaves_the_weights(tiny_method, batch):
    method, weights = tiny_method("enas", "1", controller_steps=5)
    before = [p.detach().clone() for p in weights.parameters]
    policy = [p.detach().clone() for p in method.controller.parameters()]
    losses = method.end_epoch(iter([batch(i) for i in range(5)]))
    assert len(losses) == 5
    assert all(torch.equal(p, old) for p, old in zip(weights.parameters, before, strict=True))
    assert any(not torch.equal(p, old) for p, old in zip(method.controller.parameters(), policy, strict=True))
    group = method.optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (3.5e-4, (0.1, 0.999), 1e-3)
