"""The measuring programs: what they measure against is our model, and each runs from end to end."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.oneshot_reference import (
    ConvBnRelu,
    PlainSupernet,
    discrete_weights,
    gumbel_weights,
    second_order_gradient,
    softmax_weights,
)
from nas.oneshot import METHODS, SearchSpec
from nas.oneshot.model.batches import Batch
from nas.oneshot.model.mixture import Mixture
from nas.oneshot.model.supernet import ConvBN, Supernet
from nas.oneshot.model.weight_trainer import WeightTrainer
from nas.oneshot.resolve import resolve
from spaces import SEARCH_SPACES

ROOT = Path(__file__).resolve().parents[1]


def copy_layer(plain: ConvBnRelu, ours: ConvBN) -> None:
    plain[0].weight.copy_(ours.weight)
    plain[1].weight.copy_(ours.scale)
    plain[1].bias.copy_(ours.shift)


@torch.no_grad()
def with_our_weights(net: Supernet, groups: int) -> PlainSupernet:
    """The plain reference with every parameter of ours."""
    plain = PlainSupernet(net.space, groups=groups, channels=8, cells_per_stack=1).double()
    copy_layer(plain.stem, net.stem)
    for theirs, cell in zip(plain.cells, net.cells, strict=True):
        for layer, projection in zip([*theirs.projections, theirs.output_projection], cell.projections, strict=True):
            copy_layer(layer, projection)
        for mixed, block in zip(theirs.blocks, cell.blocks, strict=True):
            for layer, operation in zip(mixed.operations, block.operations, strict=True):
                if isinstance(operation, ConvBN):
                    copy_layer(layer, operation)
    plain.head[1].weight.copy_(net.head)
    plain.classifier.load_state_dict(net.classifier.state_dict())
    return plain


def net_and_data(space, groups=1, halves=1):
    """A supernet far from its initial values, and images with labels."""
    generator = torch.Generator().manual_seed(1)
    net = Supernet(
        SEARCH_SPACES[space], n_classes=10, image_channels=3, cells_per_stack=1, init_channels=8,
        channel_groups=groups, generator=generator,
    ).double()  # fmt: skip
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith(("scale", "shift")) or name.split(".")[0] in ("alpha", "beta", "gamma"):
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    images = torch.randn(halves, 6, 3, 8, 8, generator=generator, dtype=torch.float64)
    return net, images, torch.randint(10, (halves, 6), generator=generator)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("space", list(SEARCH_SPACES))
def test_the_plain_reference_computes_the_same_model(space, groups):
    net, (images,), (labels,) = net_and_data(space, groups)
    alpha = [None if logits is None else logits.softmax(0) for logits in net.alpha_by_block()]
    mixture = Mixture.relaxed(net.space, alpha, list(net.beta.softmax(1)), net.gamma.softmax(0))
    ours = F.cross_entropy(net(images, [mixture] * 3), labels)
    logits = net.architecture_parameters()
    theirs = F.cross_entropy(with_our_weights(net, groups)(images, softmax_weights(net.space, logits, 3, 1.0)), labels)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    for mine, plain in zip(torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-6, atol=1e-9)


def test_the_plain_second_order_is_ours():
    net, images, labels = net_and_data("1", halves=2)
    spec = resolve(SearchSpec("darts_2nd", "1", epochs=1, device="cpu", learning_rate=0.2))
    trainer = WeightTrainer(net, spec)
    method = METHODS["darts_2nd"](net, spec, torch.Generator().manual_seed(0))
    plain = with_our_weights(net, 1)
    sgd = torch.optim.SGD(plain.parameters(), lr=0.2, momentum=0.9, weight_decay=3e-4)
    logits = [p.detach().clone().requires_grad_() for p in net.architecture_parameters()]

    def loss(half: int) -> torch.Tensor:
        return F.cross_entropy(plain(images[half], softmax_weights(net.space, logits, 3, 1.0)), labels[half])

    second_order_gradient(sgd, logits, loss)
    method.architecture_gradient(Batch(images[0], labels[0]), Batch(images[1], labels[1]), trainer)
    for mine, plain_one in zip(net.architecture_parameters(), logits, strict=True):
        torch.testing.assert_close(mine.grad, plain_one.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("space", list(SEARCH_SPACES))
def test_the_plain_samples_are_single_architectures(space):
    net, (images,), _ = net_and_data(space)
    torch.manual_seed(3)
    weights = discrete_weights(net.space, [], 3, 1.0)
    torch.manual_seed(3)
    mixture = Mixture.discrete(net.space.decode(int(torch.randint(net.space.size, ()))))
    with torch.no_grad():
        theirs, ours = with_our_weights(net, 1)(images, weights), net(images, [mixture] * 3)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_plain_gumbel_samples_relax_the_edges_and_not_the_operations():
    net, _, _ = net_and_data("3")
    cells = gumbel_weights(net.space, net.architecture_parameters(), 3, 10.0)
    for alpha, beta, gamma in cells:
        assert ((beta == 0) | (beta == 1)).all()
        assert (beta.sum(1) == 1).all()
        for edges in (*(a for a in alpha if a is not None), gamma):
            assert ((edges > 0) & (edges < 1)).all()
            assert edges.sum().item() == pytest.approx(1)
    assert not torch.equal(cells[0][2], cells[1][2])


def run(module: str, *arguments: object) -> str:
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_step_is_timed_against_the_plain_reference():
    sizes = ("--batch-size", 4, "--channels", 4, "--repeats", 1, "--threads", 1)
    said = run("oneshot", "--optimizers", "gdas", "--spaces", "1", *sizes)
    for what in ("wall s", "processor s", "peak MB"):
        assert re.search(rf"gdas +space 1 {what} +ours [\d.e-]+ +plain [\d.e-]+ \(ours: [\d.]+ of it\)", said)


def test_optimizers_are_compared_and_what_is_done_is_kept(tmp_path):
    small = ("--epochs", 1, "--seeds", 1, "--processes", 1, "--channels", 4, "--cells-per-stack", 1)
    arguments = (tmp_path, "--optimizers", "darts", "gdas", "--spaces", "1", *small, "--output", tmp_path / "table.md")
    table = run("compare_optimizers", *arguments)
    assert re.search(r"\| darts \| [\d.]+ \| \d+ \| \d+ \|\n\| gdas \| [\d.]+ \| \d+ \| \d+ \|", table)
    assert (tmp_path / "table.md").read_text() in table
    checkpoint = tmp_path / "space_1" / "gdas" / "seed_0" / "checkpoint"
    kept = checkpoint.stat().st_mtime_ns
    assert run("compare_optimizers", *arguments) == table
    assert checkpoint.stat().st_mtime_ns == kept
    command = [sys.executable, "-m", "benchmarks.compare_optimizers", *map(str, arguments), "--epochs", "2"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "epochs 2 instead of 1" in refused.stderr or "epochs 1 instead of 2" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_one_hyperparameter_is_varied(tmp_path):
    small = ("--epochs", 1, "--seeds", 1, "--processes", 1, "--optimizers", "darts")
    table = run("sweep", tmp_path, "--vary", "init_channels", "2", "4", *small)
    assert re.search(
        r"\| optimizer \| init_channels=2 \| init_channels=4 \|\n.*\n\| darts \| [\d.]+ \| [\d.]+ \|", table
    )


def test_the_one_shot_errors_are_traced(tmp_path):
    small = ("--dataset", "digits", "--epochs", 2, "--processes", 1, "--optimizers", "darts", "--channels", 4)
    table = run("oneshot_curves", tmp_path, "--space", "1", *small)
    assert re.search(
        r"\| optimizer \| epoch 1 \| epoch 2 \| seconds \|\n.*\n\| darts \| [\d.]+ \| [\d.]+ \| \d+ \|", table
    )


def test_bohb_with_and_without_knowledge_of_what_runs():
    table = run("pending", "--seeds", 1, "--workers", 4, "--iterations", 3)
    for space in ("CS2, 3 numbers", "256 cells"):
        assert re.search(rf"\| {space} \| 4 \| bohb \| \d+% \| [\d.]+ ± 0.00 \| [\d.]+ ± 0.00 \|", table)
        assert re.search(rf"\| {space} \| 4 \| bohb_pending \| 0% \| [\d.]+ ± 0.00 \| [\d.]+ ± 0.00 \|", table)
