"""The number of CPU threads, also in a process that was forked.

Threads do not survive a fork.  A process that forks after it has computed with several leaves its child an OpenMP pool
without threads, and the child's first parallel loop would never end.  Such a child computes with one thread.
"""

from __future__ import annotations

import logging
import os

import torch

logger = logging.getLogger("nasbohb.search")

_threads_before_fork = 1
_forked_from_threads = False


def use_threads(n: int | None) -> None:
    """Sets the number of threads with which PyTorch and the native kernels compute.

    Args:
        n: Number of threads; None leaves PyTorch's choice.  A process that was forked from one with several
            threads takes 1, with a warning.
    """
    if _forked_from_threads and n != 1:
        logger.warning(
            "this process was forked from one that computes with several threads, so it computes with 1; start "
            "processes with the method 'spawn' for more, or search with threads=1"
        )
        n = 1
    if n is not None:
        torch.set_num_threads(n)


def _before_fork() -> None:
    global _threads_before_fork
    _threads_before_fork = torch.get_num_threads()


def _in_child() -> None:
    global _forked_from_threads
    _forked_from_threads = _forked_from_threads or _threads_before_fork > 1


os.register_at_fork(before=_before_fork, after_in_child=_in_child)


def visible_gpus() -> list[str]:
    """Names the GPUs that this process sees, with their memory."""
    properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [f"{index}: {gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for index, gpu in enumerate(properties)]
