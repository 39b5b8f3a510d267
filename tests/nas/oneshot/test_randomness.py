"""The random streams of a search."""

from dataclasses import fields

import torch

from nas.oneshot.randomness import Streams

NAMES = [f.name for f in fields(Streams)]


def drawn(streams, name):
    return tuple(torch.rand(4, generator=getattr(streams, name)).tolist())


def test_each_stream_of_each_seed_draws_its_own_numbers():
    assert len({drawn(Streams.from_seed(seed), name) for seed in range(20) for name in NAMES}) == 20 * len(NAMES)


def test_a_stream_does_not_depend_on_what_is_drawn_from_the_others():
    for name in NAMES:
        alone, after = Streams.from_seed(7), Streams.from_seed(7)
        for other in NAMES:
            if other != name:
                drawn(after, other)
        assert drawn(after, name) == drawn(alone, name)


def test_draws_of_two_streams_do_not_correlate():
    streams = Streams.from_seed(0)
    draws = torch.stack([torch.rand(10_000, generator=getattr(streams, name)) for name in NAMES])
    correlations = torch.corrcoef(draws) - torch.eye(len(NAMES))
    assert correlations.abs().max() < 0.05  # five standard deviations
