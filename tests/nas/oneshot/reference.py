"""The one-shot model once more, as the paper's formulas read: one operation at a time, nothing folded or merged.

It takes its parameters from a ``Supernet`` by their names and computes in plain NCHW layout with BatchNorm spelled out.
Being made of elementary operations, it can be differentiated any number of times.
"""

import torch
import torch.nn.functional as F


def batch_norm(z, scale=None, shift=None):
    mean = z.mean((0, 2, 3), keepdim=True)
    var = ((z - mean) ** 2).mean((0, 2, 3), keepdim=True)
    z = (z - mean) / torch.sqrt(var + 1e-5)
    return z if scale is None else z * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def conv_bn_relu(x, params, name):
    weight = params[f"{name}.weight"]
    z = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return torch.relu(batch_norm(z, params[f"{name}.scale"], params[f"{name}.shift"]))


def mixed_operation(x, params, name, beta):
    """Equation 1; operation order conv3x3, conv1x1, max-pool."""
    return (
        beta[0] * conv_bn_relu(x, params, f"{name}.operations.0")
        + beta[1] * conv_bn_relu(x, params, f"{name}.operations.1")
        + beta[2] * F.max_pool2d(x, 3, 1, 1)
    )


def choice_block(x, params, name, beta, groups):
    if groups == 1:
        return mixed_operation(x, params, name, beta)
    part = x.shape[1] // groups
    y = torch.cat([mixed_operation(x[:, :part], params, name, beta), x[:, part:]], 1)
    n, c, h, w = y.shape
    return y.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def cell(x, params, name, n_blocks, alpha, beta, gamma, groups):
    states = []
    for j in range(n_blocks):
        inputs = [conv_bn_relu(x, params, f"{name}.projections.{j}"), *states]
        weights = [1.0] * len(inputs) if alpha[j] is None else alpha[j]
        total = sum(w * t for w, t in zip(weights, inputs, strict=True))
        states.append(choice_block(total, params, f"{name}.blocks.{j}", beta[j], groups))
    projected = conv_bn_relu(x, params, f"{name}.projections.{n_blocks}")
    return gamma[0] * projected + torch.cat([w * t for w, t in zip(gamma[1:], states, strict=True)], 1)


def forward(params, images, n_blocks, n_cells, cells_per_stack, mixing, groups=1):
    """Logits; ``mixing[i]`` is (alpha, beta, gamma) of cell i with one weight for every edge and operation."""
    x = conv_bn_relu(images, params, "stem")
    for i in range(n_cells):
        if i and i % cells_per_stack == 0:
            x = F.max_pool2d(x, 2, 2)
        x = cell(x, params, f"cells.{i}", n_blocks, *mixing[i], groups)
    x = batch_norm(F.conv2d(torch.relu(x), params["head"]))
    return F.linear(x.mean((2, 3)), params["classifier.weight"], params["classifier.bias"])


def softmax_mixing(params, space, n_cells):
    """S(alpha), S(beta), S(gamma) from the logits in ``params``."""
    logits = iter(sorted((k for k in params if k.startswith("alpha.")), key=lambda k: int(k.split(".")[1])))
    alpha = [
        torch.softmax(params[next(logits)], 0) if space.n_parents[node - 1] < node else None
        for node in range(1, space.n_blocks + 1)
    ]
    beta, gamma = torch.softmax(params["beta"], 1), torch.softmax(params["gamma"], 0)
    return [(alpha, beta, gamma)] * n_cells


def discrete_mixing(architecture, n_cells, dtype=torch.float64):
    """Weights of 0 and 1."""
    n_blocks = len(architecture.operations)
    alpha = [
        torch.tensor([float(i in architecture.parents[node - 1]) for i in range(node)], dtype=dtype)
        for node in range(1, n_blocks + 1)
    ]
    beta = torch.eye(3, dtype=dtype)[list(architecture.operations)]
    gamma = torch.tensor([float(i in architecture.parents[-1]) for i in range(n_blocks + 1)], dtype=dtype)
    return [(alpha, beta, gamma)] * n_cells
