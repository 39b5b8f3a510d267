"""The compiled kernels against PyTorch in double precision, and whole cells against the supernet's own."""

import itertools
import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from nas.oneshot import METHODS, SearchSpec
from nas.oneshot.data import Half, SearchData
from nas.oneshot.loop import Search
from nas.oneshot.model import native
from nas.oneshot.model.mixture import Mixture
from nas.oneshot.model.native import calls, kernels
from nas.oneshot.model.native.cell import _Forward
from nas.oneshot.model.native.kernels import BatchNorm, Normalised, Term
from nas.oneshot.resolve import choose_kernels, resolve
from nas.oneshot.search import run_search
from spaces import SEARCH_SPACES

EPS = 1e-5
#: N, H, W, C: several parts of rows, odd sides, a single pixel, widths with and without whole vectors.
SHAPES = [
    (3, 8, 8, 16), (2, 5, 7, 32), (5, 4, 4, 4), (1, 1, 1, 3), (2, 3, 1, 20), (9, 16, 16, 16), (3, 6, 5, 32),
    (7, 2, 2, 16),
]  # fmt: skip


def close_to(actual, expected):
    """To within rounding that grows with the largest number."""
    assert float((actual - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def image(matrix, shape):
    n, h, w, _ = shape
    return matrix.double().view(n, h, w, -1).permute(0, 3, 1, 2)


def matrix(images):
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_matrix(shape, seed=0, channels=None):
    n, h, w, c = shape
    return randn(n * h * w, channels or c, seed=seed)


def before_relu(z, scale, shift):
    mean, variance = z.mean(0), z.var(0, unbiased=False)
    return scale * (z - mean) / (variance + EPS).sqrt() + shift


def normalised(z, scale, shift):
    return before_relu(z, scale, shift).relu()


def scale_and_shift(z):
    """Random ones of the first seed with which no number lies so near zero that rounding decides what ReLU makes of it.

    There the gradient jumps.
    """
    for seed in itertools.count():
        generator = torch.Generator().manual_seed(seed)
        scale = torch.rand(z.shape[1], generator=generator) + 0.5
        shift = torch.randn(z.shape[1], generator=generator)
        if before_relu(z.double(), scale.double(), shift.double()).abs().min() > 1e-5:
            return scale, shift


@pytest.mark.parametrize("shape", SHAPES)
def test_a_normalised_matrix_and_its_gradients(shape):
    z = random_matrix(shape) + 10  # about zero, one-pass moments would lose digits
    (scale, shift), gradient = scale_and_shift(z), random_matrix(shape, 1)
    exact = [t.double().requires_grad_() for t in (z, scale, shift, torch.tensor(0.5))]
    expected = exact[3] * normalised(*exact[:3])
    expected.backward(gradient.double())

    made = BatchNorm(scale, shift, EPS).of(z)
    out = torch.empty(z.shape)
    kernels.sum_terms(out, [Term(z, 0.5, made)])
    torch.testing.assert_close(out.double(), expected.detach(), rtol=1e-4, atol=5e-4)

    behind = Normalised([z], made, [0.5])
    of_parameters, (of_weight,) = behind.of_parameters([gradient])
    of_z = behind.of_z([gradient], of_parameters)
    torch.testing.assert_close(of_z.double(), exact[0].grad, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        of_parameters.double(), torch.stack([exact[1].grad, exact[2].grad]), rtol=1e-3, atol=1e-3
    )
    assert of_weight == pytest.approx(float(exact[3].grad), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_columns_from_several_sources(shape):
    c = shape[-1]
    z = random_matrix(shape, channels=3 * c)
    scale, shift = scale_and_shift(z)
    wide, narrow = random_matrix(shape, 1, 4 * c)[:, c : 3 * c], random_matrix(shape, 2)
    exact = [t.double().requires_grad_() for t in (z, scale, shift, torch.tensor([0.25, -2.0]))]
    weights = exact[3].repeat_interleave(torch.tensor([c, 2 * c]))
    (weights * normalised(*exact[:3])).backward(torch.cat([narrow, wide], dim=1).double())
    matrices = [z[:, :c].contiguous(), z[:, c:]]  # one by itself, one in the whole
    behind, gradients = Normalised(matrices, BatchNorm(scale, shift, EPS).of(z), [0.25, -2.0]), [narrow, wide]
    of_parameters, of_weights = behind.of_parameters(gradients)
    of_z = behind.of_z(gradients, of_parameters)
    torch.testing.assert_close(of_z.double(), exact[0].grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        of_parameters.double(), torch.stack([exact[1].grad, exact[2].grad]), rtol=1e-4, atol=1e-4
    )
    assert of_weights == pytest.approx(exact[3].grad.tolist(), rel=1e-4, abs=1e-4)

    x, kernel = random_matrix(shape, 3, 2 * c), randn(2 * c, 3 * c, seed=5).t()
    of_x, more = torch.empty(x.shape), random_matrix(shape, 4, 2 * c)
    of_kernel = behind.of_product(gradients, of_parameters, x, kernel, of_x)
    close_to(of_x, of_z.double() @ kernel.double())
    close_to(of_kernel, of_z.double().t() @ x.double())
    total = more.clone()
    assert behind.of_product(gradients, of_parameters, None, kernel, total, adds=True) is None
    close_to(total, of_z.double() @ kernel.double() + more)
    assert torch.equal(behind.of_product(gradients, of_parameters, x, kernel, None), of_kernel)


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_of_columns(shape):
    c = shape[-1]
    a, b, wide = random_matrix(shape), random_matrix(shape, 1), random_matrix(shape, 2, 2 * c)
    made = BatchNorm(*scale_and_shift(b), EPS).of(b)
    out = torch.full((len(a), 3 * c), torch.nan)
    kernels.sum_terms(out[:, c:], [Term(wide), Term(a, 0.25), Term(b, 0.5, made, column=c)])
    expected = wide + torch.cat([0.25 * a, 0.5 * F.relu(made[2] * b + made[3])], dim=1)
    torch.testing.assert_close(out[:, c:], expected)
    assert out[:, :c].isnan().all()


@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_block_receives_from_its_readers(shape):
    c = shape[-1]
    a, wide = random_matrix(shape), random_matrix(shape, 1, 2 * c)
    gradients, total = [Term(a, 0.5), Term(wide[:, c:], 2.0)], 0.5 * a + 2 * wide[:, c:]
    zs = [random_matrix(shape, seed) for seed in (2, 3)]
    scales, shifts = map(torch.stack, zip(*map(scale_and_shift, zs), strict=True))
    weights = torch.tensor([0.25, 3.0])
    exact = [t.double().requires_grad_() for t in (*zs, scales, shifts, weights)]
    first, second = (exact[4][i] * normalised(exact[i], exact[2][i], exact[3][i]) for i in range(2))
    (first + second).backward(total.double())
    behind = [
        Normalised([z], BatchNorm(scale, shift, EPS).of(z), [weight])
        for z, scale, shift, weight in zip(zs, scales, shifts, weights.tolist(), strict=True)
    ]

    out, dots, of_parameters, of_weights = kernels.receive(gradients, Term(zs[0]), behind)
    torch.testing.assert_close(out, total)
    x = zs[0].double()
    assert dots == pytest.approx([float((g.x.double() * x).sum()) for g in gradients], rel=1e-4, abs=1e-4)
    for i, of_these in enumerate(of_parameters):
        expected = torch.stack([exact[2].grad[i], exact[3].grad[i]])
        torch.testing.assert_close(of_these.double(), expected, rtol=1e-4, atol=1e-4)
    assert of_weights == pytest.approx(exact[4].grad.tolist(), rel=1e-4, abs=1e-4)

    dots = kernels.receive(gradients, Term(zs[0], 0.25, behind[0].normaliser), []).dots
    y = first.detach()
    assert dots == pytest.approx([float((g.x.double() * y).sum()) for g in gradients], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_pooling_is_pytorchs_down_to_equal_values(shape):
    n, h, w, _ = shape
    x = random_matrix(shape).relu()  # many windows of equal zeros: the first of them gets the gradient
    other, gradient, more = (random_matrix(shape, seed) for seed in (1, 2, 3))
    exact = image(x, shape).requires_grad_()
    pooled = F.max_pool2d(exact, 3, 1, 1)
    (0.25 * pooled).backward(image(gradient, shape))

    out = torch.empty(x.shape)
    position = kernels.pool_and_sum(out, x, (n, h, w), 0.25, [Term(other)], backward=True)
    torch.testing.assert_close(out.double(), 0.25 * matrix(pooled.detach()) + other.double(), rtol=1e-6, atol=1e-6)
    of_x, of_weight = kernels.unpool(gradient, position, (h, w), 0.25, x, more)
    torch.testing.assert_close(of_x.double(), matrix(exact.grad) + more.double(), rtol=1e-5, atol=1e-6)
    assert of_weight == pytest.approx(float((image(gradient, shape) * pooled.detach()).sum()), rel=1e-4, abs=1e-5)
    of_x, of_weight = kernels.unpool(gradient, position, (h, w), 0.25, None, None)
    torch.testing.assert_close(of_x.double(), matrix(exact.grad), rtol=1e-5, atol=1e-6)
    assert of_weight == 0


def test_what_is_not_a_number_stays_so():
    shape = (1, 4, 4, 16)
    x = random_matrix(shape)
    x[5, 3] = torch.nan
    out = torch.empty(x.shape)
    kernels.pool_and_sum(out, x, (1, 4, 4), 1.0, [], backward=False)
    assert torch.equal(out.isnan(), matrix(F.max_pool2d(image(x, shape), 3, 1, 1)).isnan())
    ones = torch.ones(16)
    kernels.sum_terms(out, [Term(x, normaliser=BatchNorm(ones, ones, EPS).of(x))])
    assert out[:, 3].isnan().all()
    assert out.isnan().sum() == len(x)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("outputs", [16, 48, 5])
def test_convolutions_and_their_gradients(shape, outputs):
    _, h, w, c = shape
    x, gradient = random_matrix(shape), random_matrix(shape, 1, outputs)
    kernel = randn(outputs, c, 3, 3, seed=2).contiguous(memory_format=torch.channels_last)
    exact, exact_kernel = image(x, shape).requires_grad_(), kernel.double().requires_grad_()
    expected = F.conv2d(exact, exact_kernel, padding=1)
    expected.backward(image(gradient, shape))
    of_x = kernels.convolve(gradient, (h, w), kernel, backward=True)
    of_kernel = kernels.kernel_gradient(x, (h, w), kernel, gradient)
    for actual, exactly in (
        (kernels.convolve(x, (h, w), kernel), matrix(expected.detach())),
        (of_x, matrix(exact.grad)),
        (of_kernel, exact_kernel.grad),
    ):
        close_to(actual, exactly)


def test_convolutions_keep_the_digits():
    """Winograd's algorithm with windows of 4 x 4 and unfortunate points would lose one or two of them."""
    shape = (4, 16, 16, 32)
    x, kernel = random_matrix(shape).relu(), randn(32, 32, 3, 3, seed=1)
    exact = matrix(F.conv2d(image(x, shape), kernel.double(), padding=1))
    error = kernels.convolve(x, (16, 16), kernel).double() - exact
    assert float(error.std() / exact.std()) < 1e-6


@pytest.mark.parametrize("rows", [1, 5, 48, 1000])
@pytest.mark.parametrize(("depth", "columns"), [(16, 48), (7, 16), (20, 12)])
def test_products_and_their_normalisers(rows, depth, columns):
    x, kernel = randn(rows, depth + 3)[:, 2:-1], randn(columns, depth, seed=1).t()
    batch_norm = BatchNorm(randn(columns, seed=2).abs() + 0.5, randn(columns, seed=3), EPS)
    (out,), normaliser = kernels.normalised_product(x, kernel, batch_norm)
    torch.testing.assert_close(out.double(), x.double() @ kernel.double(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(normaliser, batch_norm.of(out), rtol=1e-4, atol=1e-4)
    split, again = kernels.normalised_product(x, kernel, batch_norm, [columns // 3, columns - columns // 3])
    torch.testing.assert_close(torch.cat(split, dim=1), out)
    torch.testing.assert_close(again, normaliser, rtol=1e-4, atol=1e-4)


def test_the_number_of_threads_changes_no_bit():
    def all_results():
        shape = (32, 16, 16, 16)
        assert random_matrix(shape).numel() > calls._WORTH_THREADS
        x, z, gradient = (random_matrix(shape, seed) for seed in range(3))
        kernel = randn(16, 16, 3, 3, seed=3)
        batch_norm = BatchNorm(torch.ones(16), torch.zeros(16), EPS)
        made = batch_norm.of(z)
        out, of_x_of_product = torch.empty(x.shape), torch.empty(x.shape)
        position = kernels.pool_and_sum(out, x, (32, 16, 16), 0.5, [Term(z, normaliser=made)], backward=True)
        behind, gradients = Normalised([z], made, [0.5]), [gradient]
        of_scale_and_shift, (of_weight_here,) = behind.of_parameters(gradients)
        of_z = behind.of_z(gradients, of_scale_and_shift)
        of_kernel = behind.of_product(gradients, of_scale_and_shift, x, kernel[:, :, 0, 0], of_x_of_product)
        (product,), normaliser = kernels.normalised_product(x, kernel[:, :, 0, 0], batch_norm)
        of_x, of_weight = kernels.unpool(gradient, position, (16, 16), 0.5, x, None)
        total, dots, of_parameters, of_weights = kernels.receive([Term(x), Term(z)], Term(gradient), [behind])
        return [
            made, out, of_z, of_x_of_product, of_kernel, product, normaliser, of_x, total, of_scale_and_shift,
            *of_parameters,
            torch.tensor([of_weight_here, of_weight, *dots, *of_weights], dtype=torch.float64),
            kernels.convolve(x, (16, 16), kernel), kernels.kernel_gradient(x, (16, 16), kernel, gradient),
        ]  # fmt: skip

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = all_results()
        torch.set_num_threads(3)
        three = all_results()
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def a_search(optimizer, space, channels=16, **fields):
    images = torch.randint(256, (6, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    half = Half(images, torch.arange(6) % 3)
    data = SearchData("random", half, half, 3, (0.5,) * 3, (0.25,) * 3, crop_padding=1, flip=True)
    spec = SearchSpec(
        optimizer, space, batch_size=6, init_channels=channels, cells_per_stack=2, n_stacks=2, device="cpu", **fields
    )
    return Search(resolve(spec), data)


def differences(net, mixtures, parameters, seed):
    """Where output and gradients of both ways, in single precision, are not close."""
    images = randn(4, 3, 8, 8, seed=seed)
    labels = torch.arange(4) % 3
    results = []
    for net.native in (False, True):
        loss = F.cross_entropy(net(images, mixtures), labels)
        results.append([loss, *torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)])
    theirs, ours = results
    assert [g is None for g in ours] == [g is None for g in theirs]
    return [
        (position, ours[position] - g)
        for position, g in enumerate(theirs)
        if g is not None
        and not torch.allclose(ours[position], g, rtol=2e-3, atol=2e-5 * max(1.0, float(g.detach().abs().max())))
    ]


def assert_agreement(net, mixtures, parameters):
    """Close on two of three batches: on one in a hundred, rounding moves a number across zero or past its neighbour in
    a ReLU or a pooling, where the gradient jumps (of PyTorch's against double precision no less often).
    """
    tried = []
    for seed in range(3):
        tried.append(differences(net, mixtures, parameters, seed))
        if tried.count([]) == 2:
            return
    raise AssertionError(tried)


@pytest.mark.parametrize("optimizer", list(METHODS))
@pytest.mark.parametrize("space", list(SEARCH_SPACES))
def test_a_supernet_agrees_with_its_own_cells(optimizer, space):
    """Each optimizer's mixtures, with the gradients of an architecture step, a weight step, and both."""
    search = a_search(optimizer, space)
    net = search.supernet
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * randn(*p.shape, seed=p.numel()))
    mixtures = search.method.mixtures()
    assert_agreement(net, mixtures, net.weights())
    if any(m.gamma is not None for m in mixtures):
        assert_agreement(net, mixtures, [*net.weights(), *net.architecture_parameters()])
        with net.gradients_of_architecture():
            assert_agreement(net, mixtures, net.architecture_parameters())


@pytest.mark.parametrize("space", list(SEARCH_SPACES))
@pytest.mark.parametrize("channels", [4, 16])
def test_single_architectures_agree(space, channels):
    """Loose ends, outputs without an edge from the input, channels that are left out."""
    net = a_search("random_ws", space, channels).supernet
    for index in torch.randint(net.space.size, (8,), generator=torch.Generator().manual_seed(3)).tolist():
        assert_agreement(net, [Mixture.discrete(net.space.decode(index))] * len(net.cells), net.weights())


def test_nothing_is_kept_without_a_backward_pass(monkeypatch):
    search = a_search("darts", "1")
    search.supernet.native = True
    kept, keep = [], _Forward.keep
    monkeypatch.setattr(_Forward, "keep", lambda run, *args: keep(run, *args) or kept.append(len(run.kept)))
    images = randn(6, 3, 8, 8)
    with torch.inference_mode():
        evaluated = search.supernet(images, search.method.mixtures())
    assert evaluated.grad_fn is None
    assert max(kept) == 0
    trained = search.supernet(images, search.method.mixtures())
    assert max(kept) > 0
    torch.testing.assert_close(evaluated, trained.detach())


def test_a_search_uses_them_and_says_so(tmp_path, monkeypatch):
    calls = []
    run_cell = native.run_cell
    monkeypatch.setattr(native, "run_cell", lambda *args: calls.append(1) or run_cell(*args))
    spec = SearchSpec(epochs=1, n_stacks=1, cells_per_stack=1, init_channels=4, batch_size=200, device="cpu")
    assert choose_kernels(resolve(spec)).kernels == "native"
    run_search(spec, None, tmp_path / "native")
    assert calls
    calls.clear()
    run_search(SearchSpec(**{**spec.to_dict(), "kernels": "torch"}), None, tmp_path / "torch")
    assert not calls
    kept = [json.loads((tmp_path / k / "architecture.json").read_text())["spec"] for k in ("native", "torch")]
    assert [(spec["kernels"], spec["precision"]) for spec in kept] == [("native", "float32"), ("torch", "float32")]


@pytest.mark.parametrize("fields", [{"precision": "bf16"}, {"compile": True}])
def test_other_precisions_and_compiled_supernets_stay_with_pytorch(fields):
    assert choose_kernels(resolve(SearchSpec(device="cpu", **fields))).kernels == "torch"
    with pytest.raises(ValueError, match="float32"):
        resolve(SearchSpec(device="cpu", kernels="native", **fields))


def test_what_is_not_float32_is_refused_before_it_is_read():
    search = a_search("darts", "1")
    search.supernet.native = True
    images = randn(6, 3, 8, 8)
    for broken in (search.supernet.double(), search.supernet.bfloat16()):
        with pytest.raises(ValueError, match=r"native kernels: got .* in torch\.(float64|bfloat16) on cpu, expected"):
            broken(images.to(broken.stem.weight.dtype), search.method.mixtures())
    search.supernet.float().precision = "bf16"
    with pytest.raises(ValueError, match=r"native kernels: got \('x',\) in torch.bfloat16 on cpu, expected float32"):
        search.supernet(images, search.method.mixtures())


def test_another_default_type_changes_nothing():
    search = a_search("darts", "1")
    search.supernet.native = True
    images, mixtures = randn(6, 3, 8, 8), search.method.mixtures()
    expected = search.supernet(images, mixtures)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(search.supernet(images, mixtures), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_negative_weight_is_refused():
    search = a_search("darts", "1")
    search.supernet.native = True
    mixture = search.method.mixtures()[0]
    negative = replace(mixture, gamma=mixture.gamma - 0.5)
    with pytest.raises(ValueError, match=r"mixture: got the weights .* of \('edges', 5\), expected none below"):
        search.supernet(randn(6, 3, 8, 8), [negative] * len(search.supernet.cells))
