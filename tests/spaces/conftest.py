"""Cells of NAS-Bench-101 with the hashes that its authors published."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from spaces.cell import pack_key

DATA = Path(__file__).parents[1] / "data"
SHARED_CELLS = Path(__file__).parents[3] / "shared" / "data" / "nasbench101" / "cells.npz"


@pytest.fixture(scope="session")
def published_cells() -> dict[str, int]:
    """The key of some cells of every size, by their published hash."""
    lines = (DATA / "nasbench101_hashes.txt").read_text(encoding="utf-8").splitlines()[1:]
    fields = [line.split() for line in lines]
    return {name: pack_key(int(vertices), int(edges), int(ops)) for name, vertices, edges, ops in fields}


@pytest.fixture(scope="session")
def all_published_cells() -> tuple[npt.NDArray[np.int64], bytes]:
    """The keys and the joined hashes of all 423,624 cells."""
    if not SHARED_CELLS.exists():
        pytest.skip("the 423,624 cells are not beside the repository (../shared/data/nasbench101/cells.npz)")
    with np.load(SHARED_CELLS) as cells:
        vertices, edges, operations = (cells[name].astype(np.int64) for name in ("n", "edges", "ops"))
        return pack_key(vertices, edges, operations), cells["hash"].tobytes()
