"""Tells a receiver by HTTP."""

import asyncio
import logging

import httpx
from gpu_token_contracts.login import read_secret

from gpu_token_processor.settings import SettingsError

# For the whole of an attempt; a client's own limits are for each piece.
_SECONDS = 20.0
_VARIABLE = "BUDGET_WEBHOOK_URL_FILE"

# They name the address, which may hold a token.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class WebhookError(Exception):
    """The receiver did not take it. The message says why, and does not name its address."""


def read_webhook_url(path: str) -> str:
    """The address in a file. Raises SettingsError, which does not name it."""
    url = read_secret(_VARIABLE, path, "the address of a webhook")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SettingsError(
            f"{_VARIABLE} is {path!r}, which holds no address: "
            "give it one line that begins with https:// or http:// and names a host."
        )
    return url


class Webhook:
    """Used by one thread."""

    def __init__(self, url: str) -> None:
        self._url = url

    def post(self, body: str, key: str) -> None:
        """Send JSON, with the same `key` at each attempt. Raises WebhookError unless the answer is 2xx."""
        try:
            status = asyncio.run(self._post(body, key))
        except TimeoutError:
            raise WebhookError(f"no answer within {_SECONDS:g} s") from None
        except (httpx.HTTPError, OSError) as error:
            raise WebhookError(type(error).__name__) from None
        if not 200 <= status < 300:
            raise WebhookError(f"status {status}")

    async def _post(self, body: str, key: str) -> int:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        async with (
            asyncio.timeout(_SECONDS),
            httpx.AsyncClient(timeout=None, follow_redirects=False, trust_env=False) as client,
            # What it says beside the status is not read.
            client.stream("POST", self._url, content=body, headers=headers) as response,
        ):
            return response.status_code
