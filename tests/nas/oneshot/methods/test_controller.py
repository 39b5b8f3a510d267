"""The policy of ENAS against the same written out: an LSTM cell by its gates, one sample at a time."""

import pytest
import torch

from nas.oneshot.methods.controller import Controller
from spaces import SEARCH_SPACES


@pytest.fixture
def drawn(monkeypatch):
    """The indices of every draw, [n, k] each, in order."""
    seen, draw = [], Controller._draw

    def recording(logits, k, generator):
        result = draw(logits, k, generator)
        seen.append(result[0])
        return result

    monkeypatch.setattr(Controller, "_draw", staticmethod(recording))
    return seen


def written_out(net, space, draws):
    """(log-probability, entropy) of one sample whose draws are given."""
    p = dict(net.named_parameters())

    def lstm(x, h, c):
        gates = p["lstm.weight_ih"] @ x + p["lstm.bias_ih"] + p["lstm.weight_hh"] @ h + p["lstm.bias_hh"]
        i, f, g, o = gates.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def account(logits, indices):
        """Without replacement: each draw among those that are left; the entropy of the first."""
        bounded = 2.5 * (logits / 5).tanh()
        left = list(range(len(bounded)))
        total = 0
        for index in indices:
            total = total + bounded[index] - torch.logsumexp(bounded[left], 0)
            left.remove(index)
        q = bounded.softmax(0)
        return total, -(q * q.log()).sum()

    start = p["embedding.weight"][0]
    h, c = lstm(start, torch.zeros_like(start), torch.zeros_like(start))
    anchors, log_prob, entropy = [h], 0, 0
    draws = iter(draws)
    for node, k in enumerate(space.n_parents, start=1):
        x = start
        if node > k:  # a choice
            h, c = lstm(start, h, c)
            scores = [
                (p["attention.weight"][0] * (p["anchor_key.weight"] @ anchor + p["query.weight"] @ h).tanh()).sum()
                for anchor in anchors
            ]
            parents = next(draws)
            term, of_node = account(torch.stack(scores), parents)
            log_prob, entropy = log_prob + term, entropy + of_node
            x = sum(anchors[parent] for parent in parents) / k
        if node <= space.n_blocks:
            h, c = lstm(x, h, c)
            (operation,) = next(draws)
            term, of_node = account(p["operation_head.weight"] @ h, [operation])
            log_prob, entropy = log_prob + term, entropy + of_node
            h, c = lstm(p["embedding.weight"][1 + operation], h, c)
            anchors.append(h)
    assert next(draws, None) is None
    return log_prob, entropy


@pytest.mark.parametrize("space", list(SEARCH_SPACES))
def test_probability_entropy_and_their_gradients_are_those_of_the_policy_written_out(space, drawn):
    generator = torch.Generator().manual_seed(3)
    net = Controller(SEARCH_SPACES[space], generator).double()
    with torch.no_grad():
        for parameter in net.parameters():  # far from the start, where all scores are nearly equal
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    samples = net(3, generator)
    for i in range(3):
        log_prob, entropy = written_out(net, SEARCH_SPACES[space], [draw[i].tolist() for draw in drawn])
        assert samples.log_prob[i].item() == pytest.approx(log_prob.item(), rel=1e-6)
        assert samples.entropy[i].item() == pytest.approx(entropy.item(), rel=1e-6)
        ours = torch.autograd.grad(samples.log_prob[i], list(net.parameters()), retain_graph=True)
        expected = torch.autograd.grad(log_prob, list(net.parameters()))
        for name, a, b in zip(dict(net.named_parameters()), ours, expected, strict=True):
            assert float(b.norm()) > 1e-3, f"the test would not see a missing gradient of {name}"
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8, msg=name)


def test_choices_are_the_sets_and_operations_that_were_drawn(drawn):
    space = SEARCH_SPACES["2"]
    net = Controller(space, torch.Generator().manual_seed(0))
    samples = net(50, torch.Generator().manual_seed(1))
    for i, index in enumerate(space.encode_choices(samples.choices.numpy()).tolist()):
        architecture = space.decode(index)
        draws = iter(draw[i].tolist() for draw in drawn)
        for node, k in enumerate(space.n_parents, start=1):
            parents = sorted(next(draws)) if node > k else list(range(k))
            assert list(architecture.parents[node - 1]) == parents
            if node <= space.n_blocks:
                assert architecture.operations[node - 1] == next(draws)[0]
