"""SIGTERM and Ctrl-C: the first asks a run to save and stop, the second ends the process at once."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_HANDED_ON = 5.0  # seconds


class Stop(Exception):
    """A signal has come."""


class Signals:
    """Remembers the first signal while `caught`; `check` raises Stop from then on."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.came = 0.0
        # torchrun hands on a signal that each of its processes may have got already
        self.patience = _HANDED_ON if int(os.environ.get("WORLD_SIZE", "1")) > 1 else 0.0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            if time.monotonic() - self.came > self.patience:
                os._exit(128 + number)
            return
        self.came = time.monotonic()
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
