"""CUDA graphs: work of a GPU that is recorded once and then started as a whole.

Source: ``torch.cuda.CUDAGraph``.  A supernet's step is thousands of kernels of a few microseconds, less than it takes
to start them one by one.  A graph starts them at once, in the same order, with the same addresses.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch


class Graph:
    """A step that runs as it is a few times, is then captured, and is replayed from there on.

    Every call does the step's work once.  The step must ask the host for nothing, and read and write at the same
    addresses in every call.

    Args:
        device: The GPU on which it runs.
    """

    #: Calls before the capture, in which libraries choose their kernels and optimizers make their state.
    WARM_UP = 3

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._n_calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, step: Callable[[], None]) -> None:
        """Does the step's work, which is the same in every call."""
        if self._graph is None and self._n_calls == self.WARM_UP:
            self._capture(step)
        if self._graph is not None:
            self._graph.replay()
            return
        self._n_calls += 1
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*capturable=True")  # these steps come before the capture
            step()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def _capture(self, step: Callable[[], None]) -> None:
        """Records the step, without running it."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            step()
        self._graph = graph
