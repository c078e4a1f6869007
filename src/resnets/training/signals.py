"""SIGTERM and Ctrl-C: the first asks a run to save and stop, the second ends the process at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop(Exception):
    """A signal has come."""


class Signals:
    """Remembers the first signal while `caught`; `check` raises Stop from then on."""

    def __init__(self) -> None:
        self.number: int | None = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            os._exit(128 + number)
        self.number = number

    def check(self, *_: object) -> None:
        """Raise Stop once a signal has come."""
        if self.number is not None:
            raise Stop

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handle both signals inside; only the main thread can, elsewhere nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
