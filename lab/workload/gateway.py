"""Reports each request to the intake, as LiteLLM's callback for any HTTP endpoint does."""

from __future__ import annotations

import hashlib
import http.client
import json
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

_BATCH = 200
# What waits here while the intake is away. A real gateway has a bound too.
_MOST_WAITING = 50_000


def record(
    *,
    model: str,
    team: str,
    api_base: str,
    prompt: int,
    cached: int,
    completion: int,
    ended: float,
    seconds: float,
) -> dict[str, Any]:
    """One request in the shape of LiteLLM's standard logging payload, text of prompt and answer included."""
    number = uuid.uuid4().hex
    return {
        "id": f"chatcmpl-{number}",
        "trace_id": number,
        "call_type": "acompletion",
        "status": "success",
        "model": model,
        "model_group": model,
        "custom_llm_provider": "hosted_vllm",
        "api_base": f"{api_base}/v1",
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "startTime": ended - seconds,
        "endTime": ended,
        "response_time": seconds,
        "cache_hit": None,
        "request_tags": ["lab"],
        "end_user": "",
        "metadata": {
            "user_api_key_hash": hashlib.sha256(team.encode()).hexdigest(),
            "user_api_key_team_id": f"team-{team}",
            "user_api_key_team_alias": team,
            "usage_object": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
                "prompt_tokens_details": {"cached_tokens": cached},
            },
        },
        "messages": [{"role": "user", "content": "an invented question"}],
        "response": {"choices": [{"message": {"role": "assistant", "content": "an invented answer"}}]},
    }


class Gateway:
    """Keeps each record until the intake has confirmed it."""

    def __init__(self, find_intake: Callable[[], tuple[str, str] | None]) -> None:
        """`find_intake` gives its address and token, once there are both."""
        self._find_intake = find_intake
        self._intake: tuple[str, str] | None = None
        self._waiting: list[dict[str, Any]] = []

    def add(self, record: dict[str, Any]) -> None:
        """Take a record."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(record)

    @property
    def waiting(self) -> int:
        """How many records are not confirmed."""
        return len(self._waiting)

    def flush(self) -> list[dict[str, Any]]:
        """Send what waits, keep what is not confirmed, and return what is."""
        confirmed: list[dict[str, Any]] = []
        while self._waiting:
            self._intake = self._intake or self._find_intake()
            if self._intake is None:
                break
            batch = self._waiting[:_BATCH]
            try:
                _send(*self._intake, batch)
            except (OSError, http.client.HTTPException) as error:
                reason = error.read(300).decode() if isinstance(error, urllib.error.HTTPError) else str(error)
                said = f"{time.strftime('%H:%M:%S')} the intake does not confirm: {reason}"
                print(said, file=sys.stderr, flush=True)
                # The machine may have been replaced, the token changed.
                self._intake = None
                break
            del self._waiting[: len(batch)]
            confirmed += batch
        return confirmed


def _send(url: str, token: str, batch: list[dict[str, Any]]) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(batch).encode(), headers), timeout=15):
        pass
