"""The GPU's kernels against PyTorch's operations, on a GPU or else in Triton's interpreter (tests/conftest.py)."""

import pytest
import torch

from nas.oneshot.model import gpu
from nas.oneshot.model.mixture import Mixture, by_block
from nas.oneshot.model.supernet import Supernet
from spaces import SEARCH_SPACES

pytest.importorskip("triton", reason="the extra `triton` is not installed")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

#: 16 channels are convolved by our kernels, 8 by PyTorch's, and a quarter of 16 in PC-DARTS.
SHAPES = [("1", 16, 1), ("3", 16, 1), ("1", 8, 1), ("2", 16, 4)]


class Case:
    """The second cell of a network, on 3 images of 5x5 pixels: tiles of the kernels are not full."""

    def __init__(self, space, channels, groups, one_hot):
        generator = torch.Generator().manual_seed(0)
        self.net = Supernet(
            SEARCH_SPACES[space], n_classes=10, image_channels=3, n_stacks=2, cells_per_stack=1,
            init_channels=channels, channel_groups=groups, generator=generator,
        )  # fmt: skip
        with torch.no_grad():
            for name, parameter in self.net.named_parameters():
                if name.endswith(("scale", "shift")) or name.split(".")[0] in ("alpha", "beta", "gamma"):
                    parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
        self.net.to(DEVICE)
        self.cell = self.net.cells[1]
        inputs = torch.randn(3, channels * self.net.space.n_blocks, 5, 5, generator=generator).to(DEVICE)
        self.x = inputs.contiguous(memory_format=torch.channels_last).requires_grad_()
        self.sent = torch.randn(3, 2 * channels * self.net.space.n_blocks, 5, 5, generator=generator).to(DEVICE)
        self.one_hot = one_hot

    def mixture(self):
        net, n_blocks = self.net, self.net.space.n_blocks
        beta = net.beta.softmax(1)
        if self.one_hot:  # each operation is somewhere; the gradient is that of a straight-through sample
            chosen = torch.eye(3, device=DEVICE)[torch.arange(n_blocks) % 3]
            beta = chosen * (1 + beta - beta.detach())
        alpha = by_block(net.space, [logits.softmax(0) for logits in net.alpha])
        return Mixture.relaxed(net.space, alpha, list(beta), net.gamma.softmax(0), one_hot=self.one_hot)

    def results(self, run, asked):
        """The cell's output, and gradients of its product with ``sent``; zeros where nothing depends."""
        for parameter in self.net.parameters():
            parameter.requires_grad_(any(parameter is each for each in asked))
        output = run(self.cell, self.x, self.mixture())
        loss = (output * self.sent[:, : output.shape[1]]).sum()
        return output, torch.autograd.grad(loss, asked, allow_unused=True, materialize_grads=True)


def by_kernels(cell, x, mixture):
    return gpu.run_cell(cell, x, mixture, gpu.weights_of(mixture))


def assert_near(ours, expected):
    assert float((ours - expected).norm()) < 2e-5 * float(expected.norm()) + 1e-5


# PC-DARTS samples nothing.
@pytest.mark.parametrize(
    ("space", "channels", "groups", "one_hot"),
    [(*shape, one_hot) for shape in SHAPES for one_hot in (False, True) if shape[2] == 1 or not one_hot],
)
def test_a_cell_and_its_gradients_are_those_of_pytorch(space, channels, groups, one_hot):
    case = Case(space, channels, groups, one_hot)
    for asked in ([case.x, *case.cell.parameters()], case.net.architecture_parameters()):
        ours, gradients = case.results(by_kernels, asked)
        expected, expected_gradients = case.results(lambda cell, x, mixture: cell(x, mixture), asked)
        assert_near(ours, expected)
        for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
            assert_near(gradient, expected_gradient)


def test_what_is_no_number_stays_visible():
    """A comparison with NaN is false: a ReLU or a maximum written carelessly would turn it into a zero."""
    case = Case("1", 16, 1, one_hot=False)
    with torch.no_grad():
        case.x[0, 0, 0, 0] = torch.nan
        assert by_kernels(case.cell, case.x, case.mixture()).isnan().any()


@pytest.mark.parametrize(
    ("channels", "groups", "stacks", "reason"),
    [
        (16, 1, 3, None),
        (16, 4, 3, None),
        (12, 1, 3, "a power of two, and these are 12"),
        (4, 4, 3, "at least 2 channels, and these are 1"),
        (32, 1, 3, "at most 64 channels, and the last stack has 128"),
    ],
)
def test_other_channels_are_left_to_pytorch(channels, groups, stacks, reason):
    said = gpu.why_not_for(channels, groups, stacks)
    assert said is None if reason is None else reason in said
