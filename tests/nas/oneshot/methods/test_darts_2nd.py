import pytest
import torch
import torch.nn.functional as F

from nas.oneshot.methods import darts_2nd
from nas.oneshot.model.batches import Batch
from tests.nas.oneshot import reference


def loss_at(net, params, batch):
    mixing = reference.softmax_mixing(params, net.space, len(net.cells))
    logits = reference.forward(params, batch.images, net.space.n_blocks, len(net.cells), net.cells_per_stack, mixing)
    return F.cross_entropy(logits, batch.labels)


def exact_gradient(net, weights, weight_batch, batch, buffers):
    """Autograd through the step: the gradient by a of L_val(w - xi (momentum v + grad L_train(w, a) + L2 w), a)."""
    params = {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}
    architecture = [*sorted(k for k in params if k.startswith("alpha.")), "beta", "gamma"]
    names = [k for k in params if k not in architecture]
    gradients = torch.autograd.grad(loss_at(net, params, weight_batch), [params[k] for k in names], create_graph=True)
    ahead = dict(params)
    for name, gradient, buffer in zip(names, gradients, buffers, strict=True):
        velocity = weights.momentum * buffer + gradient + weights.weight_decay * params[name]
        ahead[name] = params[name] - weights.learning_rate * velocity
    loss = loss_at(net, ahead, batch)
    return loss.item(), torch.autograd.grad(loss, [params[k] for k in architecture])


@pytest.fixture
def _exact_difference(monkeypatch):
    """A step so short that no ReLU of the piecewise smooth network changes sides within it."""
    assert darts_2nd.FINITE_DIFFERENCE_STEP == 0.01
    monkeypatch.setattr(darts_2nd, "FINITE_DIFFERENCE_STEP", 1e-6)


@pytest.mark.usefixtures("_exact_difference")
def test_gradient_equals_autograd_through_the_unrolled_step(tiny_method, batch):
    """One weight step first, so that there is momentum; a large step, so that the second order matters.

    In the second epoch, whose learning rate is no longer that of the specification.
    """
    method, weights = tiny_method("darts_2nd", "1", learning_rate=0.2, weight_decay=1e-2)
    weights.start_epoch(1)
    assert weights.learning_rate == pytest.approx(0.1, rel=0.01)
    weights.step(batch(5), method.mixtures)
    loss, expected = exact_gradient(method.supernet, weights, batch(0), batch(1), weights.velocities)
    before = [p.detach().clone() for p in weights.parameters]

    ours = method.architecture_gradient(batch(0), batch(1), weights)

    assert abs(ours - loss) < 1e-9
    assert all(torch.equal(p, old) for p, old in zip(weights.parameters, before, strict=True))
    flat = torch.cat([p.grad.flatten() for p in method.parameters])
    exact = torch.cat([g.flatten() for g in expected])
    first = torch.cat([g.flatten() for g in first_order(method, weights, batch)])
    second_order_part = (exact - first).norm()
    assert second_order_part > 0.05 * exact.norm(), "the test would not see a missing second order"
    assert (flat - exact).norm() < 1e-6 * second_order_part


def first_order(method, weights, batch):
    """grad_a L_val(w', a) alone."""
    saved = [p.detach().clone() for p in weights.parameters]
    method._set(weights, weights.unrolled(method._weight_gradient(batch(0), weights)))
    _, gradients, _ = method._gradients_ahead(batch(1), weights)
    method._set(weights, saved)
    return gradients


@pytest.mark.usefixtures("_exact_difference")
def test_without_momentum_buffers_the_first_step_is_unrolled_too(tiny_method, batch):
    method, weights = tiny_method("darts_2nd", "1")
    zeros = [torch.zeros_like(p) for p in weights.parameters]
    _, expected = exact_gradient(method.supernet, weights, batch(0), batch(1), zeros)
    method.architecture_gradient(batch(0), batch(1), weights)
    for parameter, gradient in zip(method.parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-8)


def second_order_part(method, weights, batch, monkeypatch):
    """What the finite difference adds to the gradient."""
    gradients = []
    for difference in (True, False):
        with monkeypatch.context() as patch:
            if not difference:
                zeros = [torch.zeros_like(p) for p in method.parameters]
                patch.setattr(type(method), "_architecture_gradient_at", lambda self, batch, zeros=zeros: zeros)
            method.architecture_gradient(batch(0), batch(1), weights)
        gradients.append(torch.cat([p.grad.flatten() for p in method.parameters]))
    return gradients[0] - gradients[1]


def test_the_weights_are_shifted_by_a_hundredth_along_the_gradient_ahead(tiny_method, batch, monkeypatch):
    """DARTS, section 2.3: epsilon = 0.01 / ||grad_w' L_val||, to both sides."""
    method, weights = tiny_method("darts_2nd", "1", learning_rate=0.2)
    cls, directions, shifted = type(method), [], []
    ahead, at = cls._gradients_ahead, cls._architecture_gradient_at

    def flat(tensors):
        return torch.cat([t.detach().flatten() for t in tensors])

    def recording_ahead(self, images, trainer):
        loss, first, direction = ahead(self, images, trainer)
        directions.append(flat(direction))
        return loss, first, direction

    def recording_at(self, images):
        shifted.append(flat(weights.parameters))
        return at(self, images)

    monkeypatch.setattr(cls, "_gradients_ahead", recording_ahead)
    monkeypatch.setattr(cls, "_architecture_gradient_at", recording_at)
    w = flat(weights.parameters)
    method.architecture_gradient(batch(0), batch(1), weights)
    (direction,), (above, below) = directions, shifted
    offset = 0.01 * direction / direction.norm()
    torch.testing.assert_close(above - w, offset)
    torch.testing.assert_close(below - w, -offset)


def test_the_finite_difference_survives_bfloat16(tiny_method, batch, monkeypatch):
    """In bfloat16 the offsets of the weights would be rounded away, and what is left is noise."""

    def single(seed):
        images = batch(seed, n=32)
        return Batch(images.images.float(), images.labels)

    parts = {}
    for precision in ("float32", "bf16"):
        method, weights = tiny_method("darts_2nd", "1", learning_rate=0.2, weight_decay=1e-2)
        method.supernet.float().precision = precision
        weights.start_epoch(0)
        parts[precision] = second_order_part(method, weights, single, monkeypatch)
        assert method.supernet.precision == precision
    assert float(torch.cosine_similarity(parts["float32"], parts["bf16"], dim=0)) > 0.9


def test_a_direction_that_vanishes_adds_nothing(tiny_method, batch, monkeypatch):
    method, weights = tiny_method("darts_2nd", "1")
    ahead = type(method)._gradients_ahead

    def without_direction(self, images, trainer):
        loss, first, direction = ahead(self, images, trainer)
        return loss, first, [torch.zeros_like(d) for d in direction]

    monkeypatch.setattr(type(method), "_gradients_ahead", without_direction)
    assert float(second_order_part(method, weights, batch, monkeypatch).abs().max()) == 0.0
    assert all(bool(p.grad.isfinite().all()) for p in method.parameters)
