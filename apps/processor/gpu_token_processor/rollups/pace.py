"""Work in the background that leaves most of the processor's time to others."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

# A few milliseconds of work: so long another thread may have to wait.
_EVENTS = 250


class Halted(Exception):
    """The processor stops; the work is done again later."""


class Pace:
    """Lets this thread use no more than a share of one core. A share of 1 does not hold it up."""

    def __init__(self, share: float, stop: threading.Event | None = None) -> None:
        self._idle_per_busy = 1 / share - 1
        self._stop = stop or threading.Event()

    def through(self, events: Iterable[T], at_times: Callable[[], None]) -> Iterator[T]:
        """The same events; `at_times` is called every few hundred. Raises Halted."""
        used_seconds = time.thread_time()
        for number, event in enumerate(events):
            yield event
            if number % _EVENTS == 0:
                at_times()
                self._rest(time.thread_time() - used_seconds)
                used_seconds = time.thread_time()

    @contextmanager
    def work(self) -> Iterator[None]:
        """Work that is done at once; the rest is taken afterwards. Raises Halted."""
        used_seconds = time.thread_time()
        yield
        self._rest(time.thread_time() - used_seconds)

    def _rest(self, busy_seconds: float) -> None:
        if self._stop.wait(busy_seconds * self._idle_per_busy):
            raise Halted
