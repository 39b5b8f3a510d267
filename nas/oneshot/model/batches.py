"""Mini-batches made on the device: shuffling, crop, flip, normalisation and cutout, without a loop over images.

Chance is drawn on the CPU, batch by batch (``Draws``), and may be drawn ahead; the images are made of it on the device,
which waits for nothing (``Batches.make``).

Shapes: n images of a half, N of a batch, S x S pixels, C channels, P pixels of border.

Differs from the public code: cutout removes exactly L pixels per side (there 2 * (L // 2)), and its probability reaches
the search; the last partial batch of a pass is left out (of CIFAR-10's 20,000 images 208 steps of 96, there 209).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.oneshot.data import Half, SearchData

#: The image side to which ``cutout_length`` refers.
REFERENCE_SIZE = 32


@dataclass(frozen=True)
class Batch:
    """Normalised images [N, C, S, S] in channels-last layout, and labels [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class Draws(NamedTuple):
    """What chance decides about a batch: as much of it whatever the settings.

    Attributes:
        chosen: [N] positions of the images in the half.
        offsets: [N, 2] first row and column of the crop, from 0 to 2P.
        flips: [N] whether the image is mirrored.
        uniforms: [N] numbers in [0, 1), below the probability of a cutout where one is made.
        centres: [N, 2] row and column of the cutout's centre.
    """

    chosen: Tensor
    offsets: Tensor
    flips: Tensor
    uniforms: Tensor
    centres: Tensor


class Batches:
    """Batches of one half of a data set.

    Every pass shuffles the half anew and leaves out the remainder that fills no batch; a half smaller than a
    batch is one batch.

    Args:
        half: The images.
        data: The data set that they belong to.
        batch_size: N.
        cutout_length: Side of the cutout square, in pixels of a 32x32 image.
        shuffling: Draws the order of the images.
        augmentation: Draws crops, flips and cutouts.
    """

    def __init__(
        self,
        half: Half,
        data: SearchData,
        *,
        batch_size: int,
        cutout_length: int,
        shuffling: torch.Generator,
        augmentation: torch.Generator,
    ) -> None:
        self.half = half
        self.data = data
        self.batch_size = min(batch_size, len(half))
        self.cutout_side = max(1, round(cutout_length * data.image_size / REFERENCE_SIZE))
        self.shuffling = shuffling
        self.augmentation = augmentation
        border = data.crop_padding
        self._padded = F.pad(half.images, (0, 0, border, border, border, border))
        self._steps = torch.arange(data.image_size, device=half.labels.device)
        _ = data.scale_and_shift  # made here: a step brings nothing to the device

    def __len__(self) -> int:
        """Batches per pass."""
        return len(self.half) // self.batch_size

    def draw_pass(self) -> Iterator[Draws]:
        """What chance decides about the batches of a shuffled pass over the half, on the CPU; drawn one by one."""
        order = torch.randperm(len(self.half), generator=self.shuffling)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield self._draw(order[start : start + self.batch_size])

    def draw_passes(self) -> Iterator[Draws]:
        """Pass after pass, without an end."""
        while True:
            yield from self.draw_pass()

    def one_pass(self, cutout_prob: float) -> Iterator[Batch]:
        """A shuffled pass over the half; each image is cut with probability ``cutout_prob``."""
        return self._made(self.draw_pass(), cutout_prob)

    def passes(self, cutout_prob: float) -> Iterator[Batch]:
        """Pass after pass, without an end."""
        return self._made(self.draw_passes(), cutout_prob)

    def _made(self, draws: Iterator[Draws], cutout_prob: float) -> Iterator[Batch]:
        device = self.half.labels.device
        prob = torch.tensor(cutout_prob, device=device)
        return (self.make(Draws(*(values.to(device) for values in of_batch)), prob) for of_batch in draws)

    def make(self, draws: Draws, cutout_prob: Tensor) -> Batch:
        """The batch: random crops of the chosen images, mirrored, normalised, then cut.

        Args:
            draws: On the device of the half.
            cutout_prob: [] there, too: probability of a cutout.
        """
        rows = draws.offsets[:, :1] + self._steps
        columns = torch.where(draws.flips[:, None], self._steps.flip(0), self._steps) + draws.offsets[:, 1:]
        pixels = self._padded[draws.chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        from_start = self._steps - (draws.centres - self.cutout_side // 2)[:, :, None]
        inside = (from_start >= 0) & (from_start < self.cutout_side)
        square = inside[:, 0, :, None] & inside[:, 1, None, :] & (draws.uniforms < cutout_prob)[:, None, None]
        images = normalise(pixels, self.data).masked_fill_(square[:, None], 0.0)
        return Batch(images, self.half.labels[draws.chosen])

    def _draw(self, chosen: Tensor) -> Draws:
        n, size, border = len(chosen), self.data.image_size, self.data.crop_padding
        offsets = torch.randint(2 * border + 1, (n, 2), generator=self.augmentation)
        flips = (torch.rand(n, generator=self.augmentation) < 0.5) & self.data.flip
        uniforms = torch.rand(n, generator=self.augmentation)
        centres = torch.randint(size, (n, 2), generator=self.augmentation)
        return Draws(chosen, offsets, flips, uniforms, centres)


def normalise(images: Tensor, data: SearchData) -> Tensor:
    """Maps [N, S, S, C] of the data set to float32 [N, C, S, S] of mean 0 and standard deviation 1, channels last."""
    scale, shift = data.scale_and_shift
    return images.to(torch.float32).mul(scale).sub(shift).permute(0, 3, 1, 2)


def fixed_batches(half: Half, batch_size: int) -> list[Half]:
    """The half in its own order, as it is, in the fewest batches of nearly equal size (none tiny)."""
    n_batches = -(-len(half) // batch_size)
    parts = zip(half.images.tensor_split(n_batches), half.labels.tensor_split(n_batches), strict=True)
    return [Half(images, labels) for images, labels in parts]
