"""Questions that may keep the store busy for seconds: few at once, so that nothing else waits for them."""

import asyncio
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio
import anyio.to_thread

from gpu_token_processor.api.cache import Cache

T = TypeVar("T")

# Long enough to serve many dashboards, short enough to count as current.
_CACHE_SECONDS = 1.0
# Each counts in a thread, and Python runs one thread at a time: with 40 that count, /health took 5 s.
_AT_ONCE = 4
# Those that wait included; less than all requests that are answered at once (limits.py).
_MAX_IN_HAND = 64
_WAIT_SECONDS = 10.0


class TooManyQuestionsError(Exception):
    """There is no room for another question now."""


class Questions:
    """Answers each in a thread, and equal ones at the same time with one answer. Used by one event loop."""

    def __init__(self, at_once: int = _AT_ONCE, wait_seconds: float = _WAIT_SECONDS) -> None:
        """`wait_seconds`: how long one may wait for its turn."""
        self._cache = Cache(_CACHE_SECONDS)
        self._wait_seconds = wait_seconds
        self._turns = asyncio.Semaphore(at_once)
        # The turns are the limit; by default these threads would be taken from all other requests.
        self._threads = anyio.CapacityLimiter(at_once)
        self._in_hand = 0

    async def ask(self, key: Hashable, work: Callable[[], T]) -> T:
        """The answer of `work`, or one to the same key that is new enough. Raises TooManyQuestionsError."""
        with self._room():
            return await self._cache.get(key, lambda: self._run(work))

    async def once(self, work: Callable[[], T]) -> T:
        """The answer of `work`, which nobody else asks for. Raises TooManyQuestionsError."""
        with self._room():
            return await self._run(work)

    @contextmanager
    def _room(self) -> Iterator[None]:
        if self._in_hand >= _MAX_IN_HAND:
            raise TooManyQuestionsError
        self._in_hand += 1
        try:
            yield
        finally:
            self._in_hand -= 1

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise TooManyQuestionsError from None
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._threads)
        finally:
            self._turns.release()
