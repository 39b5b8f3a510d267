"""Cells on a GPU in fewer and larger kernels: what lies between their convolutions is Triton's.

``run_cell`` is the only door.  ``kernels`` holds the loops, ``launch`` calls them on tensors, and ``cell`` is the forward
and the backward pass of a relaxed cell; convolutions and products are cuDNN's and cuBLAS's.
``nas.oneshot.model.supernet`` says what a cell computes, and computes it where these do not apply: single architectures,
other precisions than float32 and TF32, numbers of channels that are no power of two, and PyTorch without Triton.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from nas.oneshot.model.functions import BATCH_NORM_EPS
from nas.oneshot.model.mixture import Mixture

if TYPE_CHECKING:
    from nas.oneshot.model.supernet import Cell, ChoiceBlock


def why_unavailable() -> str | None:
    """The reason why there are no kernels on this machine; None where there are."""
    return None if importlib.util.find_spec("triton") else "Triton is not installed"


def why_not_for(init_channels: int, channel_groups: int) -> str | None:
    """The reason why a supernet's channels have no kernels; None where they have."""
    mixed = init_channels // channel_groups
    power_of_two = init_channels & (init_channels - 1) == 0
    return None if power_of_two and mixed >= 2 else f"{init_channels} channels are no power of two, or too few"


def run_cell(cell: Cell, x: Tensor, mixture: Mixture) -> Tensor:
    """Computes ``cell(x, mixture)`` for a relaxed mixture."""
    from nas.oneshot.model.gpu.cell import Shape, run

    blocks = [cast("ChoiceBlock", block) for block in cell.blocks]
    nodes = range(1, cell.n_blocks + 2)
    of_edges = [mixture.edge_weights(node) for node in nodes]
    ones = x.new_ones(cell.n_blocks + 1)
    weights = [ones[:node] if of_node is None else of_node for node, of_node in zip(nodes, of_edges, strict=True)]
    projections = cell.projection(list(nodes), (), [None if w is None else w[0] for w in of_edges])
    layers = [block.layers(beta, mixture.one_hot) for block, beta in zip(blocks, mixture.beta, strict=True)]
    return run(
        Shape(cell.n_blocks, cell.channels, blocks[0].channel_groups, BATCH_NORM_EPS),
        x,
        projections,
        torch.cat(weights),
        torch.stack([of_layers for _, of_layers in layers]),
        [layer for of_block, _ in layers for layer in of_block],
    )


__all__ = ["run_cell", "why_not_for", "why_unavailable"]
