"""Hashing many cells at once is hashing each of them."""

import hashlib

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.tabular_file import all_cells
from spaces.cell import Cell
from spaces.hashing import hash_cells
from spaces.md5 import md5_many, padded_length


@pytest.mark.parametrize("n_bytes", [0, 1, 55, 56, 63, 64, 119, 120, 194, 250])
def test_digests_are_those_of_hashlib(n_bytes: int) -> None:
    rng = np.random.default_rng(n_bytes)
    messages = rng.integers(256, size=(5, padded_length(n_bytes)), dtype=np.uint8)
    expected = [hashlib.md5(message[:n_bytes].tobytes()).digest() for message in messages]
    assert md5_many(messages, n_bytes).tobytes() == b"".join(expected)


def test_digests_of_more_messages_than_one_slice() -> None:
    messages = np.zeros((20_000, 64), dtype=np.uint8)
    messages[:, :4] = np.arange(20_000, dtype="<u4")[:, None].view(np.uint8)
    expected = b"".join(hashlib.md5(message[:4].tobytes()).digest() for message in messages)
    assert md5_many(messages, 4).tobytes() == expected


def test_published_cells(published_cells: dict[str, int]) -> None:
    keys = np.array(list(published_cells.values()), dtype=np.int64)
    assert any(name.endswith("00") for name in published_cells)  # where NumPy's strings would be cut short
    assert hash_cells(keys).tobytes().hex() == "".join(published_cells)


def test_isomorphs_are_hashed_as_one_by_one() -> None:
    # Operations in any order along two parallel paths of equal length: many cells are isomorphs of others.
    edges = {(0, 1), (1, 2), (2, 5), (0, 3), (3, 4), (4, 5), (0, 5)}
    packed = sum(1 << (x + y * (y - 1) // 2) for x, y in edges)
    cells = [
        Cell.from_edges(packed, (a, b, c, d)) for a in range(3) for b in range(3) for c in range(3) for d in range(3)
    ]
    hashes = hash_cells(np.array([cell.key for cell in cells], dtype=np.int64))
    assert hashes.tobytes().hex() == "".join(cell.hash for cell in cells)
    assert len(np.unique(hashes)) == 45  # 9 kinds of path, two of them in any order: 9 * 10 / 2


def test_no_cell_gives_no_hash() -> None:
    assert len(hash_cells(np.zeros(0, dtype=np.int64))) == 0


@pytest.mark.slow
def test_all_cells_of_nasbench101(all_published_cells: tuple[npt.NDArray[np.int64], bytes]) -> None:
    keys, hashes = all_published_cells
    assert len(keys) == 423_624
    assert hash_cells(keys).tobytes() == hashes


@pytest.mark.slow
def test_all_cells_are_found_by_enumeration() -> None:
    keys = all_cells()
    assert np.bincount(keys >> 40).tolist() == [0, 0, 1, 6, 84, 2_441, 62_010, 359_082]  # by number of vertices
    hashes = hash_cells(keys)
    assert (hashes[1:] > hashes[:-1]).all()
    assert hashes[:1].tobytes().hex() == "00005c142e6f48ac74fdcf73e3439874"


@pytest.mark.slow
def test_every_hundredth_cell_of_nasbench101_by_itself(
    all_published_cells: tuple[npt.NDArray[np.int64], bytes],
) -> None:
    keys, hashes = all_published_cells
    for i in range(0, len(keys), 100):
        assert Cell.from_key(int(keys[i])).hash == hashes[16 * i : 16 * i + 16].hex()
