"""Caches answers for a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

_MAX_ENTRIES = 256


class Cache:
    """Keeps each answer for `seconds`, or for as long as it took, if that was longer.

    So a dashboard that asks for much leaves the store at least half of its time. Concurrent askers
    of one key wait for one computation. Used by one event loop.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._entries: dict[Hashable, _Entry] = {}

    async def get(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        """The cached answer, or a new one from `compute`. Errors are not cached."""
        entry = self._entries.get(key)
        if entry is None or entry.expires <= self._now():
            self._evict()
            entry = self._entries[key] = _Entry()
            entry.running = asyncio.ensure_future(self._compute(key, entry, compute))
            # Whoever asked may have gone meanwhile, and then nobody looks at an error.
            entry.running.add_done_callback(lambda done: done.cancelled() or done.exception())
        if entry.running is not None:
            # Shielded: whoever gives up waiting must not end it for the others.
            await asyncio.shield(entry.running)
        value: T = entry.value
        return value

    async def _compute(self, key: Hashable, entry: "_Entry", compute: Callable[[], Awaitable[Any]]) -> None:
        started = self._now()
        try:
            entry.value = await compute()
        except BaseException:
            if self._entries.get(key) is entry:
                del self._entries[key]
            raise
        done = self._now()
        entry.expires = done + max(self._seconds, done - started)
        entry.running = None

    def _evict(self) -> None:
        now = self._now()
        for key in [key for key, entry in self._entries.items() if entry.expires <= now]:
            del self._entries[key]
        while len(self._entries) >= _MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]


class _Entry:
    def __init__(self) -> None:
        # Not before it has been computed.
        self.expires = float("inf")
        self.running: asyncio.Future[None] | None = None
        self.value: Any = None
