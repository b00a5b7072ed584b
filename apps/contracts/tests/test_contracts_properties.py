"""Any input gives an event or a refusal, never anything else."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from gpu_token_contracts import (
    TOPIC_GPU_METRICS,
    TOPIC_TOKEN_USAGE,
    Event,
    InvalidEvent,
    Reason,
    TimeBounds,
    bounds,
    encode,
    topic_registry,
)
from gpu_token_contracts.events import GpuMetric, TokenUsage
from hypothesis import given
from hypothesis import strategies as st

TOPICS = topic_registry(TOPIC_GPU_METRICS, TOPIC_TOKEN_USAGE)
EVENT_TYPES = {TOPIC_GPU_METRICS: GpuMetric, TOPIC_TOKEN_USAGE: TokenUsage}
TOPIC = st.sampled_from(sorted(TOPICS))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=bounds.MAX_TEXT_LENGTH)
TS = st.datetimes(
    bounds.EARLIEST_TS.replace(tzinfo=None), bounds.LATEST_TS.replace(tzinfo=None), timezones=st.just(UTC)
)
TOKENS = st.integers(0, bounds.MAX_TOKENS)
GPU_INDEX = st.integers(0, bounds.MAX_GPU_INDEX)
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "ts": TS,
    "event_id": st.none() | TEXT,
    "host": st.none() | TEXT,
    "schema_version": st.sampled_from([None, 1]),
    "deployment": st.none() | TEXT,
}
PHASE_SECONDS = st.floats(0, bounds.MAX_INTERVAL_SECONDS)
TAG_KEY = TEXT.filter(lambda key: "\0" not in key and not key.startswith("$"))
USAGE = st.builds(
    TokenUsage,
    **COMMON,
    model=TEXT,
    prompt_tokens=st.integers(1_000, bounds.MAX_TOKENS),
    completion_tokens=st.integers(1_000, bounds.MAX_TOKENS),
    latency_ms=st.none() | st.integers(0, bounds.MAX_LATENCY_MS) | st.floats(0, bounds.MAX_LATENCY_MS),
    gpu_index=st.none() | GPU_INDEX,
    gpu_uuid=st.none() | TEXT,
    gpu_uuids=st.none() | st.lists(TEXT, min_size=1, max_size=3).map(tuple),
    endpoint=st.none() | TEXT,
    requests=st.none() | TOKENS,
    interval_seconds=st.none() | st.floats(0, bounds.MAX_INTERVAL_SECONDS, exclude_min=True),
    cached_prompt_tokens=st.none() | st.integers(0, 1_000),
    reasoning_tokens=st.none() | st.integers(0, 1_000),
    prefill_seconds=st.none() | PHASE_SECONDS,
    decode_seconds=st.none() | PHASE_SECONDS,
    tenant=st.none() | TEXT,
    tags=st.none() | st.dictionaries(TAG_KEY, st.just("") | TEXT, max_size=3),
    measured_by=st.sampled_from([None, "engine", "gateway"]),
    counter_resets=st.none() | TOKENS,
)
METRIC_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **COMMON,
    "utilization": st.none() | st.floats(0, 1),
    "mem_used_mb": st.none() | st.floats(0, 1000),
    "mem_total_mb": st.none() | st.floats(1000, bounds.MAX_MEMORY_MIB),
    "power_w": st.none() | st.floats(0, bounds.MAX_POWER_W),
    "price_per_hour_usd": st.none() | st.floats(0, bounds.MAX_PRICE_PER_HOUR_USD),
    "name": st.none() | TEXT,
    "gpu_instance": st.none() | TEXT,
}
METRIC = st.builds(GpuMetric, **METRIC_FIELDS, gpu_index=GPU_INDEX, uuid=st.none() | TEXT) | st.builds(
    GpuMetric, **METRIC_FIELDS, uuid=TEXT
)
EVENT = st.one_of(st.tuples(st.just("token.usage.v1"), USAGE), st.tuples(st.just("gpu.metrics.v1"), METRIC))

NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(bounds.MIN_EXTRA_INT, bounds.MAX_EXTRA_INT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
)
JSON = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=3)
)
FIELDS = set(TokenUsage.__struct_fields__) | set(GpuMetric.__struct_fields__)
EXTRAS = st.dictionaries(NAME.filter(lambda name: name not in FIELDS), SCALAR | st.lists(SCALAR), min_size=1)


def decode(topic: str, value: bytes) -> Event:
    return TOPICS[topic].decode(value, TimeBounds())


def outcome(topic: str, value: bytes) -> Event | InvalidEvent:
    try:
        return decode(topic, value)
    except InvalidEvent as error:
        return error


def assert_decides(topic: str, value: bytes) -> None:
    result = outcome(topic, value)
    if isinstance(result, InvalidEvent):
        assert isinstance(result.reason_code, Reason)
        assert result.message
        assert "\n" not in result.message
    else:
        assert isinstance(result, EVENT_TYPES[topic])
        assert bounds.EARLIEST_TS <= result.ts <= bounds.LATEST_TS


@given(TOPIC, st.binary(max_size=300))
def test_arbitrary_bytes(topic: str, value: bytes) -> None:
    assert_decides(topic, value)


@given(TOPIC, JSON)
def test_arbitrary_json(topic: str, content: Any) -> None:
    assert_decides(topic, msgspec.json.encode(content))


@given(EVENT, st.sampled_from(sorted(FIELDS)), JSON)
def test_an_event_with_one_field_replaced_by_anything(
    event: tuple[str, Event], name: str, content: Any
) -> None:
    raw = msgspec.json.decode(encode(event[1]))
    assert_decides(event[0], msgspec.json.encode({**raw, name: content}))


@given(EVENT, st.data())
def test_an_event_with_bytes_cut_out_or_put_in(event: tuple[str, Event], data: st.DataObject) -> None:
    value = encode(event[1])
    start = data.draw(st.integers(0, len(value)))
    end = data.draw(st.integers(start, min(len(value), start + 8)))
    assert_decides(event[0], value[:start] + data.draw(st.binary(max_size=8)) + value[end:])


@given(EVENT)
def test_round_trip(event: tuple[str, Event]) -> None:
    again = decode(event[0], encode(event[1]))
    assert again == event[1]
    assert again.extras is None
    assert encode(again) == encode(event[1])


@given(EVENT, EXTRAS)
def test_round_trip_with_extras(event: tuple[str, Event], extras: dict[str, Any]) -> None:
    raw = msgspec.json.decode(encode(event[1]))
    kept = decode(event[0], msgspec.json.encode({**raw, **extras}))
    again = decode(event[0], encode(kept))
    assert again == kept == event[1]
    assert again.extras == kept.extras == extras


@given(
    METRIC,
    st.sampled_from(["utilization", "power_w", "mem_used_mb"]),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_numbers_are_kept_as_they_are_or_out_of_range(metric: GpuMetric, name: str, number: float) -> None:
    raw = msgspec.json.decode(encode(metric))
    result = outcome("gpu.metrics.v1", msgspec.json.encode({**raw, name: number}))
    if isinstance(result, InvalidEvent):
        assert result.reason_code == Reason.OUT_OF_RANGE
    else:
        assert getattr(result, name) == number


@pytest.mark.parametrize("constant", [b"NaN", b"Infinity", b"-Infinity"])
def test_the_constants_of_other_writers_are_not_finite(constant: bytes) -> None:
    metric = GpuMetric(ts=datetime(2024, 1, 1, tzinfo=UTC), gpu_index=0, utilization=0.25)
    with pytest.raises(InvalidEvent) as caught:
        decode("gpu.metrics.v1", encode(metric).replace(b"0.25", constant))
    assert caught.value.reason_code == Reason.NOT_FINITE
