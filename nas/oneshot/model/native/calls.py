"""Calling the compiled kernels: their structures, their arguments, and memory for their results."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_float, c_int32, c_int64, c_void_p
from functools import cache
from typing import Any

import torch
from torch import Tensor

from nas.oneshot.model.native.library import load

#: Numbers in a feature map from which on more threads than one pay.
_WORTH_THREADS = 2**15


class TermStructure(ctypes.Structure):
    _fields_ = (
        ("x", c_void_p),
        ("slope", c_void_p),
        ("offset", c_void_p),
        ("ld", c_int64),
        ("column", c_int64),
        ("width", c_int64),
        ("weight", c_float),
        ("adds", c_int32),
    )


class ColumnsStructure(ctypes.Structure):
    _fields_ = (("x", c_void_p), ("ld", c_int64), ("column", c_int64), ("width", c_int64))


class SourceStructure(ctypes.Structure):
    _fields_ = (
        ("z", c_void_p),
        ("gradient", c_void_p),
        ("ldz", c_int64),
        ("ldg", c_int64),
        ("column", c_int64),
        ("width", c_int64),
        ("weight", c_double),
        ("of_weight", c_double),
    )


class NormalisedStructure(ctypes.Structure):
    _fields_ = (
        ("z", c_void_p),
        ("normaliser", c_void_p),
        ("of_parameters", c_void_p),
        ("weight", c_double),
        ("of_weight", c_double),
    )


_TYPES = {"p": c_void_p, "n": c_int64, "i": c_int32, "f": c_float, "d": c_double}
#: The arguments of each kernel: pointers, numbers of things, flags and threads, float and double.
_SIGNATURES = {
    "product": "pnnnpnnnpnppdpi",
    "normaliser": "pnnnppdpi",
    "sum_terms": "pnnnpni",
    "pool_and_sum": "pnnnnfpppni",
    "unpool": "ppnnnnfppppi",
    "parameter_gradients": "pnnnppi",
    "receive": "pnnpnpppni",
    "input_gradient": "pnnnpppi",
    "product_gradients": "pnnnpppnpnnpipi",
    "convolve": "pnnnnppnipi",
    "kernel_gradient": "ppnnnnnppi",
}


def array(kind: Any, entries: Sequence[tuple[Any, ...]]) -> Any:
    return (kind * len(entries))(*entries)


def strides(kernel: Tensor, order: Sequence[int]) -> Any:
    return (c_int64 * 4)(*(kernel.stride(dimension) for dimension in order))


def empty(*shape: int) -> Tensor:
    """Memory for a result, whatever PyTorch's default type is."""
    return torch.empty(shape, dtype=torch.float32)


def at(x: Tensor) -> int:
    return x.data_ptr()


def at_or_null(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def threads(numbers: int) -> int:
    return torch.get_num_threads() if numbers >= _WORTH_THREADS else 1


@cache
def _kernel(name: str) -> Any:
    kernel = getattr(load(), name)
    kernel.argtypes = [_TYPES[letter] for letter in _SIGNATURES[name]]
    return kernel


def call(name: str, *arguments: Any) -> None:
    """Calls a kernel.

    Raises:
        MemoryError: It could not allocate what it needs beside its arguments.
        NativeKernelsError: The kernels cannot be compiled here.
    """
    if _kernel(name)(*arguments):
        raise MemoryError(f"{name}: no memory left for partial sums")
