"""Keeping memory in the process, so that a step does not fetch it from the kernel again page by page."""

from __future__ import annotations

import ctypes

#: Parameters of glibc's ``mallopt`` (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Makes glibc keep what is freed for the next allocation, for the rest of the process.

    Feature maps of tens of megabytes are otherwise mapped anew in every operation, and the kernel zeroes each page.

    Returns:
        Whether it took effect; other C libraries go on as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**26))
    return all(mallopt(name, value) for name, value in settings)
