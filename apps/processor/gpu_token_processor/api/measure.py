"""Counts and times requests by route."""

import time
from typing import Any

from prometheus_client import Histogram
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The media type of answers without end.
EVENT_STREAM = "text/event-stream"
# One label for all paths without a route, so that a scanner cannot fill the metrics.
_UNKNOWN_ROUTE = "unknown"


class Measure:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, seconds: Histogram) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and observe its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        seconds: float | None = None

        async def watch(message: Message) -> None:
            nonlocal status, seconds
            if message["type"] == "http.response.start":
                status = message["status"]
                if Headers(raw=message["headers"]).get("content-type", "").startswith(EVENT_STREAM):
                    # What comes after is no answer that somebody waits for.
                    seconds = time.perf_counter() - started
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            if seconds is None:
                seconds = time.perf_counter() - started
            route: Any = scope.get("route")
            path = getattr(route, "path", _UNKNOWN_ROUTE)
            self._seconds.labels(path, str(status)).observe(seconds)
