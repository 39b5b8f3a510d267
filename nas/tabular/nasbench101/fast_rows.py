"""Reading many rows of NAS-Bench-101 at once, as arrays.

All rows of the two published files have the same form: the JSON that Python writes, and a message of a
handful of shapes.  Rows of this form are taken apart for a whole part of the file at a time.  Every byte
that is no value is compared with the form.  A row with any difference goes through
``nas.tabular.nasbench101.rows.parse_row``.  Therefore the speed depends on the form, but the result does not.
"""

from __future__ import annotations

import binascii
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt

from nas.tabular.errors import WrongFileError
from nas.tabular.nasbench101.rows import METRICS, MessageShape, Rows, message_shape, parse_row
from nas.tabular.nasbench101.tfrecord import Records
from spaces.cell import INPUT, MAX_VERTICES, OPERATIONS, OUTPUT, is_a_cell, pack_key

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

_HASH_AT, _HASH_CHARS = 2, 32
_EPOCHS_AT = _HASH_AT + _HASH_CHARS + 3  # after '", '
_MAX_EPOCH_DIGITS = 4
_QUOTE, _ZERO, _NINE, _PAD, _A = b'"'[0], b"0"[0], b"9"[0], b"="[0], b"A"[0]
_SEPARATOR = b'", "'
_MAX_SHAPES = 16  # shapes of messages of one length; messages of further shapes are read one at a time


def parse_records(records: Records) -> Rows:
    """Reads all rows of a part of the file.

    Raises:
        WrongFileError: A record is no row of NAS-Bench-101.
    """
    rows = Rows.empty(len(records.starts))
    padding = bytes(_EPOCHS_AT + 2 * MAX_VERTICES**2 + max(map(len, _operation_texts(MAX_VERTICES))))
    reader = _Reader(np.frombuffer(records.buffer + padding, dtype=np.uint8), records, rows)
    for i in np.flatnonzero(~reader.read()):
        try:
            row = parse_row(records.payload(i))
        except ValueError as error:
            raise WrongFileError(
                f"{records.place(i)}: {error}; give a file such as nasbench_only108.tfrecord"
            ) from None
        rows.hashes[i], rows.epochs[i], rows.keys[i] = row.hash, row.epochs, row.key
        rows.trainable_parameters[i], rows.metrics[i] = row.trainable_parameters, row.metrics
    return rows


class _Reader:
    """Reads the rows of the usual form into ``rows``."""

    def __init__(self, buffer: Bytes, records: Records, rows: Rows) -> None:
        self.buffer = buffer
        self.starts = records.starts
        self.ends = records.starts + records.lengths
        self.rows = rows

    def read(self) -> npt.NDArray[np.bool_]:
        """[m] Reads the rows and marks those of the usual form; the other rows remain to be read."""
        usual = self._match(self.starts, b'["') & self._match(self.starts + _HASH_AT + _HASH_CHARS, b'", ')
        usual &= self._match(self.ends - 2, b'"]')
        usual &= self._read_hashes()
        at, fits = self._read_epochs()
        usual &= fits
        at, fits = self._read_cells(at)
        usual &= fits
        usual &= self._read_metrics(at, np.flatnonzero(usual))
        return usual

    def _window(self, at: Ints, length: int) -> Bytes:
        """[len(at), length] Bytes from each position; a position too near the buffer's end gets the last bytes.

        No usual row needs bytes beyond the buffer.
        """
        windows = np.lib.stride_tricks.sliding_window_view(self.buffer, length)
        return windows[np.minimum(at, len(windows) - 1)]

    def _match(self, at: Ints, text: bytes) -> npt.NDArray[np.bool_]:
        return np.asarray((self._window(at, len(text)) == np.frombuffer(text, dtype=np.uint8)).all(axis=1))

    def _read_hashes(self) -> npt.NDArray[np.bool_]:
        digits = self._window(self.starts + _HASH_AT, _HASH_CHARS)
        values = _HEX_VALUE[digits]
        hashes = values[:, ::2] << 4 | values[:, 1::2]
        self.rows.hashes[:] = hashes.view("S16").reshape(-1)
        return np.asarray((values < 16).all(axis=1))

    def _read_epochs(self) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Reads the epochs; returns the position of each row's adjacency, and whether the row is usual up to there."""
        window = self._window(self.starts + _EPOCHS_AT, _MAX_EPOCH_DIGITS + 1)
        is_digit = (window >= _ZERO) & (window <= _NINE)
        n_digits = np.logical_and.accumulate(is_digit, axis=1).sum(axis=1)
        epochs: Ints = np.zeros(len(window), dtype=np.int64)
        for k in range(_MAX_EPOCH_DIGITS):
            epochs = np.where(k < n_digits, 10 * epochs + window[:, k] - _ZERO, epochs)
        self.rows.epochs[:] = epochs
        after = self.starts + _EPOCHS_AT + n_digits
        fits = (n_digits > 0) & (n_digits <= _MAX_EPOCH_DIGITS) & (window[:, 0] != _ZERO) & self._match(after, b', "')
        return after + 3, fits

    def _read_cells(self, at: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Reads the cells; returns the position of each row's metrics, and whether the cell's text is usual."""
        fits = np.zeros(len(at), dtype=bool)
        metrics_at = np.zeros(len(at), dtype=np.int64)
        for n_vertices in range(2, MAX_VERTICES + 1):
            chosen = np.flatnonzero(~fits & self._match(at + n_vertices**2, b'"'))
            if len(chosen):
                edges, right = self._read_edges(at[chosen], n_vertices)
                operations_at = at[chosen] + n_vertices**2
                operations, lengths, known = self._read_operations(operations_at, n_vertices)
                self.rows.keys[chosen] = pack_key(np.full(len(chosen), n_vertices, dtype=np.int64), edges, operations)
                metrics_at[chosen] = operations_at + lengths
                fits[chosen] = right & known
        return metrics_at, fits

    def _read_edges(self, at: Ints, n_vertices: int) -> tuple[Ints, npt.NDArray[np.bool_]]:
        digits = self._window(at, n_vertices**2) - np.uint8(_ZERO)
        order = [x * n_vertices + y for y in range(n_vertices) for x in range(y)]
        others = [x * n_vertices + y for y in range(n_vertices) for x in range(y, n_vertices)]
        fits = np.asarray((digits <= 1).all(axis=1) & ~digits[:, others].any(axis=1))
        packed = np.packbits(digits[:, order], axis=1, bitorder="little")
        edges = np.zeros(len(at), dtype=np.int64)
        for k in range(packed.shape[1]):
            edges |= packed[:, k].astype(np.int64) << (8 * k)
        graphs, graph_of_row = np.unique(edges, return_inverse=True)
        fits &= np.array([is_a_cell(n_vertices, graph) for graph in graphs.tolist()], dtype=bool)[graph_of_row]
        return edges, fits

    def _read_operations(self, at: Ints, n_vertices: int) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
        """Reads operations; returns their code as in ``Cell.key``, the length of their text, and whether the text fits.

        The length includes both separators.  One character tells a pooling from a convolution, and another
        the size of a convolution.  Then the whole text is compared with the text of these operations.
        """
        texts, lengths = _operation_templates(n_vertices)
        window = self._window(at, texts.shape[1])
        rows = np.arange(len(at))
        code = np.zeros(len(at), dtype=np.int64)
        column = np.full(len(at), len(f'", "{INPUT},'), dtype=np.int64)
        for k in range(n_vertices - 2):
            is_pool = window[rows, column] == b"m"[0]
            label = np.where(is_pool, 2, window[rows, column + len("conv")] == b"1"[0])
            code += label * len(OPERATIONS) ** k
            column += np.where(is_pool, len(OPERATIONS[2]), len(OPERATIONS[0])) + 1
        expected = texts[code]
        fits = ((window == expected) | (expected == 0)).all(axis=1)
        return code, lengths[code], fits

    def _read_metrics(self, at: Ints, candidates: Ints) -> npt.NDArray[np.bool_]:
        """Reads the candidates' metrics; marks the rows whose messages had a shape that can be read."""
        fits = np.zeros(len(at), dtype=bool)
        lengths = self.ends[candidates] - 2 - at[candidates]
        for length in np.unique(lengths).tolist():
            chosen = candidates[lengths == length]
            if length > 0 and length % 4 == 0:
                self._read_messages(chosen, self._window(at[chosen], length), fits)
        return fits

    def _read_messages(self, chosen: Ints, text: Bytes, fits: npt.NDArray[np.bool_]) -> None:
        for n_padding in range(3):
            padded = (text[:, text.shape[1] - n_padding :] == _PAD).all(axis=1)
            padded &= text[:, text.shape[1] - n_padding - 1] != _PAD
            messages = _decode_base64(text[padded], n_padding)
            if messages is not None:
                self._read_shapes(chosen[padded], messages, fits)

    def _read_shapes(self, chosen: Ints, messages: Bytes, fits: npt.NDArray[np.bool_]) -> None:
        for _ in range(_MAX_SHAPES):
            if not len(chosen):
                return
            try:
                shape = message_shape(messages[0].tobytes())
            except ValueError:
                return
            same = _has_shape(messages, shape)
            rows = chosen[same]
            self.rows.metrics[rows], self.rows.trainable_parameters[rows] = _read_values(messages[same], shape)
            fits[rows] = True
            chosen, messages = chosen[~same], messages[~same]


#: [256] Value of a hexadecimal digit, 255 for any other character.
_HEX_VALUE = np.full(256, 255, dtype=np.uint8)
_HEX_VALUE[np.frombuffer(b"0123456789abcdef", dtype=np.uint8)] = np.arange(16)


def _operation_texts(n_vertices: int) -> list[str]:
    """Writes the texts of a row's operations with both separators, in the order of their codes."""
    choices = product(OPERATIONS, repeat=n_vertices - 2)
    return [f'", "{",".join([INPUT, *reversed(names), OUTPUT])}", "' for names in choices]


@lru_cache(maxsize=MAX_VERTICES)
def _operation_templates(n_vertices: int) -> tuple[Bytes, Ints]:
    """Returns the texts [C, longest], filled up with zeros, and their lengths [C]."""
    texts = [text.encode() for text in _operation_texts(n_vertices)]
    longest = max(map(len, texts))
    padded = b"".join(text.ljust(longest, b"\0") for text in texts)
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    return np.frombuffer(padded, dtype=np.uint8).reshape(len(texts), longest), lengths


def _decode_base64(text: Bytes, n_padding: int) -> Bytes | None:
    """Decodes m texts of one length and padding into messages [m, bytes]; None if any has a wrong character."""
    text[:, text.shape[1] - n_padding :] = _A
    try:
        decoded = binascii.a2b_base64(text.tobytes())
    except binascii.Error:
        return None
    n_bytes = text.shape[1] // 4 * 3
    if len(decoded) != len(text) * n_bytes:  # wrong characters are skipped, so they show in the length
        return None
    return np.frombuffer(decoded, dtype=np.uint8).reshape(len(text), n_bytes)[:, : n_bytes - n_padding]


def _has_shape(messages: Bytes, shape: MessageShape) -> npt.NDArray[np.bool_]:
    columns = np.flatnonzero(shape.mask)
    return np.asarray(((messages[:, columns] & shape.mask[columns]) == shape.structure[columns]).all(axis=1))


def _read_values(messages: Bytes, shape: MessageShape) -> tuple[npt.NDArray[np.float64], Ints]:
    """Reads the metrics [m, len(METRICS)] and the numbers of parameters [m]."""
    metrics = np.zeros((len(messages), len(METRICS), 8), dtype=np.uint8)
    for k, at in enumerate(shape.positions):
        if at >= 0:
            metrics[:, k] = messages[:, at : at + 8]
    start, end = shape.parameters
    parameters = np.zeros(len(messages), dtype=np.uint64)
    for k, at in enumerate(range(start, end)):
        parameters |= (messages[:, at] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * k)
    return metrics.view("<f8")[..., 0], parameters.astype(np.int64)
