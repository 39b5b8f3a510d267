"""Cells on the CPU in fewer passes over memory: what lies between their convolutions is compiled C.

``run_cell`` is the only door.  The C files hold the loops: ``winograd.c`` the 3x3 convolutions, ``products.c`` matrix
products and moments, ``normalisation.c`` BatchNorm and its gradients, ``pooling.c`` max pooling, ``terms.c`` sums.
``library`` compiles and loads them, ``kernels`` calls them on tensors, and ``cell`` is the forward and the backward
pass of a cell that uses them.  ``nas.oneshot.model.supernet`` says what a cell computes, and computes it where these do
not apply: in other precisions than float32, without a C compiler.  ``nas.oneshot.model.gpu`` is for GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from nas.oneshot.model.functions import BATCH_NORM_EPS
from nas.oneshot.model.mixture import Mixture
from nas.oneshot.model.native.cell import run_plan
from nas.oneshot.model.native.library import NativeKernelsError, load
from nas.oneshot.model.native.plan import Key, Plan
from spaces.cell import MAXPOOL3X3, OPERATIONS

if TYPE_CHECKING:
    from nas.oneshot.model.supernet import Cell, ChoiceBlock, ConvBN

_POOLING = OPERATIONS.index(MAXPOOL3X3)


def why_unavailable() -> str | None:
    """The reason why there are no kernels on this machine; None where there are."""
    try:
        load()
    except NativeKernelsError as error:
        return str(error)
    return None


def run_cell(cell: Cell, x: Tensor, mixture: Mixture, held: Sequence[int] = ()) -> Tensor:
    """Computes ``cell(x, mixture, held)`` with the compiled kernels.

    Raises:
        ValueError: A tensor is not float32 on the CPU, or a weight of the mixture is negative.
    """
    inputs: dict[Key, Tensor] = {("x",): x}
    nodes = mixture.readers_of_input()
    if nodes:
        inputs["kernel",], inputs["scale",], inputs["shift",] = cell.projection(nodes, held, [None] * len(nodes))
    for node in range(1, cell.n_blocks + 2):
        edges = mixture.edge_weights(node)
        if edges is not None:
            inputs["edges", node] = edges
    blocks = [cast("ChoiceBlock", block) for block in cell.blocks]
    for node, (block, operations, beta) in enumerate(
        zip(blocks, mixture.operations, mixture.beta, strict=True), start=1
    ):
        for op in operations:
            if op != _POOLING:
                layer = cast("ConvBN", block.operations[op])
                inputs["kernel", node, op] = layer.weight
                inputs["scale", node, op], inputs["shift", node, op] = layer.scale, layer.shift
        if operations and beta is not None:
            inputs["operations", node] = beta
    plan = Plan(
        parents=mixture.parents,
        operations=mixture.operations,
        pooling=_POOLING,
        channels=cell.channels,
        channel_groups=blocks[0].channel_groups,
        eps=BATCH_NORM_EPS,
        backward=torch.is_grad_enabled(),
    )
    return run_plan(plan, inputs)


__all__ = ["run_cell", "why_unavailable"]
