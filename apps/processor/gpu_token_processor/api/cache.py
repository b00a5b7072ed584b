"""Caches answers for a second."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

_MAX_ENTRIES = 256


class Cache:
    """Keeps each answer for `seconds`, or for as long as it took, if that was longer.

    So a dashboard that asks for much leaves the store at least half of its time. Concurrent askers
    of one key wait for one computation.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry] = {}

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The cached answer, or a new one from `compute`. Errors are not cached."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self._evict()
                entry = self._entries[key] = _Entry()
        with entry.lock:
            started = self._now()
            if started >= entry.expires:
                entry.value = compute()
                done = self._now()
                entry.expires = done + max(self._seconds, done - started)
            value: T = entry.value
            return value

    def _evict(self) -> None:
        now = self._now()
        for key in [key for key, entry in self._entries.items() if entry.expires <= now and entry.idle]:
            del self._entries[key]
        while len(self._entries) >= _MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]


class _Entry:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.expires = float("-inf")
        self.value: Any = None

    @property
    def idle(self) -> bool:
        return not self.lock.locked()
