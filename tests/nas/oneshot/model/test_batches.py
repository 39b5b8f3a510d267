import dataclasses

import pytest
import torch

from nas.oneshot.data import Half
from nas.oneshot.model.batches import Batches, fixed_batches, normalise


def batches(data, *, batch_size=10, cutout_length=16, seed=0):
    return Batches(
        data.weights,
        data,
        batch_size=batch_size,
        cutout_length=cutout_length,
        shuffling=torch.Generator().manual_seed(seed),
        augmentation=torch.Generator().manual_seed(seed + 1),
    )


def candidates(image, padding, flip):
    """[crops, S, S, C]: every crop of an image [S, S, C], then every mirrored crop."""
    size = image.shape[0]
    framed = torch.zeros(size + 2 * padding, size + 2 * padding, image.shape[2], dtype=image.dtype)
    framed[padding : padding + size, padding : padding + size] = image
    crops = torch.stack(
        [framed[y : y + size, x : x + size] for y in range(2 * padding + 1) for x in range(2 * padding + 1)]
    )
    return torch.cat([crops, crops.flip(2)]) if flip else crops


@pytest.mark.parametrize("flip", [True, False])
def test_images_are_random_crops_of_the_padded_image_mirrored_at_times(flip, small_data):
    data = small_data(flip=flip)
    possible = torch.stack([normalise(candidates(image, 1, flip), data) for image in data.weights.images])
    seen = set()
    for seed in range(20):
        batch = next(batches(data, seed=seed).one_pass(cutout_prob=0.0))
        for image, label in zip(batch.images, batch.labels, strict=True):
            ((row, crop),) = (possible - image).abs().amax((2, 3, 4)).lt(1e-6).nonzero().tolist()
            assert label == data.weights.labels[row]
            seen.add(crop)
    assert seen == set(range(18 if flip else 9))


def test_a_pass_shuffles_and_shows_each_image_once(small_data):
    data = small_data(flip=False, crop_padding=0)
    order = []
    maker = batches(data, batch_size=12)
    for batch in maker.one_pass(0.0):
        assert len(batch) == 12
        for image in batch.images:
            distance = (normalise(data.weights.images, data) - image).abs().sum((1, 2, 3))
            order.append(int(distance.argmin()))
    # 40 images are three batches of 12; the remainder of 4 is left out.
    assert len(maker) == 3
    assert len(order) == len(set(order)) == 36
    assert order != sorted(order)


def test_normalisation_is_per_channel_and_leaves_the_border_black(small_data):
    data = dataclasses.replace(small_data(), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    image = torch.tensor([255, 51, 0], dtype=torch.uint8).expand(1, 2, 2, 3)
    expected = torch.tensor([(1 - 0.1) / 0.5, (0.2 - 0.2) / 0.25, (0 - 0.3) / 0.125])
    torch.testing.assert_close(normalise(image, data)[0, :, 1, 0], expected)
    fractions = dataclasses.replace(data, weights=Half(data.weights.images.float() / 255, data.weights.labels))
    torch.testing.assert_close(normalise(image.float() / 255, fractions), normalise(image, data))


def bright(data):
    """The same data set with white images of mean 0, so that whatever cutout removed is 0 and all else is not."""
    white = Half(torch.full_like(data.weights.images, 255), data.weights.labels)
    return dataclasses.replace(data, weights=white, mean=(0.0,) * 3, std=(1.0,) * 3)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_cutout_removes_a_square_with_the_given_probability(probability, small_data):
    data = bright(small_data(n=2000, crop_padding=0))
    (batch,) = batches(data, batch_size=2000, cutout_length=12).one_pass(probability)
    removed = batch.images == 0
    assert torch.equal(removed[:, 0], removed[:, 2])
    share = float(removed.any(3).any(2).any(1).double().mean())
    assert share == pytest.approx(probability, abs=0.04)
    # 12 pixels of 32 are 3 of 8; the square is whole unless the border cuts it.
    sides = {(int(image.any(1).sum()), int(image.any(0).sum())) for image in removed[:, 0] if image.any()}
    assert not sides or max(sides) == (3, 3)
    assert all(int(i.sum()) == int(i.any(1).sum()) * int(i.any(0).sum()) for i in removed[:, 0])


@pytest.mark.parametrize(("length", "side"), [(2, 1), (4, 1), (8, 2), (16, 4), (32, 8)])
def test_cutout_length_is_measured_on_32_pixels(length, side, small_data):
    data = bright(small_data(n=500, crop_padding=0))
    (batch,) = batches(data, batch_size=500, cutout_length=length).one_pass(1.0)
    assert max(int(image.any(1).sum()) for image in batch.images[:, 0] == 0) == side


def test_the_same_seeds_give_the_same_batches_whatever_cutout_draws(small_data):
    data = small_data()
    one, two = (list(batches(data).one_pass(p)) for p in (0.0, 1.0))
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.labels, b.labels)
        kept = b.images != 0
        assert torch.equal(a.images[kept], b.images[kept])


def test_fixed_batches_are_the_half_in_order_and_none_is_tiny(small_data):
    data = small_data(n=41)
    parts = fixed_batches(data.architecture, 20)
    assert [len(p) for p in parts] == [14, 14, 13]
    assert torch.equal(torch.cat([p.images for p in parts]), data.architecture.images)
    assert torch.equal(torch.cat([p.labels for p in parts]), data.architecture.labels)


def test_a_half_smaller_than_a_batch_is_one_batch(small_data):
    assert [len(b) for b in batches(small_data(n=7), batch_size=64).one_pass(0.0)] == [7]
