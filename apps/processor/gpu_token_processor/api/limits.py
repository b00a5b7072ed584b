"""Limits: bytes of a request, requests from one client, requests at the same time."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from gpu_token_contracts.connections import one_client
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gpu_token_processor.api import problems
from gpu_token_processor.api.access import may_ask
from gpu_token_processor.api.events import EVENTS_PATH
from gpu_token_processor.api.models import Problem

log = logging.getLogger(__name__)

# Request line and headers. A request with all parameters takes a quarter of this.
HEAD_BYTES = 8_192
# How many requests may come at once: a page sends five at the same moment, and many pages may be opened.
_BURST_SECONDS = 5
_MAX_AT_ONCE = 100
# Quick, and needed just when there is too much to do; or without an end, with a limit of its own.
_NOT_COUNTED = ("/health", "/metrics", EVENTS_PATH)
_MAX_ADDRESSES = 10_000
_NOTE_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Requests a second that one address may send.

    Two buckets, so that who may not ask cannot use up what is for those who may.
    """

    may_ask: float
    strangers: float


class RateLimit:
    """A token bucket for each client, stored as the moment at which it would be full again."""

    def __init__(self, requests_per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self._interval_seconds = 1 / requests_per_second
        self._now = now
        self._full_at: dict[str, float] = {}

    def wait_seconds(self, client: str) -> float:
        """Count a request and return 0 if it may pass; otherwise return the seconds until one may."""
        now = self._now()
        full_at = max(self._full_at.pop(client, now), now) + self._interval_seconds
        wait = full_at - now - _BURST_SECONDS
        if wait > 0:
            self._full_at[client] = full_at - self._interval_seconds
            return wait
        # Moved to the end, so that the first client is the one that was silent for longest.
        self._full_at[client] = full_at
        if len(self._full_at) > _MAX_ADDRESSES:
            del self._full_at[next(iter(self._full_at))]
        return 0


class Limits:
    """ASGI middleware; `token` as for Access, None where no token is needed."""

    def __init__(self, app: ASGIApp, rates: Rates, token: str | None = None) -> None:
        self._app = app
        self._token = token
        self._rates = {True: RateLimit(rates.may_ask), False: RateLimit(rates.strangers)}
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
        elif wait := self._wait_seconds(scope):
            self._note(problems.client(scope))
            detail = "This address asks too often: wait as long as Retry-After says."
            problem = Problem(title="Too Many Requests", status=429, detail=detail)
            await problems.response(problem, {"Retry-After": str(math.ceil(wait))})(scope, receive, send)
        elif scope["path"].startswith(_NOT_COUNTED):
            await self._app(scope, receive, send)
        elif self._at_once >= _MAX_AT_ONCE:
            detail = f"{_MAX_AT_ONCE} requests are being answered already: try again."
            problem = Problem(title="Too many requests at once", status=503, detail=detail)
            await problems.response(problem, {"Retry-After": "1"})(scope, receive, send)
        else:
            self._at_once += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._at_once -= 1

    def _wait_seconds(self, scope: Scope) -> float:
        return self._rates[may_ask(scope, self._token)].wait_seconds(one_client(problems.client(scope)))

    def _note(self, address: str) -> None:
        # The metrics count every refusal; a flood must not fill the log too.
        now = time.monotonic()
        if now - self._noted_at >= _NOTE_SECONDS:
            self._noted_at = now
            log.warning("refused a request from %s: more than it may ask", address)


def _head_bytes(scope: Scope) -> int:
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    return len(scope["path"]) + len(scope["query_string"]) + headers
