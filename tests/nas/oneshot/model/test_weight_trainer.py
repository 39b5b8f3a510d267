import math

import pytest
import torch
import torch.nn.functional as F

from nas.oneshot.model.mixture import Mixture
from nas.oneshot.model.weight_trainer import DivergedError, finite_loss
from tests.nas.oneshot import reference


def test_learning_rate_is_a_cosine_per_epoch(tiny_method):
    _, weights = tiny_method("enas", epochs=50, learning_rate=0.025, learning_rate_min=0.001)
    rates = []
    for epoch in range(50):
        weights.start_epoch(epoch)
        rates.append(weights.learning_rate)
    assert rates[0] == pytest.approx(0.025)
    assert rates[25] == pytest.approx((0.025 + 0.001) / 2)
    assert rates[49] == pytest.approx(0.001 + 0.024 * (1 + math.cos(math.pi * 49 / 50)) / 2)
    assert rates == sorted(rates, reverse=True)


def test_two_steps_are_sgd_with_momentum_l2_and_clipping(tiny_method, batch):
    settings = {"learning_rate": 0.1, "momentum": 0.7, "weight_decay": 0.01, "grad_clip": 0.5}
    method, weights = tiny_method("darts", **settings)
    net, data = method.supernet, batch(0)
    params = {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}
    names = [n for n in params if n.split(".")[0] not in ("alpha", "beta", "gamma")]
    velocity = {n: torch.zeros_like(params[n]) for n in names}
    for _ in range(2):
        mixing = reference.softmax_mixing(params, net.space, len(net.cells))
        logits = reference.forward(params, data.images, net.space.n_blocks, len(net.cells), 1, mixing)
        gradients = torch.autograd.grad(F.cross_entropy(logits, data.labels), [params[n] for n in names])
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        assert norm > 0.5, "the test would not see the clipping"
        with torch.no_grad():
            for name, g in zip(names, gradients, strict=True):
                velocity[name] = 0.7 * velocity[name] + g * 0.5 / norm + 0.01 * params[name]
                params[name] -= 0.1 * velocity[name]
        weights.step(data, method.mixtures)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), params[name].detach(), rtol=1e-4, atol=1e-6)


def test_weights_that_take_no_part_stay_as_they_are(tiny_method, batch):
    method, weights = tiny_method("random_ws", "1", weight_decay=0.1)
    mixture = Mixture.discrete(method.space.decode(0))
    assert (0,) in mixture.operations
    before = {n: p.detach().clone() for n, p in method.supernet.named_parameters()}
    for seed in (0, 1):
        weights.step(batch(seed), lambda: [mixture] * 2)
    unsampled = "cells.0.blocks.0.operations.1.weight"
    assert torch.equal(dict(method.supernet.named_parameters())[unsampled], before[unsampled])


def test_a_loss_that_is_no_number_is_a_divergence(tiny_method, batch):
    method, weights = tiny_method("darts")
    with torch.no_grad():
        method.supernet.head.fill_(float("nan"))
    with pytest.raises(DivergedError, match="the training loss is nan"):
        finite_loss(weights.step(batch(0), method.mixtures), "training")
    with pytest.raises(DivergedError, match="the validation loss is nan"):
        finite_loss(method.architecture_gradient(batch(0), batch(1), weights), "validation")
