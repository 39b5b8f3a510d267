"""Mini-batches made on the device: shuffling, crop, flip, normalisation and cutout, without a loop over images.

Shapes: n images of a half, N of a batch, S x S pixels, C channels, P pixels of border.

Differs from the public code: cutout removes exactly L pixels per side (there 2 * (L // 2)), and its probability reaches
the search; the last partial batch of a pass is left out (of CIFAR-10's 20,000 images 208 steps of 96, there 209).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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

    def __len__(self) -> int:
        """Batches per pass."""
        return len(self.half) // self.batch_size

    def one_pass(self, cutout_prob: float) -> Iterator[Batch]:
        """A shuffled pass over the half; each image is cut with probability ``cutout_prob``."""
        order = torch.randperm(len(self.half), generator=self.shuffling).to(self.half.labels.device)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            yield Batch(self._augment(chosen, cutout_prob), self.half.labels[chosen])

    def _augment(self, chosen: Tensor, cutout_prob: float) -> Tensor:
        """[N, C, S, S] random crops of the chosen images, mirrored, normalised, then cut."""
        n, size, border = len(chosen), self.data.image_size, self.data.crop_padding
        offsets, flips, draws, centres = self._draw(n, size, border)
        steps = torch.arange(size, device=chosen.device)
        rows = offsets[:, :1] + steps
        columns = torch.where(flips[:, None], size - 1 - steps, steps) + offsets[:, 1:]
        images = normalise(self._padded[chosen[:, None, None], rows[:, :, None], columns[:, None, :]], self.data)
        if cutout_prob > 0:
            from_start = steps - (centres - self.cutout_side // 2)[:, :, None]
            inside = (from_start >= 0) & (from_start < self.cutout_side)
            square = inside[:, 0, :, None] & inside[:, 1, None, :] & (draws < cutout_prob)[:, None, None]
            images = images.masked_fill(square[:, None], 0.0)
        return images

    def _draw(self, n: int, size: int, border: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same number of draws whatever the settings: offsets [N, 2], flips [N], uniforms [N], centres [N, 2]."""
        device = self.half.labels.device
        offsets = torch.randint(2 * border + 1, (n, 2), generator=self.augmentation)
        flips = (torch.rand(n, generator=self.augmentation) < 0.5) & self.data.flip
        draws = torch.rand(n, generator=self.augmentation)
        centres = torch.randint(size, (n, 2), generator=self.augmentation)
        return offsets.to(device), flips.to(device), draws.to(device), centres.to(device)


def normalise(images: Tensor, data: SearchData) -> Tensor:
    """Maps raw [N, S, S, C] to float32 [N, C, S, S] of mean 0 and standard deviation 1, channels last."""
    scale = 255.0 if images.dtype == torch.uint8 else 1.0
    mean, std = (torch.tensor(values, device=images.device) for values in (data.mean, data.std))
    return images.to(torch.float32).mul(1 / (scale * std)).sub(mean / std).permute(0, 3, 1, 2)


def fixed_batches(half: Half, batch_size: int) -> list[Half]:
    """The half in its own order, as it is, in the fewest batches of nearly equal size (none tiny)."""
    n_batches = -(-len(half) // batch_size)
    parts = zip(half.images.tensor_split(n_batches), half.labels.tensor_split(n_batches), strict=True)
    return [Half(images, labels) for images, labels in parts]
