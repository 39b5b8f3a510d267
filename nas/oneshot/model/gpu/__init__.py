"""Cells on a GPU in fewer and larger kernels: what lies between their convolutions is Triton's.

``run_cell`` is the only door.  ``kernels`` and ``convolutions`` hold the loops, ``launch`` calls them on tensors, and
``cell`` is the forward and the backward pass of a relaxed cell.  Products of the projections are cuBLAS's, convolutions
of fewer than 16 channels cuDNN's.  ``nas.oneshot.model.supernet`` says what a cell computes.  PyTorch computes it where
these do not apply: single architectures, bfloat16, other numbers of channels (``why_not_for``), no Triton.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from nas.oneshot.model.functions import BATCH_NORM_EPS
from nas.oneshot.model.mixture import Mixture

if TYPE_CHECKING:
    from nas.oneshot.model.supernet import Cell, ChoiceBlock

#: Mixed channels of a block that the kernels take; the most fit a tile with its kernel into a multiprocessor.
FEWEST_CHANNELS, MOST_CHANNELS = 2, 64


def why_unavailable() -> str | None:
    """The reason why there are no kernels on this machine; None where there are."""
    return None if importlib.util.find_spec("triton") else "Triton is not installed"


def why_not_for(init_channels: int, channel_groups: int, n_stacks: int) -> str | None:
    """The reason why a supernet's channels have no kernels; None where they have."""
    widest = init_channels << (n_stacks - 1)
    if init_channels & (init_channels - 1):
        return f"their channels are a power of two, and these are {init_channels}"
    if init_channels // channel_groups < FEWEST_CHANNELS:
        return f"they mix at least {FEWEST_CHANNELS} channels, and these are {init_channels // channel_groups}"
    if widest > MOST_CHANNELS:
        return f"they are for at most {MOST_CHANNELS} channels, and the last stack has {widest}"
    return None


class Weights(NamedTuple):
    """The weights of a relaxed mixture as ``cell.run`` wants them; one for all cells that mix by it.

    Attributes:
        edges: [(B + 1)(B + 2) / 2] of all edges.
        operations: [B, convolutions + 1] of the convolutions and, last, of the pooling.
    """

    edges: Tensor
    operations: Tensor


def weights_of(mixture: Mixture) -> Weights:
    """The weights of a whole mixture; ones for those that it leaves out."""
    beta = torch.stack([of_block for of_block in mixture.beta if of_block is not None])
    ones = torch.ones_like(beta)
    if mixture.one_hot:  # one convolution serves all
        beta = torch.cat([ones[:, :1], beta[:, -1:]], dim=1)
    of_nodes = [mixture.edge_weights(node) for node in range(1, len(mixture.parents) + 1)]
    edges = [ones.flatten()[:node] if weights is None else weights for node, weights in enumerate(of_nodes, start=1)]
    return Weights(torch.cat(edges), beta)


def run_cell(cell: Cell, x: Tensor, mixture: Mixture, weights: Weights) -> Tensor:
    """Computes ``cell(x, mixture)`` for a whole mixture with these weights."""
    from nas.oneshot.model.gpu.cell import Shape, run

    blocks = [cast("ChoiceBlock", block) for block in cell.blocks]
    nodes = list(range(1, cell.n_blocks + 2))
    of_input = [None if (own := mixture.edge_weights(node)) is None else own[0] for node in nodes]
    layers = [block.layers(beta if mixture.one_hot else None) for block, beta in zip(blocks, mixture.beta, strict=True)]
    return run(
        Shape(cell.n_blocks, cell.channels, blocks[0].channel_groups, BATCH_NORM_EPS),
        x,
        cell.projection(nodes, (), of_input),
        weights.edges,
        weights.operations,
        [layer for of_block in layers for layer in of_block],
    )


__all__ = ["Weights", "run_cell", "weights_of", "why_not_for", "why_unavailable"]
