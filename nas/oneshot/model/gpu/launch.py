"""The Triton kernels on tensors: grids, tiles and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nas.oneshot.model.gpu import convolutions, kernels

#: Values in a tile of a feature map, and in one of the tiles' sums; parts of a kernel's gradient.
_TILE, _SUMS, _PARTS = 2048, 16384, 64
#: Warps of the kernels that hold many values at once.
_MANY_WARPS = 8

#: Kernel, scale and shift of a convolution and its BatchNorm.
Layer = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class BatchNorms:
    """One or two normalised maps [P, C], as far as their backward pass needs them.

    Attributes:
        z: The maps; columns of a wider one, or dense.
        scales, shifts: [C] parameters of each.
        normaliser: [maps, 4, columns of the wider map], from the first of these columns on; see ``kernels``.
    """

    z: Sequence[Tensor]
    scales: Sequence[Tensor]
    shifts: Sequence[Tensor]
    normaliser: Tensor


class Launcher:
    """Kernels for the maps of one cell.

    Args:
        nhw: Images, height and width.
        channels: Columns of a tile, a power of two.
        device: Where the maps lie.
    """

    def __init__(self, nhw: tuple[int, int, int], channels: int, device: torch.device) -> None:
        self.rows = nhw[0] * nhw[1] * nhw[2]
        self.height, self.width = nhw[1:]
        self.channels = channels
        self.device = device
        self.tile = {"ROWS": max(_TILE // channels, 1), "C": channels}
        self.n_tiles = -(-self.rows // self.tile["ROWS"])
        #: Tiles whose sums are added up at once.
        self.at_once = min(1 << (self.n_tiles - 1).bit_length(), _SUMS // channels)

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=self.device)

    def _run(self, kernel: Any, grid: tuple[int, ...], *args: Any, **constants: Any) -> None:
        if self.device.type == "cpu":  # Triton's interpreter
            kernel[grid](*args, **constants)
            return
        with torch.cuda.device(self.device):
            kernel[grid](*args, **constants)

    def normalise(self, z: Sequence[Tensor], scales: Sequence[Tensor], shifts: Sequence[Tensor], eps: float) -> Tensor:
        """[maps, 4, columns] the normalisers of one or two maps of the same shape."""
        n, columns = len(z), z[0].shape[1]
        mean, squares = self.empty(n, self.n_tiles, columns), self.empty(n, self.n_tiles, columns)
        self._run(
            kernels.moments, (self.n_tiles, columns // self.channels, n), z[0], z[-1], z[0].stride(0), self.rows,
            columns, mean, squares, **self.tile,
        )  # fmt: skip
        return self._normaliser(mean, squares, scales, shifts, eps)

    def _normaliser(
        self, mean: Tensor, squares: Tensor, scales: Sequence[Tensor], shifts: Sequence[Tensor], eps: float
    ) -> Tensor:
        n, _, columns = mean.shape
        out = self.empty(n, 4, columns)
        blocks = columns // self.channels
        self._run(
            kernels.normaliser, (blocks, n), mean, squares, self.n_tiles, self.rows, columns, scales[0], shifts[0],
            scales[-1], shifts[-1], eps, out, TILES=self.at_once,
            num_warps=_MANY_WARPS, **self.tile,
        )  # fmt: skip
        return out

    def convolve(self, x: Tensor, layers: Sequence[Layer], eps: float) -> BatchNorms:
        """The outputs of a 3x3 convolution, and perhaps of a 1x1, with their normalisers."""
        n = len(layers)
        z = [self.empty(self.rows, self.channels) for _ in layers]
        mean, squares = (self.empty(n, self.n_tiles, self.channels) for _ in range(2))
        self._run(
            convolutions.convolve, (self.n_tiles,), x, *_taps(layers), z[0], z[-1], mean, squares, self.rows,
            self.height, self.width, N_Z=n, PRECISION=self.precision(), num_warps=_MANY_WARPS, **self.tile,
        )  # fmt: skip
        scales, shifts = [scale for _, scale, _ in layers], [shift for _, _, shift in layers]
        return BatchNorms(z, scales, shifts, self._normaliser(mean, squares, scales, shifts, eps))

    @staticmethod
    def precision() -> str:
        """How products are rounded: as this process's matrix products are; three TF32 products make one of float32."""
        return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "tf32x3"

    def block_gradient(
        self, gradient: Tensor, x: Tensor, position: Tensor, layers: Sequence[Layer], of: BatchNorms, totals: Tensor,
        weights: Tensor, out: Tensor, dots: Tensor | None, *, of_kernels: bool,
    ) -> list[Tensor]:  # fmt: skip
        """Puts the gradient of ``x`` into ``out``; returns those of the convolutions' outputs, if asked for."""
        of_z = [self.empty(self.rows, self.channels) for _ in layers] if of_kernels else []
        self._run(
            convolutions.block_gradient, (self.n_tiles,), gradient, x, position, *_taps(layers), of.z[0], of.z[-1],
            of.normaliser, totals, weights, out, out.stride(0), of_z[0] if of_z else out, of_z[-1] if of_z else out,
            out if dots is None else dots, 1 if dots is None else dots.stride(0), self.rows, self.height, self.width,
            N_Z=len(layers), OF_POOLING=dots is not None, OF_KERNELS=of_kernels, PRECISION=self.precision(),
            num_warps=_MANY_WARPS, **self.tile,
        )  # fmt: skip
        return of_z

    def kernel_gradients(self, x: Tensor, of_z: Sequence[Tensor]) -> list[Tensor]:
        """The gradients [C, C, 3, 3], channels last, and [C, C, 1, 1] of the kernels."""
        c, n = self.channels, 8 + len(of_z)
        parts = self.empty(min(self.n_tiles, _PARTS), n * c * c)
        self._run(
            convolutions.kernel_gradients, (len(parts), n), x, of_z[0], of_z[-1], parts, self.n_tiles, self.rows,
            self.height, self.width, PRECISION=self.precision(), **self.tile,
        )  # fmt: skip
        total = parts.sum(0)
        of_3x3 = total[: 9 * c * c].view(c, 3, 3, c).permute(0, 3, 1, 2)
        return [of_3x3, *total[9 * c * c :].view(-1, c, c, 1, 1)]

    def block_input(self, z: Tensor, normaliser: Tensor, states: Tensor, edges: Tensor, n_states: int) -> Tensor:
        """[P, C] a block's projection plus the earlier blocks' outputs times ``edges``."""
        out = self.empty(self.rows, self.channels)
        self._run(
            kernels.block_input, (self.n_tiles,), z, z.stride(0), normaliser, normaliser.stride(1), states,
            states.stride(0), edges, out, self.rows, n_states, **self.tile,
        )  # fmt: skip
        return out

    def mix(self, x: Tensor, of: BatchNorms, weights: Tensor, out: Tensor, *, backward: bool) -> Tensor | None:
        """Puts the mixed operation into ``out``; returns the positions of the largest pixels for ``unpool``."""
        position = self.empty(self.rows, self.channels, dtype=torch.uint8) if backward else None
        self._run(
            kernels.mix, (self.n_tiles,), x, of.z[0], of.z[-1], of.normaliser, weights, out, out.stride(0),
            x if position is None else position, self.rows, self.height, self.width, N_Z=len(of.z), BACKWARD=backward,
            **self.tile,
        )  # fmt: skip
        return position

    def join(self, z: Tensor, normaliser: Tensor, states: Tensor, edges: Tensor) -> Tensor:
        """[P, B * C] the projected input plus the blocks' outputs times ``edges``."""
        out = torch.empty_like(states)
        columns = states.shape[1]
        self._run(
            kernels.join, (self.n_tiles, columns // self.channels), z, z.stride(0), normaliser, normaliser.stride(1),
            states, columns, edges, out, self.rows, **self.tile,
        )  # fmt: skip
        return out

    def receive(
        self,
        of_output: Tensor,
        of_inputs: Tensor,
        states: Tensor,
        edges: Tensor,
        node: int,
        dots: Tensor | None,
        of: BatchNorms | None,
        sums: Tensor | None,
    ) -> Tensor:
        """[P, C] the gradient of a block's output.

        ``dots`` [tiles, edges] gets what that of the edges is summed of, ``sums`` what ``parameter_sums`` puts there.
        """
        out = self.empty(self.rows, self.channels)
        z = [out] if of is None else of.z
        self._run(
            kernels.receive, (self.n_tiles,), of_output, of_inputs, states, states.stride(0), edges, z[0], z[-1],
            edges if of is None else of.normaliser, out, out if dots is None else dots, len(edges),
            out if sums is None else sums, self.rows, node, states.shape[1] // self.channels,
            OF_EDGES=dots is not None, N_Z=0 if of is None else len(of.z), **self.tile,
        )  # fmt: skip
        return out

    def parameter_sums(self, gradient: Tensor, of: BatchNorms, sums: Tensor, column: int) -> None:
        """Puts the tiles' sums for the columns of ``gradient`` into ``sums`` [maps, tiles, 2, columns]."""
        n, blocks = len(of.z), gradient.shape[1] // self.channels
        self._run(
            kernels.parameter_sums, (self.n_tiles, blocks, n), gradient, gradient.stride(0), of.z[0], of.z[-1],
            of.z[0].stride(0), of.normaliser, of.normaliser.stride(1), sums[..., column:], sums.shape[-1], self.rows,
            **self.tile,
        )  # fmt: skip

    def sums(self, n_maps: int, columns: int) -> Tensor:
        """Room for ``parameter_sums``."""
        return self.empty(n_maps, self.n_tiles, 2, columns)

    def parameter_gradients(
        self, sums: Tensor, of: BatchNorms, weights: Tensor | None, of_weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Totals of the sums [maps, 2, columns], and gradients of shift and scale [maps, 2, columns].

        ``of_weights`` gets those of the maps' weights.
        """
        n, _, _, columns = sums.shape
        totals, of_parameters = self.empty(n, 2, columns), self.empty(n, 2, columns)
        self._run(
            kernels.parameter_gradients, (columns // self.channels, n), sums, self.n_tiles, columns, of.scales[0],
            of.shifts[0], of.scales[-1], of.shifts[-1], totals if weights is None else weights, totals, of_parameters,
            totals if of_weights is None else of_weights, WEIGHTED=weights is not None,
            OF_WEIGHTS=of_weights is not None, TILES=self.at_once, num_warps=_MANY_WARPS, C=self.channels,
        )  # fmt: skip
        return totals, of_parameters

    def input_gradient(
        self, gradient: Tensor, of: BatchNorms, totals: Tensor, weights: Tensor | None, out: Sequence[Tensor]
    ) -> None:
        """Puts the gradients of the maps into ``out``, one or two of the shape of ``gradient``."""
        n, blocks = len(of.z), gradient.shape[1] // self.channels
        self._run(
            kernels.input_gradient, (self.n_tiles, blocks, n), gradient, gradient.stride(0), of.z[0], of.z[-1],
            of.z[0].stride(0), of.normaliser, of.normaliser.stride(1), totals,
            totals if weights is None else weights, out[0], out[-1], out[0].stride(0), self.rows,
            WEIGHTED=weights is not None, **self.tile,
        )  # fmt: skip

    def unpool(
        self, gradient: Tensor, position: Tensor, weight: Tensor, more: Sequence[Tensor], x: Tensor, out: Tensor,
        dots: Tensor | None,
    ) -> None:  # fmt: skip
        """Puts the gradient of ``x`` into ``out``; ``dots`` [tiles] gets what that of the weight is summed of."""
        self._run(
            kernels.unpool, (self.n_tiles,), gradient, position, weight, more[0], more[-1], x, out, out.stride(0),
            out if dots is None else dots, 1 if dots is None else dots.stride(0), self.rows, self.height, self.width,
            N_MORE=len(more), OF_WEIGHT=dots is not None, **self.tile,
        )  # fmt: skip


def _taps(layers: Sequence[Layer]) -> list[Any]:
    """A 3x3 kernel with its strides, and the last one of the layers, a 1x1 if there are two, with its own."""
    first, last = layers[0][0], layers[-1][0]
    return [first, first.stride(1), first.stride(0), first.stride(3), last, last.stride(1), last.stride(0)]
