"""Access: every path needs a bearer token, unless it is open to everybody."""

import hmac
import logging
import re

from fastapi import Request
from gpu_token_contracts.login import read_secret
from starlette.types import ASGIApp, Receive, Scope, Send

from gpu_token_processor.api import problems
from gpu_token_processor.api.models import Problem
from gpu_token_processor.settings import Settings, SettingsError

log = logging.getLogger(__name__)

# The page contains no data: it asks for the token and uses it to fetch the data.
OPEN_PATHS = frozenset({"/", "/health", "/health/live", "/health/ready", "/metrics"})

# RFC 6750's alphabet, so that it fits the header; shorter ones could be guessed.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{20,512}=*")


def read_token(settings: Settings) -> str | None:
    """The token that must be sent; None where access is open."""
    if settings.api_access == "open":
        return None
    if settings.api_token_file is None:
        raise SettingsError(
            "API_TOKEN_FILE is not set: give the path of a file that holds the API's token, "
            "or set API_ACCESS to open to let everybody ask."
        )
    token = read_secret("API_TOKEN_FILE", settings.api_token_file, "the API's token")
    if not _TOKEN.fullmatch(token):
        raise SettingsError(
            f"API_TOKEN_FILE is {settings.api_token_file!r}, which holds no usable token: "
            "give it one line of 20 to 512 letters and digits."
        )
    return token


class Access:
    """ASGI middleware; a path that is not listed as open needs the token, whether it exists or not."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        sent = credentials.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
        if hmac.compare_digest(sent, self._token):
            await self._app(scope, receive, send)
            return
        why, challenge = ("a wrong token", 'Bearer error="invalid_token"') if sent else ("no token", "Bearer")
        log.warning("refused %s %r from %s: %s", scope["method"], scope["path"], problems.client(scope), why)
        problem = Problem(
            title="Unauthorized",
            status=401,
            detail=f"The request has {why}: send Authorization: Bearer <token>.",
        )
        await problems.response(problem, {"WWW-Authenticate": challenge})(scope, receive, send)
