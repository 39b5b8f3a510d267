"""The network of a cell: NAS-Bench-101's channels and parameter counts, and independent replicas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.tabular.measured.network import CellModule, CellNetwork, vertex_channels
from nas.tabular.measured.training_spec import NetworkSize
from spaces.cell import CONV1X1, CONV3X3, INPUT, MAXPOOL3X3, OUTPUT, Cell


def cell_of(rows: str, *operations: str) -> Cell:
    return Cell.from_matrix([[int(v) for v in row] for row in rows.split()], [INPUT, *operations, OUTPUT])


FIRST = cell_of(
    "0100110 0010000 0001001 0000010 0000010 0000001 0000000", CONV3X3, MAXPOOL3X3, CONV3X3, CONV3X3, CONV1X1
)
SECOND = cell_of(
    "0111010 0000001 0000001 0000100 0000001 0000001 0000000", CONV1X1, CONV3X3, CONV3X3, CONV3X3, MAXPOOL3X3
)


def test_full_size_networks_have_the_parameter_counts_of_the_benchmark() -> None:
    assert FIRST.hash == "00005c142e6f48ac74fdcf73e3439874"
    assert CellNetwork(FIRST).n_parameters == 8_555_530
    assert CellNetwork(SECOND).n_parameters == 2_694_282


def test_counts_do_not_depend_on_the_number_of_replicas() -> None:
    size = NetworkSize(stem_channels=8)
    assert CellNetwork(SECOND, size, replicas=3).n_parameters == CellNetwork(SECOND, size).n_parameters


def test_output_channels_are_split_over_interior_parents_the_earliest_taking_the_remainder() -> None:
    # SECOND: vertices 1, 2, 4 and 5 feed the output; 10 = 3 + 3 + 2 + 2.  Vertex 3 feeds vertex 4 alone.
    assert vertex_channels(SECOND, 7, 10) == (7, 3, 3, 2, 2, 2, 10)


def test_a_vertex_takes_the_maximum_of_its_successors() -> None:
    # 1 -> 2, 1 -> 3; 2 and 3 feed the output with 3 and 2 of 5 channels; 1 feeds both.
    cell = cell_of("01000 00110 00001 00001 00000", CONV1X1, CONV1X1, CONV1X1)
    assert vertex_channels(cell, 4, 5) == (4, 3, 3, 2, 5)


def conv_bn_relu(x: Tensor, weight: Tensor) -> Tensor:
    return F.relu(F.batch_norm(F.conv2d(x, weight, padding=weight.shape[-1] // 2), None, None, training=True, eps=1e-5))


def test_a_cell_computes_what_the_rules_say() -> None:
    """0 -> 1, 0 -> 2, 0 -> 3, 1 -> 2, 1 -> 3 with output channels 5, written out vertex by vertex."""
    cell = cell_of("0111 0011 0001 0000", CONV3X3, MAXPOOL3X3)
    torch.manual_seed(0)
    module = CellModule(cell, 4, 5, NetworkSize()).double()
    x = torch.randn(6, 4, 8, 8, dtype=torch.float64)
    project = {v: module.projections[str(v)][0].weight for v in (1, 2, 3)}
    one = conv_bn_relu(conv_bn_relu(x, project[1]), module.operations["1"][0].weight)
    two = F.max_pool2d(conv_bn_relu(x, project[2]) + one[:, :2], 3, stride=1, padding=1)
    expected = torch.cat([one, two], dim=1) + conv_bn_relu(x, project[3])
    assert (one.shape[1], two.shape[1]) == (3, 2)
    torch.testing.assert_close(module(x), expected)


def test_a_cell_without_interior_vertices_is_the_projection() -> None:
    module = CellModule(cell_of("01 00"), 4, 5, NetworkSize()).double()
    x = torch.randn(3, 4, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(x), conv_bn_relu(x, module.projections["1"][0].weight))


@pytest.mark.parametrize("cell", [FIRST, SECOND])
def test_replicas_are_independent_networks(cell: Cell) -> None:
    """Three replicas give the outputs and gradients of three single networks of the same seeds."""
    size = NetworkSize(image_channels=2, n_classes=3, stem_channels=7, n_stacks=2, cells_per_stack=1)
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    joint = CellNetwork(cell, size, replicas=3)
    joint.initialise(generators)
    joint.double()
    images = torch.randn(4, 3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    logits = joint(images.flatten(1, 2))
    logits.square().sum().backward()
    for replica in range(3):
        single = CellNetwork(cell, size)
        single.initialise([torch.Generator().manual_seed(replica)])
        single.double()
        alone = single(images[:, replica])
        alone.square().sum().backward()
        torch.testing.assert_close(logits[replica], alone[0])
        for name, parameter in single.named_parameters():
            together = dict(joint.named_parameters())[name].grad
            assert together is not None
            torch.testing.assert_close(together.unflatten(0, (3, -1))[replica], parameter.grad)


def test_replicas_of_different_seeds_start_differently() -> None:
    network = CellNetwork(SECOND, NetworkSize(stem_channels=8), replicas=2)
    network.initialise([torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)])
    stem = network.layers[0][0].weight.unflatten(0, (2, -1))
    assert not torch.equal(stem[0], stem[1])
