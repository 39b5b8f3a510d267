"""Signals that ask a process to stop, as a flag: an exception out of a handler can be lost, or break a write in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: A scheduler's notice, some time before it ends the process.
NOTICE = signal.SIGUSR1
#: Ctrl-C, a scheduler's or container's request, a closed terminal, and the notice.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, NOTICE)


class StopFlag:
    """A request to stop.

    Attributes:
        signal: Signal that asked first, or the first one after a notice; None before.
    """

    signal: signal.Signals | None = None

    @property
    def status(self) -> int:
        """Exit status by the shell's convention: 130 after Ctrl-C."""
        return 0 if self.signal is None else 128 + self.signal


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """Sets a flag when a signal asks this process to stop, while the context lasts.

    A second Ctrl-C ends the process at once, for whoever cannot wait.  A signal that is ignored stays so, as SIGHUP
    under ``nohup``.  Outside the main thread, the flag is never set.
    """
    flag = StopFlag()

    def stop(number: int, frame: FrameType | None) -> None:
        if flag.signal in (None, NOTICE):
            flag.signal = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    numbers = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
