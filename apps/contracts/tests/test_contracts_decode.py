"""What the contract takes, what it refuses, and the reason it gives."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from gpu_token_contracts import (
    TOPIC_GPU_METRICS,
    TOPIC_TOKEN_USAGE,
    GpuMetric,
    InvalidEvent,
    Reason,
    TimeBounds,
    TokenUsage,
    bounds,
    decode_gpu_metric,
    decode_token_usage,
    encode,
    topic_registry,
)

USAGE: dict[str, Any] = {
    "ts": "2023-11-16T18:17:03.979960Z",
    "model": "llama-3-70b",
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "latency_ms": 300,
    "gpu_index": 0,
}
METRIC: dict[str, Any] = {
    "ts": "2023-11-16T18:17:05Z",
    "gpu_index": 0,
    "utilization": 0.5,
    "mem_used_mb": 12000,
    "mem_total_mb": 24576,
    "power_w": 200.5,
}


TOPICS = topic_registry(TOPIC_GPU_METRICS, TOPIC_TOKEN_USAGE)


def wire(event: dict[str, Any], **changes: Any) -> bytes:
    return msgspec.json.encode({**event, **changes})


def refusal(topic: str, value: bytes | None) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        TOPICS[topic].decode(value, TimeBounds())
    return caught.value


def test_usage_of_the_first_producers_is_accepted() -> None:
    assert decode_token_usage(wire(USAGE)) == TokenUsage(
        ts=datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC),
        model="llama-3-70b",
        prompt_tokens=1000,
        completion_tokens=200,
        latency_ms=300,
        gpu_index=0,
    )


def test_metric_sent_by_hand_without_host_name_and_price_is_accepted() -> None:
    metric = decode_gpu_metric(wire(METRIC))
    assert (metric.host, metric.name, metric.price_per_hour_usd, metric.uuid) == (None, None, None, None)
    assert metric.mem_used_mb == 12000.0


def test_every_field_survives_the_round_trip() -> None:
    value = wire(
        METRIC,
        event_id="e1",
        host="gpu-host-1",
        name="RTX 3090",
        uuid="GPU-1",
        price_per_hour_usd=0.85,
        schema_version=1,
    )
    metric = decode_gpu_metric(value)
    assert decode_gpu_metric(encode(metric)) == metric
    assert msgspec.json.decode(encode(metric)) == msgspec.json.decode(value)


# Every optional field of usage, with values of the least usual shape.
FULL_USAGE: dict[str, Any] = {
    **USAGE,
    "latency_ms": 5.5,
    "gpu_uuid": "MIG-1",
    "gpu_uuids": ["GPU-1", "GPU-2"],
    "deployment": "llama-eu",
    "endpoint": "https://llm.example/v1",
    "requests": 0,
    "interval_seconds": 60.5,
    "cached_prompt_tokens": 1000,
    "reasoning_tokens": 0,
    "prefill_seconds": 0.0,
    "decode_seconds": 2.5,
    "tenant": "t",
    "team": "search",
    "user": "u",
    "api_key_hash": "abc",
    "workload": "chat",
    "tags": {"cost.center": "42", "env": ""},
    "measured_by": "gateway",
    "counter_resets": 2,
}


def test_every_optional_field_of_usage_survives_the_round_trip() -> None:
    usage = decode_token_usage(wire(FULL_USAGE))
    assert msgspec.json.decode(encode(usage)) == FULL_USAGE
    assert decode_token_usage(encode(usage)) == usage
    assert usage.extras is None
    assert set(FULL_USAGE) | {"event_id", "host", "schema_version"} == set(TokenUsage.__struct_fields__)


@pytest.mark.parametrize("latency_ms", [0, 300, 5.5])
def test_a_latency_stays_the_number_it_was(latency_ms: float) -> None:
    sent = encode(decode_token_usage(wire(USAGE, latency_ms=latency_ms)))
    assert f'"latency_ms":{latency_ms},'.encode() in sent


@pytest.mark.parametrize("identity", [{"uuid": "GPU-1"}, {"gpu_index": 3}, {"gpu_index": 0, "host": "h"}])
def test_a_reading_needs_its_time_and_its_gpu(identity: dict[str, Any]) -> None:
    reading = {"ts": METRIC["ts"], **identity}
    assert msgspec.json.decode(encode(decode_gpu_metric(wire(reading)))) == reading


def test_a_reading_of_no_gpu_is_refused() -> None:
    error = refusal(TOPIC_GPU_METRICS, wire(METRIC, gpu_index=None, host="h", name="H100"))
    assert error.reason_code == Reason.MISSING_FIELD
    assert error.message == "Fields uuid and gpu_index are missing: name the GPU by one of them."


def test_null_is_absent() -> None:
    nulls = dict.fromkeys(set(FULL_USAGE) - {"ts", "model", "prompt_tokens", "completion_tokens"})
    bare = {name: value for name, value in USAGE.items() if name not in nulls}
    assert encode(decode_token_usage(wire(USAGE, **nulls))) == encode(decode_token_usage(wire(bare)))
    reading = {"ts": METRIC["ts"], "uuid": "MIG-1"}
    nulls = dict.fromkeys(set(GpuMetric.__struct_fields__) - set(reading))
    assert msgspec.json.decode(encode(decode_gpu_metric(wire(reading, **nulls)))) == reading


def test_memory_is_compared_only_where_both_parts_are_known() -> None:
    assert decode_gpu_metric(wire(METRIC, mem_total_mb=None)).mem_used_mb == 12000
    assert decode_gpu_metric(wire(METRIC, mem_used_mb=None)).mem_total_mb == 24576


def test_unknown_fields_are_kept() -> None:
    extras = {"region": "eu", "queue": {"depth": [1, 2.5, None, True]}, "extras": 1}
    usage = decode_token_usage(wire(USAGE, **extras))
    assert usage.extras == extras
    again = decode_token_usage(encode(usage))
    assert again == usage
    assert again.extras == extras


def test_an_event_without_unknown_fields_has_no_extras() -> None:
    assert decode_token_usage(wire(USAGE)).extras is None


@pytest.mark.parametrize("field", ["ts", "model", "prompt_tokens", "completion_tokens"])
def test_usage_requires_its_time_its_model_and_its_tokens(field: str) -> None:
    value = {name: content for name, content in USAGE.items() if name != field}
    error = refusal(TOPIC_TOKEN_USAGE, wire(value))
    assert error.reason_code == Reason.MISSING_FIELD
    assert error.message == f"Field {field} is missing."


def test_a_reading_requires_its_time() -> None:
    error = refusal(TOPIC_GPU_METRICS, wire({"uuid": "GPU-1"}))
    assert (error.reason_code, error.message) == (Reason.MISSING_FIELD, "Field ts is missing.")


@pytest.mark.parametrize(
    ("field", "content", "reason"),
    [
        ("prompt_tokens", "1000", Reason.WRONG_TYPE),
        ("prompt_tokens", 10.5, Reason.WRONG_TYPE),
        ("prompt_tokens", True, Reason.WRONG_TYPE),
        ("prompt_tokens", None, Reason.WRONG_TYPE),
        ("prompt_tokens", -1, Reason.OUT_OF_RANGE),
        ("prompt_tokens", bounds.MAX_TOKENS + 1, Reason.OUT_OF_RANGE),
        ("completion_tokens", 10**30, Reason.OUT_OF_RANGE),
        ("latency_ms", -1, Reason.OUT_OF_RANGE),
        ("latency_ms", bounds.MAX_LATENCY_MS + 1, Reason.OUT_OF_RANGE),
        ("gpu_index", bounds.MAX_GPU_INDEX + 1, Reason.OUT_OF_RANGE),
        ("model", "", Reason.OUT_OF_RANGE),
        ("model", "m" * (bounds.MAX_TEXT_LENGTH + 1), Reason.OUT_OF_RANGE),
        ("model", 7, Reason.WRONG_TYPE),
        ("host", ["h"], Reason.WRONG_TYPE),
        ("event_id", "", Reason.OUT_OF_RANGE),
        ("schema_version", 2, Reason.UNKNOWN_VERSION),
        ("schema_version", "1", Reason.WRONG_TYPE),
        ("ts", "2023-11-16T18:17:03", Reason.BAD_TIMESTAMP),
        ("ts", "2023-11-16T18:17:03+02:00", Reason.BAD_TIMESTAMP),
        ("ts", "2023-13-16T18:17:03Z", Reason.BAD_TIMESTAMP),
        ("ts", "yesterday", Reason.BAD_TIMESTAMP),
        ("ts", 1700158623, Reason.BAD_TIMESTAMP),
        ("ts", "1970-01-01T00:00:00Z", Reason.BAD_TIMESTAMP),
        ("ts", "0001-01-01T00:00:00+23:59", Reason.BAD_TIMESTAMP),
        ("ts", "9999-12-31T23:59:59Z", Reason.BAD_TIMESTAMP),
        ("latency_ms", "5", Reason.WRONG_TYPE),
        ("latency_ms", bounds.MAX_LATENCY_MS + 0.5, Reason.OUT_OF_RANGE),
        ("gpu_uuids", [], Reason.OUT_OF_RANGE),
        ("gpu_uuids", ["GPU-1", ""], Reason.OUT_OF_RANGE),
        ("gpu_uuids", ["GPU-1", 2], Reason.WRONG_TYPE),
        ("gpu_uuids", ["GPU-1"] * (bounds.MAX_GPUS + 1), Reason.OUT_OF_RANGE),
        ("gpu_uuids", "GPU-1", Reason.WRONG_TYPE),
        ("deployment", "", Reason.OUT_OF_RANGE),
        ("requests", -1, Reason.OUT_OF_RANGE),
        ("requests", 1.5, Reason.WRONG_TYPE),
        ("interval_seconds", 0, Reason.OUT_OF_RANGE),
        ("interval_seconds", 2_678_401, Reason.OUT_OF_RANGE),
        ("cached_prompt_tokens", 1001, Reason.OUT_OF_RANGE),
        ("reasoning_tokens", 201, Reason.OUT_OF_RANGE),
        ("prefill_seconds", -0.1, Reason.OUT_OF_RANGE),
        ("decode_seconds", 2_678_401, Reason.OUT_OF_RANGE),
        ("counter_resets", -1, Reason.OUT_OF_RANGE),
        ("counter_resets", 10**13 + 1, Reason.OUT_OF_RANGE),
        ("counter_resets", 0.5, Reason.WRONG_TYPE),
        ("tags", ["a"], Reason.WRONG_TYPE),
        ("tags", {"a": 1}, Reason.WRONG_TYPE),
        ("tags", {"": "a"}, Reason.OUT_OF_RANGE),
        ("tags", {"k" * 257: "a"}, Reason.OUT_OF_RANGE),
        ("tags", {"a": "v" * 257}, Reason.OUT_OF_RANGE),
        ("tags", {"a\0b": "c"}, Reason.OUT_OF_RANGE),
        ("tags", {"$set": "c"}, Reason.OUT_OF_RANGE),
        ("tags", {str(number): "a" for number in range(33)}, Reason.OUT_OF_RANGE),
        ("measured_by", "hearsay", Reason.OUT_OF_RANGE),
        ("measured_by", 1, Reason.WRONG_TYPE),
        ("added_later", 2**63, Reason.BAD_EXTRA),
        ("added_later", {"a\0b": 1}, Reason.BAD_EXTRA),
    ],
)
def test_refused_usage_names_the_field_and_the_reason(field: str, content: Any, reason: Reason) -> None:
    error = refusal(TOPIC_TOKEN_USAGE, wire(USAGE, **{field: content}))
    assert error.reason_code == reason
    assert field in error.message
    assert error.message.endswith(".")
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"cached_prompt_tokens": 12_345_678},
            "Field cached_prompt_tokens is 12345678, more than prompt_tokens, which is 1000.",
        ),
        (
            {"reasoning_tokens": 201},
            "Field reasoning_tokens is 201, more than completion_tokens, which is 200.",
        ),
        ({"measured_by": "me"}, 'Field measured_by is "me": Expected `engine` or `gateway`.'),
        (
            {"gpu_uuids": ["a", ""]},
            'Field gpu_uuids is ["a", ""]: Expected `str` of length >= 1 at gpu_uuids[1].',
        ),
        ({"tags": {"": "a"}}, 'Field tags is {"": "a"}: Expected `str` of length >= 1 in its keys.'),
        (
            {"tags": {"$set": "a"}},
            'Field tags has the key "$set": give it a name without NUL and without $ at its start.',
        ),
    ],
)
def test_a_refusal_says_what_is_wrong_where(changes: dict[str, Any], message: str) -> None:
    assert refusal(TOPIC_TOKEN_USAGE, wire(USAGE, **changes)).message == message


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("utilization", 1.01),
        ("utilization", -0.01),
        ("power_w", -1),
        ("power_w", 1e9),
        ("price_per_hour_usd", -0.85),
        ("mem_total_mb", bounds.MAX_MEMORY_MIB + 1),
        ("mem_used_mb", 24577),
    ],
)
def test_absurd_metrics_are_out_of_range(field: str, content: float) -> None:
    error = refusal(TOPIC_GPU_METRICS, wire(METRIC, **{field: content}))
    assert error.reason_code == Reason.OUT_OF_RANGE
    assert field in error.message


@pytest.mark.parametrize(("field", "content"), [("utilization", 0), ("utilization", 1), ("power_w", 0)])
def test_the_ends_of_a_range_are_in_it(field: str, content: float) -> None:
    assert getattr(decode_gpu_metric(wire(METRIC, **{field: content})), field) == content


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.TOMBSTONE),
        (b"", Reason.INVALID_JSON),
        (b"{", Reason.INVALID_JSON),
        (b"not json", Reason.INVALID_JSON),
        (b"\xef\xbb\xbf{}", Reason.INVALID_JSON),
        (b"[" * 50_000, Reason.WRONG_TYPE),
        (b'{"deep":' + b"[" * 50_000, Reason.INVALID_JSON),
        (b"null", Reason.WRONG_TYPE),
        (b"[]", Reason.WRONG_TYPE),
        (b'"text"', Reason.WRONG_TYPE),
        (b"\xff\xfe{}", Reason.INVALID_UTF8),
        (wire(USAGE).replace(b"llama", b"ll\xe9ma"), Reason.INVALID_UTF8),
        (wire(USAGE, later="x").replace(b'"x"', b'"\xe9"'), Reason.INVALID_UTF8),
        (wire(USAGE).replace(b"1000", b"NaN"), Reason.NOT_FINITE),
        (wire(USAGE).replace(b"1000", b"-Infinity"), Reason.NOT_FINITE),
        (wire(USAGE).replace(b"1000", b"1e400"), Reason.NOT_FINITE),
        (wire(USAGE, later=1).replace(b'"later":1', b'"later":1e400'), Reason.NOT_FINITE),
        (wire(USAGE) + b"}", Reason.INVALID_JSON),
        (wire(USAGE) + b" " * bounds.MAX_EVENT_BYTES, Reason.TOO_LARGE),
        (b"x" * 2_000_000, Reason.TOO_LARGE),
    ],
)
def test_what_is_no_event_has_its_reason(value: bytes | None, reason: Reason) -> None:
    error = refusal(TOPIC_TOKEN_USAGE, value)
    assert error.reason_code == reason
    assert error.message


def test_an_extra_nested_too_deep_is_refused() -> None:
    nested: Any = 1
    for _ in range(bounds.MAX_EXTRA_DEPTH + 1):
        nested = [nested]
    assert refusal(TOPIC_TOKEN_USAGE, wire(USAGE, later=nested)).reason_code == Reason.BAD_EXTRA


def test_topics_can_have_other_names() -> None:
    topics = topic_registry(gpu_metrics="metrics", token_usage="usage")
    assert isinstance(topics["metrics"].decode(wire(METRIC), TimeBounds()), GpuMetric)
    assert isinstance(topics["usage"].decode(wire(USAGE), TimeBounds()), TokenUsage)


def test_two_topics_cannot_share_a_name() -> None:
    with pytest.raises(ValueError, match="two names"):
        topic_registry(gpu_metrics="same", token_usage="same")


def test_a_zero_offset_is_utc() -> None:
    usage = decode_token_usage(wire(USAGE, ts="2023-11-16T18:17:03.979960+00:00"))
    assert usage == decode_token_usage(wire(USAGE))


def test_seven_fractional_digits_are_rounded_to_microseconds() -> None:
    usage = decode_token_usage(wire(USAGE, ts="2023-11-16T18:17:03.9799601Z"))
    assert usage.ts == datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC)


def test_the_reader_bounds_event_time_around_its_clock() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    accepted = TimeBounds.around(now, max_age=timedelta(days=1), max_ahead=timedelta(minutes=5))

    def at(ts: datetime) -> bytes:
        return wire(USAGE, ts=ts)

    assert decode_token_usage(at(now + timedelta(minutes=5)), accepted).ts == now + timedelta(minutes=5)
    assert decode_token_usage(at(now - timedelta(days=1)), accepted).ts == now - timedelta(days=1)
    for ts, reason in (
        (now + timedelta(minutes=5, microseconds=1), Reason.BAD_TIMESTAMP),
        (now - timedelta(days=1, microseconds=1), Reason.TOO_LATE),
        (bounds.EARLIEST_TS - timedelta(seconds=1), Reason.BAD_TIMESTAMP),
    ):
        with pytest.raises(InvalidEvent) as caught:
            decode_token_usage(at(ts), accepted)
        assert caught.value.reason_code == reason
        with pytest.raises(InvalidEvent) as caught:
            decode_gpu_metric(wire(METRIC, ts=ts), accepted)
        assert caught.value.reason_code == reason


def test_an_interval_is_late_if_it_begins_too_early() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    accepted = TimeBounds.around(now, max_age=timedelta(days=1), max_ahead=timedelta(0))
    event = wire(USAGE, ts=now - timedelta(hours=1), interval_seconds=23 * 3600)
    assert decode_token_usage(event, accepted).interval_seconds == 23 * 3600
    with pytest.raises(InvalidEvent) as caught:
        decode_token_usage(wire(USAGE, ts=now - timedelta(hours=1), interval_seconds=23 * 3600 + 1), accepted)
    assert caught.value.reason_code == Reason.TOO_LATE
    assert caught.value.message == (
        "The interval begins at 2025-12-30T23:59:59Z, and events are taken only from 2025-12-31T00:00:00Z "
        "on: older ones are not kept, so that their hours cannot be counted again."
    )
    # Without a bound of the reader's own, only the event's time counts.
    first = wire(USAGE, ts=bounds.EARLIEST_TS, interval_seconds=60)
    assert decode_token_usage(first).ts == bounds.EARLIEST_TS


def test_an_age_beyond_the_calendar_is_cut_at_the_fixed_bound() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    accepted = TimeBounds.around(now, max_age=timedelta(days=365_000), max_ahead=timedelta(0))
    assert accepted.earliest == bounds.EARLIEST_TS


def test_the_value_shown_in_a_message_is_short() -> None:
    error = refusal(TOPIC_TOKEN_USAGE, wire(USAGE, prompt_tokens="x" * 5000))
    assert len(error.message) < 200
