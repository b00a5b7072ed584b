"""Access: every path needs a bearer token, unless it is open to everybody."""

import hmac
import logging

from gpu_token_contracts import login
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gpu_token_processor.api import problems
from gpu_token_processor.api.models import Problem
from gpu_token_processor.api.page import PAGE_PATH
from gpu_token_processor.settings import Settings, SettingsError

log = logging.getLogger(__name__)

# The page contains no data: it asks for the token and uses it to fetch the data.
OPEN_PATHS = frozenset({"/", "/health", "/health/live", "/health/ready", "/metrics"})


def read_token(settings: Settings) -> str | None:
    """The token that must be sent; None where access is open."""
    if settings.api_access == "open":
        return None
    if settings.api_token_file is None:
        raise SettingsError(
            "API_TOKEN_FILE is not set: give the path of a file that holds the API's token, "
            "or set API_ACCESS to open to let everybody ask."
        )
    return login.read_token("API_TOKEN_FILE", settings.api_token_file, "the API's token")


def sent_token(scope: Scope) -> bytes:
    """The token that a request brings; empty if it brings none."""
    scheme, _, credentials = Headers(scope=scope).get("authorization", "").partition(" ")
    return credentials.strip().encode("latin-1") if scheme.lower() == "bearer" else b""


def is_open(path: str) -> bool:
    """Whether everybody may ask for it."""
    return path in OPEN_PATHS or path.startswith(PAGE_PATH)


def may_ask(scope: Scope, token: str | None) -> bool:
    """Whether the request brings the token, or none is needed."""
    return token is None or hmac.compare_digest(sent_token(scope), token.encode())


class Access:
    """ASGI middleware; a path that is not listed as open needs the token, whether it exists or not."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] != "http" or is_open(scope["path"]) or may_ask(scope, self._token):
            await self._app(scope, receive, send)
            return
        why, challenge = "no token", "Bearer"
        if sent_token(scope):
            why, challenge = "a wrong token", 'Bearer error="invalid_token"'
        log.warning("refused %s %r from %s: %s", scope["method"], scope["path"], problems.client(scope), why)
        problem = Problem(
            title="Unauthorized",
            status=401,
            detail=f"The request has {why}: send Authorization: Bearer <token>.",
        )
        await problems.response(problem, {"WWW-Authenticate": challenge})(scope, receive, send)
