"""Server-sent events: they tell viewers that there is something new, not what."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Hashable

import anyio.to_thread
import pymongo
from fastapi import APIRouter, HTTPException
from fastapi.responses import StreamingResponse
from pymongo.errors import PyMongoError

from gpu_token_processor.api.deadlines import STORE_SECONDS
from gpu_token_processor.api.measure import EVENT_STREAM
from gpu_token_processor.store.failures import brief

log = logging.getLogger(__name__)

EVENTS_PATH = "/events"
_UPDATE = "event: update\ndata: new\n\n"
# A comment, so that neither side takes the other for gone.
_HEARTBEAT = ": still here\n\n"
# Half of the connections that one address may have: behind one proxy, the others are for questions.
_MAX_VIEWERS = 50


class Changes:
    """Looks at the store for all viewers at once, and only while there are some. Used by one event loop."""

    def __init__(
        self, look: Callable[[], Hashable], look_seconds: float = 2.0, heartbeat_seconds: float = 15.0
    ) -> None:
        """`look`: answers otherwise once something has been stored; may raise pymongo's errors."""
        self._look = look
        self._look_seconds = look_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._viewers: set[asyncio.Event] = set()
        self._watch: asyncio.Task[None] | None = None
        # What was last seen; None: nothing yet.
        self._seen: Hashable = None
        self._has_ended = False

    @property
    def viewers(self) -> int:
        """How many there are."""
        return len(self._viewers)

    def end(self) -> None:
        """End every stream."""
        self._has_ended = True
        self._tell()

    async def stream(self) -> AsyncIterator[str]:
        """An update at the beginning, and after each look that has found something new.

        One who does not read misses some, and nobody waits for him.
        """
        news = asyncio.Event()
        self._viewers.add(news)
        if self._watch is None:
            self._watch = asyncio.create_task(self._look_again_and_again())
        elif self._seen is not None:
            news.set()
        try:
            while not self._has_ended:
                try:
                    async with asyncio.timeout(self._heartbeat_seconds):
                        await news.wait()
                except TimeoutError:
                    yield _HEARTBEAT
                    continue
                news.clear()
                if not self._has_ended:
                    yield _UPDATE
        finally:
            self._viewers.discard(news)
            if not self._viewers and self._watch is not None:
                self._watch.cancel()
                self._watch = self._seen = None

    async def _look_again_and_again(self) -> None:
        failing = False
        while True:
            try:
                found = await anyio.to_thread.run_sync(self._look_in_time)
                failing = False
            except PyMongoError as error:
                if not failing:
                    log.warning("viewers are told nothing: %s", brief(error))
                failing = True
            else:
                if found != self._seen:
                    self._seen = found
                    self._tell()
            await asyncio.sleep(self._look_seconds)

    def _look_in_time(self) -> Hashable:
        with pymongo.timeout(STORE_SECONDS):
            return self._look()

    def _tell(self) -> None:
        for news in self._viewers:
            news.set()


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = EVENT_STREAM


def event_routes(changes: Changes) -> APIRouter:
    """The one route."""
    router = APIRouter(tags=["data"])

    @router.get(EVENTS_PATH, response_class=EventStream)
    async def events() -> EventStream:
        """Server-sent events without end: `update` when something has been stored or declared.

        At most one every two seconds, and the first one at once. A comment every 15 seconds.
        """
        if changes.viewers >= _MAX_VIEWERS:
            detail = (
                f"{_MAX_VIEWERS} viewers are being told of changes already: ask every 10 seconds instead."
            )
            raise HTTPException(503, detail, {"Retry-After": "10"})
        return EventStream(changes.stream())

    return router
