import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare

from nas.oneshot.methods.gumbel import gumbel_noise, gumbel_softmax
from tests.nas.oneshot import reference


def gumbels_like(method, seed):
    """The noise that ``mixtures`` draws: alpha by block, then beta, then gamma, a row a cell."""
    generator = torch.Generator().manual_seed(seed)
    n = len(method.supernet.cells)

    def draw(logits):
        return -torch.empty(n, *logits.shape).exponential_(generator=generator).log().double()

    alpha = [None if a is None else draw(a) for a in method.supernet.alpha_by_block()]
    return alpha, draw(method.supernet.beta), draw(method.supernet.gamma)


@pytest.mark.parametrize("space", ["1", "3"])
def test_gradient_is_that_of_the_straight_through_formula(space, tiny_method, batch):
    """Weight hard - stop_gradient(soft) + soft for the sampled operation; relaxed edges; other noise in each cell."""
    method, weights = tiny_method("gdas", space, grad_clip=1e9)
    method.temperature.fill_(3.0)
    net, data = method.supernet, batch(1)
    method.generator.manual_seed(11)
    noise_alpha, noise_beta, noise_gamma = gumbels_like(method, 11)
    params = dict(net.named_parameters())
    mixing = []
    for i in range(len(net.cells)):
        alpha = [
            None if a is None else torch.softmax((a + n[i]) / 3.0, 0)
            for a, n in zip(net.alpha_by_block(), noise_alpha, strict=True)
        ]
        soft = torch.softmax((net.beta + noise_beta[i]) / 3.0, 1)
        hard = F.one_hot(soft.argmax(1), 3).double()
        # Operations that are not sampled are not computed, so only the sampled one's weight carries a gradient.
        beta = hard * (hard - soft.detach() + soft)
        mixing.append((alpha, beta, torch.softmax((net.gamma + noise_gamma[i]) / 3.0, 0)))
    logits = reference.forward(params, data.images, net.space.n_blocks, len(net.cells), 1, mixing)
    expected = torch.autograd.grad(F.cross_entropy(logits, data.labels), net.architecture_parameters())

    method.architecture_gradient(batch(0), data, weights)

    for parameter, gradient in zip(method.parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-9)


def test_operations_are_one_hot_and_redrawn_per_cell(tiny_method, tiny_net):
    net = tiny_net("3", cells_per_stack=10)
    method, _ = tiny_method("gdas", "3", net=net)
    mixtures = method.mixtures()
    assert all(len(ops) == 1 for mixture in mixtures for ops in mixture.operations)
    assert all(weight.item() == 1.0 for mixture in mixtures for weight in mixture.beta)
    assert len({mixture.operations for mixture in mixtures}) > 1
    assert len({tuple(mixture.gamma.tolist()) for mixture in mixtures}) == 20


def test_operations_are_drawn_from_the_softmax_whatever_the_temperature():
    probabilities = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    noise = gumbel_noise(30_000, probabilities.shape, torch.Generator().manual_seed(0))
    drawn = gumbel_softmax(probabilities.log(), noise, 7.0).argmax(1)
    counts = torch.bincount(drawn, minlength=3)
    assert chisquare(counts.numpy(), (30_000 * probabilities).numpy()).pvalue > 0.01


def test_temperature_falls_linearly_from_10_to_1(tiny_method):
    method, _ = tiny_method("gdas", epochs=10)
    temperatures = []
    for epoch in range(10):
        method.start_epoch(epoch)
        temperatures.append(float(method.temperature))
    assert temperatures == pytest.approx([10, 9, 8, 7, 6, 5, 4, 3, 2, 1])


def test_architecture_gradient_is_clipped(tiny_method, batch):
    method, weights = tiny_method("gdas", grad_clip=1e-4)
    method.architecture_gradient(batch(0), batch(1), weights)
    norm = torch.cat([p.grad.flatten() for p in method.parameters]).norm()
    assert float(norm) == pytest.approx(1e-4, rel=1e-3)
