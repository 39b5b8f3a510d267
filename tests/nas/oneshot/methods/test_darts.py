import pytest
import torch
import torch.nn.functional as F

from tests.nas.oneshot import reference


def reference_gradient(net, batch, groups=1):
    params = dict(net.named_parameters())
    mixing = reference.softmax_mixing(params, net.space, len(net.cells))
    logits = reference.forward(params, batch.images, net.space.n_blocks, len(net.cells), 1, mixing, groups)
    loss = F.cross_entropy(logits, batch.labels)
    return loss, torch.autograd.grad(loss, net.architecture_parameters())


@pytest.mark.parametrize("space", ["1", "2", "3"])
@pytest.mark.parametrize("optimizer", ["darts", "pc_darts"])
def test_architecture_gradient_is_that_of_the_validation_loss(optimizer, space, tiny_method, batch):
    method, weights = tiny_method(optimizer, space)
    expected_loss, expected = reference_gradient(method.supernet, batch(1), method.channel_groups)

    loss = method.architecture_gradient(batch(0), batch(1), weights)

    assert loss == pytest.approx(expected_loss.item(), abs=1e-9)
    for parameter, gradient in zip(method.parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-9)


def test_architecture_step_is_adam_and_leaves_the_weights_alone(tiny_method, batch):
    method, weights = tiny_method("darts", arch_learning_rate=0.01, arch_weight_decay=0.0)
    _, gradients = reference_gradient(method.supernet, batch(1))
    before = [p.detach().clone() for p in method.parameters]
    weights_before = [p.detach().clone() for p in weights.parameters]

    method.architecture_step(batch(0), batch(1), weights)

    # Adam's first step is lr * g / (|g| + eps), whatever its betas.
    for parameter, old, g in zip(method.parameters, before, gradients, strict=True):
        torch.testing.assert_close(parameter.detach(), old - 0.01 * g / (g.abs() + 1e-8), rtol=1e-5, atol=1e-8)
    assert all(torch.equal(p, old) for p, old in zip(weights.parameters, weights_before, strict=True))
    assert all(p.grad is None for p in weights.parameters)
    assert method.optimizer.param_groups[0]["betas"] == (0.5, 0.999)


def test_weight_step_leaves_the_architecture_alone(tiny_method, batch):
    method, weights = tiny_method("darts")
    before = [p.detach().clone() for p in method.parameters]
    weights.step(batch(0), method.mixtures)
    assert all(torch.equal(p, old) for p, old in zip(method.parameters, before, strict=True))
    assert all(p.grad is None for p in method.parameters)


def test_selects_the_highest_weights(tiny_method):
    method, _ = tiny_method("darts", "1")
    with torch.no_grad():
        for parameter in method.parameters:
            parameter.zero_()
        method.supernet.alpha[0].copy_(torch.tensor([0.1, 0.3, 0.2]))  # block 3: parents 1, 2
        method.supernet.alpha[1].copy_(torch.tensor([0.4, 0.0, 0.1, 0.2]))  # block 4: parents 0, 3
        method.supernet.beta[torch.arange(4), torch.tensor([0, 2, 1, 2])] = 1.0
        method.supernet.gamma.copy_(torch.tensor([0.0, 0.5, 0.1, 0.0, 0.7]))  # output: blocks 1 and 4
    selected = method.select(None, final=True)
    assert selected.parents == ((0,), (0, 1), (1, 2), (0, 3), (1, 4))
    assert selected.operations == (0, 2, 1, 2)
