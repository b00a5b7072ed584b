"""Try again until it works or the processor stops."""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


class Stopped(Exception):
    """The processor stops; unfinished work will be read again."""


class Retrier:
    """Waits longer after each failure, up to a limit, and knows since when it has been failing."""

    def __init__(
        self,
        stop: threading.Event,
        transient: tuple[type[Exception], ...],
        on_failure: Callable[[Exception], None] = lambda _: None,
        first_wait_seconds: float = 0.1,
        longest_wait_seconds: float = 5.0,
    ) -> None:
        self._stop = stop
        self._transient = transient
        self._on_failure = on_failure
        self._first_wait_seconds = first_wait_seconds
        self._longest_wait_seconds = longest_wait_seconds
        # Monotonic seconds of the first failure in the present series, and the latest failure.
        self.failing_since: float | None = None
        self.failure: str | None = None

    def call(self, work: Callable[[], T]) -> T:
        """What `work` returns; raises Stopped, or what is not transient."""
        wait_seconds = self._first_wait_seconds
        while True:
            try:
                result = work()
            except self._transient as error:
                self._failed(error)
            else:
                self._recovered()
                return result
            # Jitter, so that several processors do not return to a store all at once.
            if self._stop.wait(wait_seconds * random.uniform(0.5, 1.0)):
                raise Stopped
            wait_seconds = min(wait_seconds * 2, self._longest_wait_seconds)

    def _failed(self, error: Exception) -> None:
        if self.failing_since is None:
            self.failing_since = time.monotonic()
            log.warning("will be tried again until it works: %s", error)
        self.failure = str(error)
        self._on_failure(error)

    def _recovered(self) -> None:
        if self.failing_since is not None:
            log.info("works again after %.1f s", time.monotonic() - self.failing_since)
            self.failing_since = None
            self.failure = None
