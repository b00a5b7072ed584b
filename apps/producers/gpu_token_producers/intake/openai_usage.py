"""`openai_usage`: what an application knows of its own requests, or the bodies that it got as answers."""

from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from gpu_token_producers.intake.entries import decode, entries
from gpu_token_producers.intake.events import usage_event
from gpu_token_producers.intake.keys import key_hash
from gpu_token_producers.intake.taken import Taken
from gpu_token_producers.intake.usage import Usage, tokens
from gpu_token_producers.sources.labels import Labels

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Request(Struct, frozen=True):
    """What is read of one object. All else, prompts and answers above all, is skipped while parsing."""

    id: str | int | None = None
    model: str | None = None
    usage: Usage | None = None
    # Anthropic's bodies are of type message; `object` is OpenAI's.
    type: str | None = None
    ts: str | int | float | None = None
    created: int | float | None = None
    created_at: int | float | None = None
    team: str | int | None = None
    tenant: str | int | None = None
    user: str | int | None = None
    api_key: str | None = None
    workload: str | int | None = None
    host: str | None = None
    endpoint: str | None = None
    deployment: str | None = None
    latency_ms: int | float | None = None
    tags: dict[str, str | int | float] | None = None


_decoder = msgspec.json.Decoder(_Request, strict=False)


def read_usage(body: bytes, labels: Labels, most: int) -> Taken:
    """The events of one body. Raises Refusal for a body that cannot be read at all."""
    taken = Taken()
    for index, entry in enumerate(entries(body, most)):
        try:
            _read(decode(entry, _decoder), labels, taken)
        except ValueError as error:
            taken.refused.append((index, str(error)))
    return taken


def _read(request: _Request, labels: Labels, taken: Taken) -> None:
    if request.usage is None:
        raise ValueError("Field usage is missing.")
    if request.id is None or request.id == "":
        raise ValueError(
            "Field id is missing: give each request an id of its own, so that it counts once if sent twice."
        )
    counted = tokens(request.usage, of_anthropic=request.type == "message")
    if counted.prompt == 0 and counted.completion == 0:
        taken.ignored["no_tokens"] += 1
        return
    fields = {
        "ts": _time(request),
        "model": request.model or None,
        "prompt_tokens": counted.prompt,
        "completion_tokens": counted.completion,
        "cached_prompt_tokens": counted.cached,
        "reasoning_tokens": counted.reasoning,
        "latency_ms": request.latency_ms,
        "host": request.host or None,
        "endpoint": request.endpoint or None,
        "deployment": request.deployment or None,
        "team": _text(request.team),
        "tenant": _text(request.tenant),
        "user": _text(request.user),
        "workload": _text(request.workload),
        "api_key_hash": key_hash(request.api_key) if request.api_key else None,
        "tags": {"usage_convention": counted.convention},
        "measured_by": "gateway",
    }
    sent_tags = {name: str(value) for name, value in (request.tags or {}).items()}
    taken.events.append(usage_event("usage", str(request.id), fields, labels, sent_tags=sent_tags))


def _text(value: str | int | None) -> str | None:
    """A number is as good a name as any."""
    return None if value is None or value == "" else str(value)


def _time(request: _Request) -> datetime:
    """When the request was made, in UTC."""
    for given in (request.ts, request.created, request.created_at):
        if isinstance(given, str):
            return _iso(given)
        if given is not None:
            return from_seconds(given)
    raise ValueError(
        "Field ts is missing, and so is created: give the time of the request, in seconds since 1970 or as "
        "2026-03-02T10:00:00Z. A body of Anthropic's has no time."
    )


def from_seconds(seconds: float) -> datetime:
    """A time in seconds since 1970. Raises ValueError for one that no calendar has."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError("A time is no number of seconds since 1970.") from None


def _iso(text: str) -> datetime:
    try:
        ts = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("Field ts is no time: write it as 2026-03-02T10:00:00Z.") from None
    if ts.tzinfo is None:
        raise ValueError("Field ts has no zone: write it as 2026-03-02T10:00:00Z.")
    return ts.astimezone(UTC)
