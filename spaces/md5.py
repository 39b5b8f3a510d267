"""MD5 of many short messages at once.

The graph hash of NAS-Bench-101 takes about fifty digests per cell.  For a hundred thousand cells, one call
of ``hashlib`` per digest costs more than the digests themselves.

Source: RFC 1321, also for the names a, b, c, d, K, S and the order of the words.
"""

from __future__ import annotations

from math import floor, sin

import numpy as np
import numpy.typing as npt

BLOCK_BYTES = 64
_LENGTH_BYTES = 8
_SLICE = 1 << 14  # messages digested at a time: their working set stays in the processor's cache

_K = [np.uint32(floor(abs(sin(i + 1)) * 2**32)) for i in range(64)]
_S = [s for shifts in ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21)) for s in shifts * 4]
_WORD = [(i, 5 * i + 1, 3 * i + 5, 7 * i)[i // 16] % 16 for i in range(64)]
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)


def padded_length(n_bytes: int) -> int:
    """Length of a message of ``n_bytes`` with its padding, a multiple of 64."""
    return -(-(n_bytes + 1 + _LENGTH_BYTES) // BLOCK_BYTES) * BLOCK_BYTES


def md5_many(messages: npt.NDArray[np.uint8], n_bytes: int) -> npt.NDArray[np.uint8]:
    """Digests M messages of the same length.

    Args:
        messages: [M, padded_length(n_bytes)] One message per row, in the first ``n_bytes`` columns; the
            other columns are overwritten with the padding.
        n_bytes: Length of every message.

    Returns:
        [M, 16] Digests.
    """
    messages[:, n_bytes:] = 0
    messages[:, n_bytes] = 0x80
    messages[:, -_LENGTH_BYTES:] = np.frombuffer((8 * n_bytes).to_bytes(_LENGTH_BYTES, "little"), dtype=np.uint8)
    digests = np.empty((len(messages), 4), dtype="<u4")
    for start in range(0, len(messages), _SLICE):
        part = messages[start : start + _SLICE]
        words = np.ascontiguousarray(part.view("<u4").T, dtype=np.uint32)
        state: list[npt.NDArray[np.uint32]] = [np.full(len(part), value, dtype=np.uint32) for value in _START]
        for first_word in range(0, len(words), 16):
            _add_block(state, words[first_word : first_word + 16])
        digests[start : start + _SLICE] = np.stack(state, axis=1)
    return digests.view(np.uint8)


def _add_block(state: list[npt.NDArray[np.uint32]], words: npt.NDArray[np.uint32]) -> None:
    """Digests the [16, M] words of one block into the four [M] words of the state, in place."""
    a, b, c, d = (word.copy() for word in state)
    f, shifted = np.empty_like(a), np.empty_like(a)
    for i in range(64):
        _mix(i // 16, b, c, d, f)
        f += a
        f += words[_WORD[i]]
        f += _K[i]
        np.right_shift(f, 32 - _S[i], out=shifted)
        np.left_shift(f, _S[i], out=f)
        f |= shifted
        f += b
        a, b, c, d, f = d, f, b, c, a  # a's array is free now
    for word, value in zip(state, (a, b, c, d), strict=True):
        word += value


def _mix(
    stage: int,
    b: npt.NDArray[np.uint32],
    c: npt.NDArray[np.uint32],
    d: npt.NDArray[np.uint32],
    out: npt.NDArray[np.uint32],
) -> None:
    """Computes F, G, H or I of RFC 1321; F and G are written with exclusive ors, which saves an operation."""
    if stage == 0:
        np.bitwise_xor(c, d, out=out)
        out &= b
        out ^= d
    elif stage == 1:
        np.bitwise_xor(b, c, out=out)
        out &= d
        out ^= c
    elif stage == 2:
        np.bitwise_xor(b, c, out=out)
        out ^= d
    else:
        np.bitwise_not(d, out=out)
        out |= b
        out ^= c
