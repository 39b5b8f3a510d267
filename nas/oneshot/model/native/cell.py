"""A cell's forward and backward pass by hand; ``nas.oneshot.model.supernet`` says what it computes.

Notation as there, and P = N * H * W: inside, a feature map is a matrix [P, C].  Only what the backward pass reads again
is kept: of a BatchNorm with ReLU its input, not its output, which is computed where it is summed; of a pooling one byte
a value.  The gradient of a block's output is summed once, when all that read it are done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from nas.oneshot.model.native import kernels
from nas.oneshot.model.native.calls import empty
from nas.oneshot.model.native.kernels import BatchNorm, Normalised, Term
from nas.oneshot.model.native.plan import Key, Plan, Weights, blocks_among, weights_of


def run_plan(plan: Plan, inputs: dict[Key, Tensor]) -> Tensor:
    """The output of a cell, [N, its channels, H, W].

    Args:
        plan: Structure of the pass.
        inputs: ``("x",)`` [N, C_in, H, W]; of the projections, in one, ``("kernel",)`` [columns, C_in], ``("scale",)``
            and ``("shift",)``; of a node, ``("edges", node)`` the weights of its parents (B + 1: the output); of a
            block, ``("operations", node)`` the weights of its operations, absent for ones like those of edges; of a
            convolution, ``("kernel", node, op)``, ``("scale", node, op)`` and ``("shift", node, op)``.

    Raises:
        ValueError: An input is not float32 on the CPU, or a weight of an edge or an operation is negative.
    """
    for key, x in inputs.items():
        if x.dtype != torch.float32 or x.device.type != "cpu":
            raise ValueError(f"native kernels: got {key} in {x.dtype} on {x.device}, expected float32 on the CPU")
    return _Cell.apply(plan, tuple(inputs), *inputs.values())


class _Cell(Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, keys: tuple[Key, ...], *tensors: Tensor) -> Tensor:
        needed = dict(zip(keys, ctx.needs_input_grad[2:], strict=True)) if plan.backward else dict.fromkeys(keys, False)
        run = _Forward(plan, dict(zip(keys, tensors, strict=True)), needed)
        output = run.output()
        if plan.backward:
            ctx.plan, ctx.keys, ctx.nhw, ctx.weights = plan, keys, run.nhw, run.weights
            ctx.kept_keys = tuple(run.kept)
            ctx.save_for_backward(*tensors, *run.kept.values())
        return image(output, run.nhw)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        n = len(ctx.keys)
        run = _Backward(
            ctx.plan,
            dict(zip(ctx.keys, saved[:n], strict=True)),
            dict(zip(ctx.kept_keys, saved[n:], strict=True)),
            dict(zip(ctx.keys, ctx.needs_input_grad[2:], strict=True)),
            ctx.weights,
            ctx.nhw,
        )
        gradients = run.gradients(matrix(gradient))
        return (None, None, *(gradients.get(key) for key in ctx.keys))


class _Forward:
    """The forward pass; ``kept`` collects what the backward pass needs."""

    def __init__(self, plan: Plan, inputs: dict[Key, Tensor], needed: dict[Key, bool]) -> None:
        self.plan, self.inputs, self.needed = plan, inputs, needed
        self.kept: dict[Key, Tensor] = {}
        self.weights = weights_of(plan, inputs)
        n, _, h, w = inputs["x",].shape
        self.nhw = (n, h, w)
        #: The output of each block: a matrix, or one whose BatchNorm and ReLU are taken where it is read.
        self.states: dict[int, Term] = {}

    def output(self) -> Tensor:
        plan = self.plan
        projected = self.project()
        for node in plan.computed():
            self.states[node] = self.block(node, [*projected.get(node, []), *self.edges(node)])
            if self.states[node].normaliser is None and any(
                self.needed.get(("edges", later)) for later, parents in enumerate(plan.parents, 1) if node in parents
            ):
                self.keep(self.states[node].x, "state", node)
        columns = plan.output()
        blocks = blocks_among(plan.parents[-1])
        edges = zip(blocks, self.edges(plan.n_blocks + 1), strict=True)
        terms = [edge._replace(column=columns[block].start) for block, edge in edges]
        terms = [*projected.get(plan.n_blocks + 1, []), *terms]
        return self.total(terms, plan.channels * len(columns))

    def project(self) -> dict[int, list[Term]]:
        """For each node that reads the cell's input, its projection."""
        if ("kernel",) not in self.inputs:
            return {}
        x, kernel = matrix(self.inputs["x",]), self.inputs["kernel",]
        columns = self.plan.projections()
        widths = [c.stop - c.start for c in columns.values()]
        projections, normaliser = kernels.normalised_product(x, kernel.t(), self.batch_norm(), widths)
        self.keep(normaliser, "normaliser")
        terms = {}
        for z, (node, of_node) in zip(projections, columns.items(), strict=True):
            self.keep(z, "z", node)
            terms[node] = [Term(z, self.weights["edges", node][0], normaliser[:, of_node])]
        return terms

    def edges(self, node: int) -> list[Term]:
        """The blocks that a node reads, with their weights."""
        weighted = zip(self.plan.parents[node - 1], self.weights["edges", node], strict=True)
        states = ((self.states[parent], weight) for parent, weight in weighted if parent)
        return [state._replace(weight=weight * state.weight) for state, weight in states]

    def batch_norm(self, *key: int) -> BatchNorm:
        """BatchNorm of the projections, or of a node's operation."""
        of_scale, of_shift = ("scale", *key), ("shift", *key)
        return BatchNorm(self.inputs[of_scale], self.inputs[of_shift], self.plan.eps)

    def block(self, node: int, terms: Sequence[Term]) -> Term:
        """x_j [P, C] from the terms of I_j."""
        if self.plan.channel_groups == 1:
            return self.mix(node, terms)
        first, *others = self.total(terms, self.plan.channels).chunk(self.plan.channel_groups, dim=1)
        mixed = self.mix(node, [Term(first.contiguous())])
        return Term(torch.stack([self.total([mixed], first.shape[1]), *others], dim=2).flatten(1))

    def mix(self, node: int, terms: Sequence[Term]) -> Term:
        """The mixed operation of the sum of the terms."""
        plan, inputs, (_, *hw) = self.plan, self.inputs, self.nhw
        width = terms[0].x.shape[1]
        x = self.total(terms, width)
        normalised, of_pooling = [], None
        for op, weight in zip(plan.operations[node - 1], self.weights["operations", node], strict=True):
            if op == plan.pooling:
                of_pooling = weight
                continue
            kernel, batch_norm = inputs["kernel", node, op], self.batch_norm(node, op)
            if is_pointwise(kernel):
                (z,), normaliser = kernels.normalised_product(x, kernel.flatten(1).t(), batch_norm)
            else:
                z = kernels.convolve(x, hw, kernel)
                normaliser = batch_norm.of(z)
            self.keep(z, "z", node, op)
            self.keep(normaliser, "normaliser", node, op)
            normalised.append(Term(z, weight, normaliser))
        if (of_pooling is not None and self.needed.get(("operations", node))) or any(
            self.needed["kernel", node, op] for op in plan.convolutions(node)
        ):
            self.keep(x, "input", node)
        if len(normalised) == 1 and of_pooling is None:
            return normalised[0]
        out = self.empty(width)
        if of_pooling is not None:
            position = kernels.pool_and_sum(out, x, self.nhw, of_pooling, normalised, backward=plan.backward)
            if position is not None:
                self.keep(position, "position", node)
        else:
            kernels.sum_terms(out, normalised)
        return Term(out)

    def total(self, terms: Sequence[Term], channels: int) -> Tensor:
        """[P, channels] the sum of the terms."""
        if len(terms) == 1 and terms[0].weight == 1.0 and terms[0].normaliser is None:
            return terms[0].x
        out = self.empty(channels)
        kernels.sum_terms(out, terms)
        return out

    def keep(self, x: Tensor, *key: str | int) -> None:
        """Has the backward pass find a tensor under a key, if there is one."""
        if self.plan.backward:
            self.kept[key] = x

    def empty(self, channels: int) -> Tensor:
        n, h, w = self.nhw
        return empty(n * h * w, channels)


class _Backward:
    """The backward pass, from the output to the input."""

    def __init__(
        self,
        plan: Plan,
        inputs: dict[Key, Tensor],
        kept: dict[Key, Tensor],
        needed: dict[Key, bool],
        weights: Weights,
        nhw: tuple[int, int, int],
    ) -> None:
        self.plan, self.inputs, self.kept, self.needed = plan, inputs, kept, needed
        self.weights, self.nhw = weights, nhw
        self.of_inputs: dict[Key, Tensor] = {}
        #: Of convolutions, by node and operation, the gradients of scale and shift.
        self.of_parameters: dict[tuple[int, int], Tensor] = {}
        self.of_weights: Weights = {key: [0.0] * len(of_these) for key, of_these in weights.items()}
        #: For each block, what its readers send back: the gradient of their sum, the weight of the edge, and whose.
        self.sent: dict[int, list[tuple[Tensor, float, tuple[str, int], int]]] = defaultdict(list)

    def gradients(self, gradient: Tensor) -> dict[Key, Tensor]:
        """Gradients of the inputs, from that of the output."""
        plan = self.plan
        output, blocks = plan.output(), blocks_among(plan.parents[-1])
        self.send(plan.n_blocks + 1, {block: gradient[:, output[block]] for block in blocks})
        of_projections = {plan.n_blocks + 1: gradient}
        for node in reversed(plan.computed()):
            of_sum = self.block(node, self.received(node))
            of_projections[node] = of_sum
            self.send(node, dict.fromkeys(blocks_among(plan.parents[node - 1]), of_sum))
        if ("kernel",) in self.inputs:
            self.projections(of_projections)
        for key, of_these in self.of_weights.items():
            if self.needed.get(key):
                self.of_inputs[key] = torch.tensor(of_these, dtype=torch.float32)
        return self.of_inputs

    def send(self, node: int, gradients: dict[int, Tensor]) -> None:
        """Notes what a node sends to the blocks that it reads."""
        key = ("edges", node)
        for i, (parent, weight) in enumerate(zip(self.plan.parents[node - 1], self.weights[key], strict=True)):
            if parent:
                self.sent[parent].append((gradients[parent], weight, key, i))

    def received(self, node: int) -> Tensor:
        """Sums the gradients that a block's readers sent.

        Also stores the gradients of the readers' edge weights and of the block's BatchNorm parameters.
        """
        sent = self.sent.pop(node)
        weighted = [Term(gradient, weight) for gradient, weight, _, _ in sent]
        output = self.output_of(node) if any(self.needed.get(key) for _, _, key, _ in sent) else None
        if len(weighted) == 1 and output is None and weighted[0].weight == 1.0 and weighted[0].x.is_contiguous():
            return weighted[0].x
        operations = self.plan.convolutions(node) if self.plan.channel_groups == 1 else ()
        received = kernels.receive(weighted, output, [self.normalised(node, op) for op in operations])
        for op, of_parameters, of_weight in zip(operations, received.of_parameters, received.of_weights, strict=True):
            self.note(node, op, of_parameters, of_weight)
        for (_, _, key, i), of_edge in zip(sent, received.dots, strict=True):
            self.of_weights[key][i] = of_edge
        return received.total

    def note(self, node: int, operation: int, of_parameters: Tensor, of_weight: float) -> None:
        """Notes the gradients of a convolution's scale, shift and weight."""
        self.of_parameters[node, operation] = of_parameters
        self.of_inputs["scale", node, operation], self.of_inputs["shift", node, operation] = of_parameters
        self.of_weights["operations", node][self.plan.place(node, operation)] = of_weight

    def output_of(self, node: int) -> Term:
        """A block's output: kept, or that of its only operation."""
        if ("state", node) in self.kept:
            return Term(self.kept["state", node])
        (operation,) = self.plan.operations[node - 1]
        (z,), normaliser, (weight,) = self.normalised(node, operation)
        return Term(z, weight, normaliser)

    def normalised(self, node: int, operation: int) -> Normalised:
        """Saved inputs of a convolution's BatchNorm and ReLU."""
        weight = self.weights["operations", node][self.plan.place(node, operation)]
        return Normalised([self.kept["z", node, operation]], self.kept["normaliser", node, operation], [weight])

    def block(self, node: int, gradient: Tensor) -> Tensor:
        """The gradient of I_j from that of x_j."""
        k = self.plan.channel_groups
        if k == 1:
            return self.mix(node, gradient)
        by_group = gradient.view(len(gradient), -1, k)
        first = self.mix(node, by_group[:, :, 0].contiguous())
        return torch.cat([first, *by_group[:, :, 1:].unbind(2)], dim=1)

    def mix(self, node: int, gradient: Tensor) -> Tensor:
        """The gradient of the mixed operation's input."""
        plan, kept, (_, *hw) = self.plan, self.kept, self.nhw
        x = kept.get(("input", node))
        total = None
        for op in plan.convolutions(node):
            total = self.convolution(node, op, gradient, total)
        if plan.pools(node):
            key, place = ("operations", node), plan.place(node, plan.pooling)
            total, self.of_weights[key][place] = kernels.unpool(
                gradient, kept["position", node], hw, self.weights[key][place],
                x if self.needed.get(key) else None, total,
            )  # fmt: skip
        assert total is not None, "a block that is computed has an operation"
        return total

    def convolution(self, node: int, operation: int, gradient: Tensor, total: Tensor | None) -> Tensor:
        """The gradient of a convolution's input, added to ``total`` if there is one; the others are noted."""
        key, (_, *hw) = ("kernel", node, operation), self.nhw
        z, kernel = self.normalised(node, operation), self.inputs[key]
        x = self.kept["input", node] if self.needed[key] else None
        if (node, operation) not in self.of_parameters:
            of_parameters, (of_weight,) = z.of_parameters([gradient])
            self.note(node, operation, of_parameters, of_weight)
        of_parameters = self.of_parameters[node, operation]
        if is_pointwise(kernel):
            adds = total is not None
            total = empty(*gradient.shape) if total is None else total
            of_kernel = z.of_product([gradient], of_parameters, x, kernel.flatten(1), total, adds=adds)
        else:
            of_z = z.of_z([gradient], of_parameters)
            of_x = kernels.convolve(of_z, hw, kernel, backward=True)
            total = of_x if total is None else total.add_(of_x)
            of_kernel = None if x is None else kernels.kernel_gradient(x, hw, kernel, of_z)
        if of_kernel is not None:
            self.of_inputs[key] = of_kernel.view_as(kernel)
        return total

    def projections(self, gradients: dict[int, Tensor]) -> None:
        """The gradients of the cell's input and of its projections from those of the nodes' sums."""
        nodes = list(self.plan.projections())
        z = Normalised(
            [self.kept["z", node] for node in nodes],
            self.kept["normaliser",],
            [self.weights["edges", node][0] for node in nodes],
        )
        of_columns = [gradients[node] for node in nodes]
        of_parameters, of_weights = z.of_parameters(of_columns)
        for node, of_edge in zip(nodes, of_weights, strict=True):
            self.of_weights["edges", node][0] = of_edge
        self.of_inputs["scale",], self.of_inputs["shift",] = of_parameters
        x, kernel = matrix(self.inputs["x",]), self.inputs["kernel",]
        needs_x, needs_kernel = self.needed["x",], self.needed["kernel",]
        of_x = empty(*x.shape) if needs_x else None
        if needs_x or needs_kernel:
            of_kernel = z.of_product(of_columns, of_parameters, x if needs_kernel else None, kernel, of_x)
            if of_kernel is not None:
                self.of_inputs["kernel",] = of_kernel
        if of_x is not None:
            self.of_inputs["x",] = image(of_x, self.nhw)


def is_pointwise(kernel: Tensor) -> bool:
    """Whether a convolution is a product."""
    return kernel.shape[-1] == 1


def matrix(x: Tensor) -> Tensor:
    """[P, C], dense, of [N, C, H, W]; no copy where channels are last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).contiguous()


def image(x: Tensor, nhw: tuple[int, int, int]) -> Tensor:
    """[N or fewer, C, H, W], channels last, of a dense matrix."""
    return x.view(-1, *nhw[1:], x.shape[1]).permute(0, 3, 1, 2)
