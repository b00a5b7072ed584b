"""Puts the classes of tokens of the same requests together in one event."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from gpu_token_contracts import TokenUsage, bounds, moment

from gpu_token_producers.ids import digest
from gpu_token_producers.intake.events import fit, usage_event
from gpu_token_producers.intake.otlp_counters import Growth
from gpu_token_producers.intake.otlp_points import Attributes, Class, Point
from gpu_token_producers.sources.labels import Labels

# Present and former names, the present ones first.
_PROVIDER = ("gen_ai.provider.name", "gen_ai.system")
_MODEL = ("gen_ai.request.model", "gen_ai.response.model")
_TAGS = {"provider": _PROVIDER, "operation": ("gen_ai.operation.name",)}

Grown = tuple[Point, Growth]


def group_events(
    grown: Iterable[Grown], labels: Labels, ignored: Counter[str]
) -> tuple[list[TokenUsage], list[str]]:
    """An event for each group of counts that end together, and a sentence for each that is refused."""
    groups: dict[tuple[str, int], list[Grown]] = {}
    for one in grown:
        groups.setdefault((one[0].group, one[0].time_ns), []).append(one)
    events: list[TokenUsage] = []
    refused: list[str] = []
    for (group, time_ns), parts in groups.items():
        if not any(growth.tokens for _, growth in parts):
            ignored["no_tokens"] += 1
            continue
        try:
            events.append(_event(group, time_ns, parts, labels))
        except ValueError as error:
            refused.append(str(error))
    return events, refused


def _event(group: str, time_ns: int, parts: list[Grown], labels: Labels) -> TokenUsage:
    attributes = parts[0][0].attributes
    tokens: dict[Class, int] = {}
    for point, growth in parts:
        tokens[point.of] = tokens.get(point.of, 0) + growth.tokens
    prompt, completion = tokens.get("input", 0), tokens.get("output", 0)
    cached, reasoning = tokens.get("cache_read"), tokens.get("reasoning")
    starts = sorted((growth.from_ns, point.of) for point, growth in parts)
    resets = sum(1 for _, growth in parts if growth.reset)
    fields: dict[str, Any] = {
        "ts": _time(time_ns),
        "interval_seconds": _interval_seconds(starts[0][0], time_ns),
        "model": _first(attributes, _MODEL),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        # More than the whole is no part of it: not known.
        "cached_prompt_tokens": cached if cached is not None and cached <= prompt else None,
        "reasoning_tokens": reasoning if reasoning is not None and reasoning <= completion else None,
        # Each request is in both counts, or in one. A counter of tokens does not say how many there were.
        "requests": max((growth.requests or 0 for _, growth in parts), default=0),
        "counter_resets": 1 if resets else None,
        "host": fit(attributes.get("host.name")),
        "endpoint": _endpoint(attributes),
        "workload": fit(attributes.get("service.name")),
        "tags": {tag: value for tag, names in _TAGS.items() if (value := _first(attributes, names))},
        "measured_by": "gateway",
    }
    return usage_event("otlp", f"{group}:{digest(starts, time_ns)}", fields, labels)


def _time(time_ns: int) -> datetime:
    try:
        return moment(time_ns // 1000)
    except OverflowError:
        raise ValueError("A count has a time that no calendar has.") from None


def _interval_seconds(from_ns: int, time_ns: int) -> float | None:
    """None for a count without a beginning. One that is too long for an event is cut, so that it counts."""
    seconds = (time_ns - from_ns) / 1e9
    return min(seconds, bounds.MAX_INTERVAL_SECONDS) if from_ns and seconds > 0 else None


def _endpoint(attributes: Attributes) -> str | None:
    address, port = attributes.get("server.address"), attributes.get("server.port")
    return fit(f"{address}:{port}" if address and port else address)


def _first(attributes: Attributes, names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := fit(attributes.get(name)))), None)
