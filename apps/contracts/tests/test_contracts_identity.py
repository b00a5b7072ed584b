"""Identities of events and GPUs, and names that other parts rely on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gpu_token_contracts import (
    TOPIC_GPU_METRICS,
    TOPIC_TOKEN_USAGE,
    DlqHeader,
    GpuMetric,
    Origin,
    TokenUsage,
    dlq_topic,
    format_ts,
    gpu_identity,
    metric_key,
    origin_headers,
    origin_in,
    position,
    resent_from,
    to_us,
    topic_registry,
    usage_key,
)

TS = datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC)


def usage(**changes: Any) -> TokenUsage:
    return TokenUsage(
        ts=TS, model="m", prompt_tokens=1, completion_tokens=1, latency_ms=1, gpu_index=0, **changes
    )


def metric(**changes: Any) -> GpuMetric:
    return GpuMetric(ts=TS, gpu_index=0, utilization=0.5, mem_used_mb=1, mem_total_mb=2, power_w=1, **changes)


def test_two_gpus_of_one_host_and_index_are_told_apart() -> None:
    seeds = [metric(host="h", name="RTX 3090"), metric(host="h", name="A100 40GB")]
    assert gpu_identity(seeds[0]) != gpu_identity(seeds[1])
    assert metric_key(seeds[0]) != metric_key(seeds[1])
    assert usage_key(usage(host="h", gpu_uuid="GPU-1")) != usage_key(usage(host="h", gpu_uuid="GPU-2"))


def test_a_uuid_names_a_gpu_wherever_it_is() -> None:
    assert gpu_identity(metric(host="a", uuid="GPU-1")) == gpu_identity(metric(host="b", uuid="GPU-1"))


def test_two_hosts_gpu_0_are_told_apart() -> None:
    assert usage_key(usage(host="a")) != usage_key(usage(host="b"))
    assert usage_key(usage()) == b"unknown/0"


def test_names_relied_on_from_outside() -> None:
    topics = topic_registry(TOPIC_GPU_METRICS, TOPIC_TOKEN_USAGE)
    assert {topic: spec.collection for topic, spec in topics.items()} == {
        "gpu.metrics.v1": "gpu_metrics",
        "token.usage.v1": "token_usage",
    }
    assert dlq_topic("token.usage.v1") == "token.usage.v1.dlq"
    assert [header.value for header in DlqHeader] == [
        "dlq.reason",
        "dlq.message",
        "dlq.source_topic",
        "dlq.source_partition",
        "dlq.source_offset",
        "dlq.value_omitted_bytes",
    ]


@pytest.mark.parametrize(
    ("ts", "text"),
    [(TS, "2023-11-16T18:17:03.979960Z"), (datetime(2023, 1, 2, tzinfo=UTC), "2023-01-02T00:00:00Z")],
)
def test_timestamps_convert_without_loss(ts: datetime, text: str) -> None:
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=to_us(ts)) == ts
    assert format_ts(ts) == text


def test_a_resent_event_is_known_by_where_it_stood_first() -> None:
    headers = [("trace", None), *origin_headers(Origin("token.usage.v1", 2, 7))]
    origin = resent_from("token.usage.v1", headers)
    assert origin == origin_in(headers) == ("token.usage.v1", 2, 7)
    assert position(*origin) == "token.usage.v1:2:7"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("trace", b"t-1")],
        origin_headers(Origin("token.usage.v1", 2, 7))[:2],
        origin_headers(Origin("gpu.metrics.v1", 2, 7)),
        [*origin_headers(Origin("token.usage.v1", 2, 7)), ("dlq.source_offset", b"-1")],
        [*origin_headers(Origin("token.usage.v1", 2, 7)), ("dlq.source_offset", b"9" * 5_000)],
        [*origin_headers(Origin("token.usage.v1", 2, 7)), ("dlq.source_partition", None)],
        [*origin_headers(Origin("token.usage.v1", 2, 7)), ("dlq.source_topic", b"\xff")],
    ],
)
def test_other_headers_name_no_origin(headers: list[tuple[str, bytes | None]]) -> None:
    assert resent_from("token.usage.v1", headers) is None
