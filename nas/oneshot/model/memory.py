"""Memory that stays in the process, in large pages, and how a process says that there is none left.

Fetching and addressing small pages takes a share of every step.
"""

from __future__ import annotations

import ctypes
import functools
import sys

import torch

#: How PyTorch's CPU allocator, oneDNN, PyTorch's file reader and CUDA's libraries say, in a plain RuntimeError, that no
#: memory is left.
_NO_MEMORY = (
    "DefaultCPUAllocator",
    "could not create a primitive",
    "could not create a memory object",
    "Could not allocate bytes object",
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
#: Parameters of glibc's ``mallopt`` (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
#: Linux's advice that a range be backed by huge pages (mman.h).
_MADV_HUGEPAGE = 14
_HUGE_PAGE = 2**21
#: What the heap grows by at once; and the addresses that are set apart for feature maps, used or not.
_GROWTH, _RESERVED = 2**26, 2**31 - _HUGE_PAGE


@functools.cache
def keep_freed_memory() -> bool:
    """Makes glibc keep what is freed for the next allocation, in huge pages, for the rest of the process.

    Feature maps of tens of megabytes are otherwise mapped anew in every operation, and the kernel zeroes each page; and
    a pass over one needs the addresses of more pages than a processor remembers.  Threads that start later, and this
    one after an allocation has failed, share the same heap: one of their own would have no room for a feature map.
    Threads that have allocated before keep theirs.  Where the process has a limit of its addresses, no huge pages are
    asked for: they would take 2 GB of them, used or not.

    Returns:
        Whether freed memory is kept; other C libraries go on as they are, kernels without huge pages have small ones.
    """
    try:
        c = ctypes.CDLL(None)
        mallopt, malloc = c.mallopt, c.malloc
    except (OSError, AttributeError, TypeError):
        return False
    # No trimming at all: the heap's end is address space that has not been touched.
    kept = all(mallopt(name, value) for name, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1)))
    if _has_address_limit():
        return kept
    malloc.restype = c.sbrk.restype = ctypes.c_void_p
    mallopt(_M_TOP_PAD, _RESERVED)
    start = malloc(ctypes.c_size_t(_GROWTH))
    mallopt(_M_TOP_PAD, _GROWTH)
    if start is not None:
        first = start // _HUGE_PAGE * _HUGE_PAGE + _HUGE_PAGE
        length = c.sbrk(ctypes.c_ssize_t(0)) - first
        if length > 0:
            c.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _MADV_HUGEPAGE)
        c.free(ctypes.c_void_p(start))
    return kept


def _has_address_limit() -> bool:
    if sys.platform == "win32":
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def is_out_of_memory(failure: BaseException) -> bool:
    """Whether an exception, or the one that it followed, says that no memory is left."""
    if failure.__context__ is not None and is_out_of_memory(failure.__context__):
        return True
    if isinstance(failure, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(failure, RuntimeError) and any(said in str(failure) for said in _NO_MEMORY)
