"""Orderly stop on SIGTERM and SIGINT."""

import signal
import time
from types import FrameType


class StopRequest:
    """True once a signal asked the process to stop."""

    def __init__(self) -> None:
        self.requested = False
        # When, by time.monotonic().
        self.since: float | None = None

    def listen(self) -> None:
        """Take over SIGTERM and SIGINT."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        self.since = self.since or time.monotonic()
