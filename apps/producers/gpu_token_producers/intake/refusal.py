"""Why a request is not taken."""

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """One answer other than success.

    `outcome` labels the metrics, `detail` is a sentence with the remedy. `retry_after_seconds` tells the
    sender to repeat the request. `body_read` says that nothing of the request is left on the connection.
    """

    def __init__(
        self,
        status: int,
        outcome: str,
        detail: str,
        *,
        retry_after_seconds: int | None = None,
        headers: Mapping[str, str] | None = None,
        body_read: bool = False,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.outcome = outcome
        self.detail = detail
        self.headers = dict(headers or {})
        if retry_after_seconds is not None:
            self.headers["Retry-After"] = str(retry_after_seconds)
        self.body_read = body_read
        # Further members of the problem, beside RFC 9457's own.
        self.members = dict(members or {})
