"""CUDA graphs: work of a GPU that is recorded once and then started as a whole.

Source: ``torch.cuda.CUDAGraph``.  A supernet's step is thousands of kernels of a few microseconds, less than it takes to
start them one by one; a graph starts them at once, in the same order, with the same addresses.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


class Graph:
    """A step that runs as it is a few times, is then captured, and is replayed from there on.

    Every call does the step's work once.  The step must ask the host for nothing, and read and write at the same
    addresses in every call.

    Args:
        step: The step.
        device: The GPU on which it runs.
    """

    #: Calls before the capture, in which libraries choose their kernels and optimizers make their state.
    WARM_UP = 3

    def __init__(self, step: Callable[[], None], device: torch.device) -> None:
        self._step = step
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._n_calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self._graph is None and self._n_calls == self.WARM_UP:
            self._capture()
        if self._graph is not None:
            self._graph.replay()
            return
        self._n_calls += 1
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            self._step()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def _capture(self) -> None:
        """Records the step, without running it."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._step()
        self._graph = graph
