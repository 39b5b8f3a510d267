import pytest
import torch
import torch.nn.functional as F

from nas.oneshot.model.mixture import Mixture
from nas.oneshot.model.supernet import ConvBN, Supernet
from spaces import SEARCH_SPACES, Architecture
from tests.nas.oneshot import reference


def gradients(logits, labels, parameters):
    loss = F.cross_entropy(logits, labels)
    return torch.autograd.grad(loss, parameters, allow_unused=True)


def relaxed_mixtures(net):
    alpha = [None if a is None else a.softmax(0) for a in net.alpha_by_block()]
    return [Mixture.relaxed(net.space, alpha, list(net.beta.softmax(1)), net.gamma.softmax(0))] * len(net.cells)


@pytest.mark.parametrize("space", list(SEARCH_SPACES))
@pytest.mark.parametrize("groups", [1, 4])
def test_relaxed_forward_and_gradients_agree_with_the_plain_reference(space, groups, tiny_net, batch):
    net = tiny_net(space, groups, cells_per_stack=2, init_channels=8)
    data = batch()
    params = dict(net.named_parameters())
    mixing = reference.softmax_mixing(params, net.space, len(net.cells))
    expected = reference.forward(params, data.images, net.space.n_blocks, len(net.cells), 2, mixing, groups)

    logits = net(data.images, relaxed_mixtures(net))

    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    ours = gradients(logits, data.labels, list(params.values()))
    theirs = gradients(expected, data.labels, list(params.values()))
    for name, mine, other in zip(params, ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("space", list(SEARCH_SPACES))
def test_discrete_forward_and_gradients_agree_with_weights_of_0_and_1(space, tiny_net, batch):
    net = tiny_net(space)
    data = batch()
    params = dict(net.named_parameters())
    weights = {name: p for name, p in params.items() if name.split(".")[0] not in ("alpha", "beta", "gamma")}
    for index in torch.randint(net.space.size, (12,), generator=torch.Generator().manual_seed(3)).tolist():
        architecture = net.space.decode(index)
        mixing = reference.discrete_mixing(architecture, len(net.cells))
        expected = reference.forward(params, data.images, net.space.n_blocks, len(net.cells), 1, mixing)

        logits = net(data.images, [Mixture.discrete(architecture)] * len(net.cells))

        torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
        ours = gradients(logits, data.labels, list(weights.values()))
        theirs = gradients(expected, data.labels, list(weights.values()))
        for mine, other in zip(ours, theirs, strict=True):
            mine = torch.zeros_like(other) if mine is None and other is not None else mine
            torch.testing.assert_close(mine, other, rtol=1e-7, atol=1e-9)


def test_single_precision_agrees_too(tiny_net, batch):
    net = tiny_net("3", cells_per_stack=2)
    data = batch()
    expected = net(data.images, relaxed_mixtures(net))
    net = net.float()
    logits = net(data.images.float(), relaxed_mixtures(net))
    torch.testing.assert_close(logits.double(), expected, rtol=1e-4, atol=1e-4)


def test_pixels_halve_exactly_between_stacks():
    net = Supernet(
        SEARCH_SPACES["1"],
        n_classes=10,
        image_channels=3,
        n_stacks=3,
        cells_per_stack=1,
        init_channels=2,
        generator=torch.Generator().manual_seed(0),
    )
    shapes = []
    for module in net.cells:
        module.register_forward_hook(lambda m, args, out: shapes.append(tuple(out.shape[1:])))
    net(torch.randn(2, 3, 32, 32), relaxed_mixtures(net))
    assert shapes == [(8, 32, 32), (16, 16, 16), (32, 8, 8)]


def test_architecture_weights_are_in_the_state_and_start_small():
    space = SEARCH_SPACES["3"]
    net = Supernet(space, n_classes=10, image_channels=3, generator=torch.Generator().manual_seed(0))
    state = net.state_dict()
    # Nodes 2..5 of space 3 choose among 2, 3, 4 and 5 candidates; node 1 has no choice.
    assert [tuple(state[f"alpha.{i}"].shape) for i in range(4)] == [(2,), (3,), (4,), (5,)]
    assert state["beta"].shape == (5, 3)
    assert state["gamma"].shape == (6,)
    values = torch.cat([p.detach().flatten() for p in net.architecture_parameters()])
    assert len(values) == 14 + 15 + 6
    assert 0.5e-3 < values.std() < 2e-3
    named = {id(p) for p in net.weights()} | {id(p) for p in net.architecture_parameters()}
    assert named == {id(p) for p in net.parameters()}


def test_number_of_weights_is_the_hand_count():
    net = Supernet(
        SEARCH_SPACES["1"],
        n_classes=10,
        image_channels=3,
        n_stacks=1,
        cells_per_stack=2,
        init_channels=16,
        generator=torch.Generator().manual_seed(0),
    )
    stem = 3 * 16 * 9 + 2 * 16
    blocks = 4 * ((16 * 16 * 9 + 32) + (16 * 16 + 32))
    first = (16 * 128 + 2 * 128) + blocks  # projections to 4 * 16 + 64 channels
    second = (64 * 128 + 2 * 128) + blocks
    head = 64 * 16 + (16 * 10 + 10)
    assert sum(p.numel() for p in net.weights()) == stem + first + second + head


def test_what_was_evaluated_before_does_not_matter(tiny_net, batch):
    """Trap: the public code's running statistics were those of the last batch."""
    net = tiny_net("1")
    first, other = batch(0), batch(1)
    mixtures = relaxed_mixtures(net)
    before = net(first.images, mixtures)
    net(100 * other.images + 7, mixtures)
    net.eval()
    assert torch.equal(net(first.images, mixtures), before)


def test_only_the_operations_that_take_part_are_computed(tiny_net, batch):
    net = tiny_net("3")
    called = []
    for name, module in net.named_modules():
        if isinstance(module, ConvBN) or type(module).__name__ == "MaxPool3x3":
            module.register_forward_hook(lambda m, args, out, n=name: called.append(n))
    # Output reads blocks 1 and 3, block 3 reads block 1: blocks 2, 4 and 5 are loose ends.
    architecture = Architecture(((0,), (0,), (1,), (0, 1), (0, 1), (1, 3)), (0, 1, 2, 0, 0))
    net(batch().images, [Mixture.discrete(architecture)] * 2)
    blocks = [n for n in called if ".blocks." in n]
    assert blocks == [f"cells.{c}.blocks.{b}" for c in (0, 1) for b in ("0.operations.0", "2.operations.2")]


def test_weights_outside_the_architecture_get_no_gradient(tiny_net, batch):
    net = tiny_net("3")
    architecture = Architecture(((0,), (0,), (1,), (0, 1), (0, 1), (1, 3)), (0, 1, 2, 0, 0))
    data = batch()
    F.cross_entropy(net(data.images, [Mixture.discrete(architecture)] * 2), data.labels).backward()
    with_gradient = {name for name, p in net.named_parameters() if p.grad is not None}
    expected = {"stem.weight", "stem.scale", "stem.shift", "head", "classifier.weight", "classifier.bias"}
    for c in (0, 1):
        for part in ("projections.0", "blocks.0.operations.0"):
            expected |= {f"cells.{c}.{part}.{p}" for p in ("weight", "scale", "shift")}
    assert with_gradient == expected


def test_channels_that_no_group_divides_are_refused():
    with pytest.raises(ValueError, match="init_channels: got 6, expected a multiple of 4"):
        Supernet(
            SEARCH_SPACES["1"],
            n_classes=10,
            image_channels=1,
            init_channels=6,
            channel_groups=4,
            generator=torch.Generator(),
        )


def test_untouched_channels_pass_unchanged_before_the_shuffle(tiny_net):
    """PC-DARTS: with K = 4 and 8 channels, 0 and 1 are mixed, 2..7 pass; channel c goes to (c % 2) * 4 + c // 2."""
    block = tiny_net("1", groups=4, init_channels=8).cells[0].blocks[2]
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(
        memory_format=torch.channels_last
    )
    beta = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    y = block(x, (0, 1, 2), beta)
    mixed = block.mix(x[:, :2].contiguous(), (0, 1, 2), beta)
    for channel in range(8):
        expected = mixed[:, channel] if channel < 2 else x[:, channel]
        torch.testing.assert_close(y[:, (channel % 2) * 4 + channel // 2], expected)


def test_bfloat16_is_close_and_says_so_in_its_rounding(tiny_net, batch):
    net = tiny_net("1").float()
    data = batch()
    full = net(data.images.float(), relaxed_mixtures(net))
    net.precision = "bf16"
    half = net(data.images.float(), relaxed_mixtures(net))
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    torch.testing.assert_close(half, full, rtol=0.2, atol=0.2)
