"""Worker processes that a person's Ctrl-C reaches through their parent alone."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class WorkerProcesses(ProcessPoolExecutor):
    """A pool whose processes ignore Ctrl-C, and which ends them when an exception leaves its ``with`` block.

    A terminal sends Ctrl-C to every process.  Without this, each one would print a traceback, and the pool would wait
    for the work of those that go on.  The processes are spawned: a fork of a process with threads may hang.

    Args:
        n_processes: Number of processes.
        initializer: Function that each process calls first.
        initargs: Arguments of that function.
    """

    def __init__(
        self, n_processes: int, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(n_processes, multiprocessing.get_context("spawn"), initializer, initargs)
        self._started: set[BaseProcess] = set()

    def submit(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Submits a call, see ``ProcessPoolExecutor.submit``; processes start here."""
        others = set(multiprocessing.active_children())
        # A process inherits the mask, so that it is deaf to Ctrl-C while it loads, too; this one hears it afterwards.
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            future = super().submit(function, *args, **kwargs)
            self._started |= set(multiprocessing.active_children()) - others
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        return future

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends the processes: at once after an exception, otherwise when all calls have returned."""
        if kind is not None:
            for process in self._started:
                process.terminate()
        super().__exit__(kind, error, traceback)
