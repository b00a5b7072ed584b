"""Limits: bytes of a request, requests from one address, requests at the same time."""

import logging
import math
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gpu_token_processor.api import problems
from gpu_token_processor.api.models import Problem

log = logging.getLogger(__name__)

# Request line and headers. A request with all parameters takes a quarter of this.
HEAD_BYTES = 8_192
# How many requests may come at once: a dashboard sends five at the same moment.
_BURST_SECONDS = 5
_MAX_AT_ONCE = 100
_MAX_ADDRESSES = 10_000
_NOTE_SECONDS = 10


class RateLimit:
    """A token bucket for each address, stored as the moment at which it would be full again."""

    def __init__(self, requests_per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self._interval_seconds = 1 / requests_per_second
        self._now = now
        self._full_at: dict[str, float] = {}

    def wait_seconds(self, address: str) -> float:
        """Count a request and return 0 if it may pass; otherwise return the seconds until one may."""
        now = self._now()
        full_at = max(self._full_at.pop(address, now), now) + self._interval_seconds
        wait = full_at - now - _BURST_SECONDS
        if wait > 0:
            self._full_at[address] = full_at - self._interval_seconds
            return wait
        # Moved to the end, so that the first address is the one that was silent for longest.
        self._full_at[address] = full_at
        if len(self._full_at) > _MAX_ADDRESSES:
            del self._full_at[next(iter(self._full_at))]
        return 0


class Limits:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, requests_per_second: float) -> None:
        self._app = app
        self._rate = RateLimit(requests_per_second)
        self._noted_at = float("-inf")
        self._at_once = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 413, 429, 431 or 503."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
            problem = Problem(
                title="Content Too Large", status=413, detail="No request takes a body: send none."
            )
            await problems.response(problem)(scope, receive, send)
        elif _head_bytes(scope) > HEAD_BYTES:
            detail = f"Path, query and headers may have {HEAD_BYTES} bytes together: send fewer."
            problem = Problem(title="Request Header Fields Too Large", status=431, detail=detail)
            await problems.response(problem)(scope, receive, send)
        elif wait := self._rate.wait_seconds(address := problems.client(scope)):
            self._note(address)
            detail = "This address asks too often: wait as long as Retry-After says."
            problem = Problem(title="Too Many Requests", status=429, detail=detail)
            await problems.response(problem, {"Retry-After": str(math.ceil(wait))})(scope, receive, send)
        # Health checks are quick, and must be answered even then.
        elif self._at_once >= _MAX_AT_ONCE and not scope["path"].startswith("/health"):
            detail = f"{_MAX_AT_ONCE} requests are being answered already: try again."
            problem = Problem(title="Too many requests at once", status=503, detail=detail)
            await problems.response(problem, {"Retry-After": "1"})(scope, receive, send)
        else:
            self._at_once += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._at_once -= 1

    def _note(self, address: str) -> None:
        # The metrics count every refusal; a flood must not fill the log too.
        now = time.monotonic()
        if now - self._noted_at >= _NOTE_SECONDS:
            self._noted_at = now
            log.warning("refused a request from %s: more than it may ask", address)


def _head_bytes(scope: Scope) -> int:
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    return len(scope["path"]) + len(scope["query_string"]) + headers
