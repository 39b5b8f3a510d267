"""Single architectures as they are summed, and as methods with softmax weights train them."""

import pytest
import torch

from nas.oneshot.model.mixture import Mixture
from spaces import SEARCH_SPACES
from spaces.search_space import Architecture

CPU = torch.device("cpu")
#: Space 1: blocks with 1, 2, 2, 2 parents out of 1, 2, 3, 4, an output with 2 of 5.
ARCHITECTURE = Architecture(parents=((0,), (0, 1), (1, 2), (0, 3), (0, 4)), operations=(0, 1, 2, 0))


def test_parents_are_averaged_where_they_are_chosen():
    mixture = Mixture.discrete(ARCHITECTURE)
    averaged = mixture.averaging(SEARCH_SPACES["1"], CPU)
    weights = [None if alpha is None else alpha.tolist() for alpha in averaged.alpha]
    assert weights == [None, None, [0.5, 0.5], [0.5, 0.5]]  # block 2 has both of its candidates in any case
    assert (averaged.parents, averaged.operations, averaged.gamma) == (mixture.parents, mixture.operations, None)


def test_a_mean_at_the_output_would_change_nothing(tiny_net, batch):
    """It would halve all of a cell's output, which the next cell's projections normalise."""
    net = tiny_net("1", cells_per_stack=2)
    averaged = Mixture.discrete(ARCHITECTURE).averaging(SEARCH_SPACES["1"], CPU)
    output = net.cells[0](net.stem(batch(n=64).images), averaged)
    following = [net.cells[1](x, averaged) for x in (output, output / 2)]
    torch.testing.assert_close(*following, rtol=1e-3, atol=1e-3)


def test_averaging_changes_what_pooling_passes_on(tiny_net, batch):
    """By hand: with I = p + x halved, a block of max-pooling alone gives half of its output."""
    net = tiny_net("1")
    plain = Mixture.discrete(ARCHITECTURE)
    averaged = plain.averaging(SEARCH_SPACES["1"], CPU)
    block = net.cells[0].blocks[2]
    states = [torch.rand(4, 4, 8, 8, dtype=torch.float64) for _ in range(2)]
    pooled = [
        block(net.cells[0].block_input(None, dict(enumerate(states, start=1)), (1, 2), mixture.alpha[2]), (2,), None)
        for mixture in (plain, averaged)
    ]
    torch.testing.assert_close(pooled[1], pooled[0] / 2)
    logits = [net(batch().images, [mixture] * len(net.cells)) for mixture in (plain, averaged)]
    assert not torch.allclose(*logits)


@pytest.mark.parametrize("space", ["2", "3"])
def test_an_architecture_with_loose_ends_can_be_averaged(space):
    space = SEARCH_SPACES[space]
    mixture = Mixture.discrete(space.decode(0)).averaging(space, CPU)
    for parents, alpha in zip(mixture.parents, mixture.alpha, strict=False):
        assert alpha is None or alpha.tolist() == pytest.approx([1 / len(parents)] * len(parents))
