"""Bytes to events and back.

Speed: a valid event is decoded once, straight into its Struct, and looked over without a call.
Only an event with unknown fields is decoded again to keep them, and only one that looks wrong, or
has fields that must agree with others, is checked rule by rule.
"""

from datetime import UTC, timedelta
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from gpu_token_contracts import bounds
from gpu_token_contracts.diagnosis import check_extras, check_metric, check_usage, explain
from gpu_token_contracts.errors import InvalidEvent, Reason
from gpu_token_contracts.events import SCHEMA_VERSION, Event, GpuMetric, TokenUsage
from gpu_token_contracts.timestamps import TimeBounds, format_ts

EventT = TypeVar("EventT", bound=Event)

DEFAULT_BOUNDS = TimeBounds()

# A name of the module is found sooner than one of another.
_MAX_BYTES = bounds.MAX_EVENT_BYTES

_UNKNOWN_FIELD = "Object contains unknown field"

_decode_raw = msgspec.json.Decoder(dict[str, Any]).decode
_decode_gpu_metric = msgspec.json.Decoder(GpuMetric).decode
_decode_token_usage = msgspec.json.Decoder(TokenUsage).decode
_encode = msgspec.json.Encoder().encode


def decode_gpu_metric(value: bytes | None, time_bounds: TimeBounds = DEFAULT_BOUNDS) -> GpuMetric:
    """The GPU metric in `value`; raises InvalidEvent and nothing else."""
    if value is None or len(value) > _MAX_BYTES:
        raise _no_event(value)
    try:
        metric = _decode_gpu_metric(value)
    except (ValueError, RecursionError) as error:
        metric = _keep_extras(GpuMetric, value, error)
    ts = metric.ts
    if (
        ts.tzinfo is not UTC
        or not time_bounds.earliest <= ts <= time_bounds.latest
        or metric.schema_version is not None
    ):
        _check_common(metric, time_bounds)
    used, total = metric.mem_used_mb, metric.mem_total_mb
    if metric.gpu_index is None or used is None or total is None or used > total:
        check_metric(metric)
    return metric


def decode_token_usage(value: bytes | None, time_bounds: TimeBounds = DEFAULT_BOUNDS) -> TokenUsage:
    """The token usage in `value`; raises InvalidEvent and nothing else."""
    if value is None or len(value) > _MAX_BYTES:
        raise _no_event(value)
    try:
        usage = _decode_token_usage(value)
    except (ValueError, RecursionError) as error:
        usage = _keep_extras(TokenUsage, value, error)
    ts = usage.ts
    if (
        ts.tzinfo is not UTC
        or not time_bounds.earliest <= ts <= time_bounds.latest
        or usage.schema_version is not None
    ):
        _check_common(usage, time_bounds)
    if usage.interval_seconds is not None:
        _check_interval(usage, usage.interval_seconds, time_bounds)
    cached, reasoning = usage.cached_prompt_tokens, usage.reasoning_tokens
    if (
        (cached is not None and cached > usage.prompt_tokens)
        or (reasoning is not None and reasoning > usage.completion_tokens)
        or usage.tags is not None
    ):
        check_usage(usage)
    return usage


def encode(event: Event) -> bytes:
    """The event as it goes over the wire: UTF-8 JSON, absent fields left out, extras last."""
    extras = event.extras
    if extras is None:
        return _encode(event)
    return _encode({**msgspec.to_builtins(event), **extras})


def _no_event(value: bytes | None) -> InvalidEvent:
    if value is None:
        return InvalidEvent(Reason.TOMBSTONE, "The value is null; events are never deleted by a tombstone.")
    return InvalidEvent(
        Reason.TOO_LARGE,
        f"The value has {len(value)} bytes; an event has at most {bounds.MAX_EVENT_BYTES}.",
    )


def _keep_extras(event_type: type[EventT], body: bytes, error: Exception) -> EventT:
    """Decode again without unknown fields, if they were all that was wrong."""
    if not str(error).startswith(_UNKNOWN_FIELD):
        raise explain(error, body) from error
    try:
        raw = _decode_raw(body)
        names = _field_names(event_type)
        extras = {name: raw.pop(name) for name in list(raw) if name not in names}
        event = msgspec.convert(raw, event_type)
    except (ValueError, RecursionError) as second_error:
        raise explain(second_error, body) from second_error
    check_extras(extras)
    event.__dict__["extras"] = extras
    return event


@lru_cache(maxsize=8)
def _field_names(event_type: type[Event]) -> frozenset[str]:
    return frozenset(event_type.__struct_encode_fields__)


def _check_common(event: Event, time_bounds: TimeBounds) -> None:
    ts = event.ts
    if ts.utcoffset():
        raise InvalidEvent(Reason.BAD_TIMESTAMP, f"Field ts is {ts.isoformat()}; it must be in UTC, with Z.")
    if not bounds.EARLIEST_TS <= ts <= time_bounds.latest:
        raise InvalidEvent(
            Reason.BAD_TIMESTAMP,
            f"Field ts is {format_ts(ts)}; accepted is "
            f"{format_ts(time_bounds.earliest)} to {format_ts(time_bounds.latest)}.",
        )
    if ts < time_bounds.earliest:
        raise _too_late(f"Field ts is {format_ts(ts)}", time_bounds)
    if event.schema_version is not None and event.schema_version != SCHEMA_VERSION:
        raise InvalidEvent(
            Reason.UNKNOWN_VERSION,
            f"Field schema_version is {event.schema_version}; this topic carries {SCHEMA_VERSION}.",
        )


def _check_interval(usage: TokenUsage, interval_seconds: float, time_bounds: TimeBounds) -> None:
    begins = usage.ts - timedelta(seconds=interval_seconds)
    # The fixed bound is about ts alone.
    if begins < time_bounds.earliest > bounds.EARLIEST_TS:
        raise _too_late(f"The interval begins at {format_ts(begins)}", time_bounds)


def _too_late(what: str, time_bounds: TimeBounds) -> InvalidEvent:
    return InvalidEvent(
        Reason.TOO_LATE,
        f"{what}, and events are taken only from {format_ts(time_bounds.earliest)} on: "
        "older ones are not kept, so that their hours cannot be counted again.",
    )
