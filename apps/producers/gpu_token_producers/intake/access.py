"""Access: a bearer token, compared in constant time."""

import hmac

from starlette.requests import Request

from gpu_token_producers.intake.refusal import Refusal


class Access:
    """Whoever has the token may send."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def check(self, request: Request) -> None:
        """Raises Refusal 401 without the token."""
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        sent = credentials.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
        if hmac.compare_digest(sent, self._token):
            return
        why, challenge = ("a wrong token", 'Bearer error="invalid_token"') if sent else ("no token", "Bearer")
        raise Refusal(
            401,
            "unauthorized",
            f"The request has {why}: send Authorization: Bearer <token>.",
            headers={"WWW-Authenticate": challenge},
        )
