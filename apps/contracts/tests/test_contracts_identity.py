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
from hypothesis import given
from hypothesis import strategies as st

TS = datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC)


def usage(**changes: Any) -> TokenUsage:
    return TokenUsage(
        **{"ts": TS, "model": "m", "prompt_tokens": 1, "completion_tokens": 1, "gpu_index": 0, **changes}
    )


def metric(**changes: Any) -> GpuMetric:
    return GpuMetric(**{"ts": TS, "gpu_index": 0, **changes})


def test_two_gpus_of_one_host_and_index_are_told_apart() -> None:
    seeds = [metric(host="h", name="RTX 3090"), metric(host="h", name="A100 40GB")]
    assert gpu_identity(seeds[0]) != gpu_identity(seeds[1])
    assert metric_key(seeds[0]) != metric_key(seeds[1])
    assert usage_key(usage(host="h", gpu_uuid="GPU-1")) != usage_key(usage(host="h", gpu_uuid="GPU-2"))


def test_a_uuid_names_a_gpu_wherever_it_is() -> None:
    assert gpu_identity(metric(host="a", uuid="GPU-1")) == gpu_identity(metric(host="b", uuid="GPU-1"))


def test_two_hosts_gpu_0_are_told_apart() -> None:
    assert usage_key(usage(host="a")) != usage_key(usage(host="b"))
    assert usage_key(usage()) == b"/0"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"host": "a", "name": "b/1/c"}, {"host": "a/0/b", "gpu_index": 1, "name": "c"}),
        ({"host": None}, {"host": "unknown"}),
        ({"host": "a", "name": "c"}, {"uuid": "a/0/c"}),
        ({"uuid": "a/b"}, {"uuid": "a%2Fb"}),
        ({"name": "0"}, {"name": None}),
    ],
)
def test_no_two_gpus_are_one_text(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert gpu_identity(metric(**one)) != gpu_identity(metric(**other))
    assert metric_key(metric(**one)) != metric_key(metric(**other))


def test_usual_names_are_the_text_that_they_have_always_been() -> None:
    assert gpu_identity(metric(host="gpu-a", name="RTX 3090")) == "gpu-a/0/RTX 3090"
    assert gpu_identity(metric(host="gpu-a", uuid="GPU-1")) == "GPU-1"
    assert metric_key(metric(host="gpu-a", uuid="GPU-1")) == b"gpu-a/GPU-1"
    assert usage_key(usage(host="gpu-a", gpu_uuid="GPU-1")) == b"gpu-a/GPU-1"
    assert usage_key(usage(host="gpu-a")) == b"gpu-a/0"


@pytest.mark.parametrize(
    ("named", "key"),
    [
        ({"gpu_uuid": "GPU-1", "gpu_uuids": ("GPU-2",), "gpu_index": 0}, b"h/GPU-1"),
        ({"gpu_uuids": ("GPU-2", "GPU-1"), "gpu_index": 0}, b"h/GPU-2"),
        ({"gpu_index": 0, "deployment": "d"}, b"h/0"),
        ({"gpu_index": None, "deployment": "d/1"}, b"h//d%2F1"),
        ({"gpu_index": None}, b"h///m"),
        ({"gpu_uuid": "12"}, b"h/%312"),
    ],
)
def test_usage_is_keyed_by_the_most_exact_of_what_it_names(named: dict[str, Any], key: bytes) -> None:
    assert usage_key(usage(host="h", **named)) == key


# Few characters, so that the parts of two events are often alike.
PART = st.text("a/%25F0", min_size=1, max_size=4)
PLACE = st.fixed_dictionaries(
    {
        "host": st.none() | PART,
        "gpu_index": st.integers(0, 1),
        "name": st.none() | PART,
        "uuid": st.none() | PART,
    }
)


@given(PLACE, PLACE)
def test_a_text_is_one_gpu(one: dict[str, Any], other: dict[str, Any]) -> None:
    def gpu(of: dict[str, Any]) -> object:
        return of["uuid"] or (of["host"], of["gpu_index"], of["name"])

    first, second = metric(**one), metric(**other)
    assert (gpu_identity(first) == gpu_identity(second)) == (gpu(one) == gpu(other))
    same = gpu(one) == gpu(other) and one["host"] == other["host"]
    assert (metric_key(first) == metric_key(second)) == same


SERVED = st.fixed_dictionaries(
    {
        "host": st.none() | PART,
        "gpu_uuid": st.none() | PART,
        "gpu_uuids": st.none() | st.lists(PART, min_size=1, max_size=2).map(tuple),
        "gpu_index": st.none() | st.integers(0, 30),
        "deployment": st.none() | PART,
        "model": PART,
    }
)


@given(SERVED, SERVED)
def test_a_usage_key_is_one_thing(one: dict[str, Any], other: dict[str, Any]) -> None:
    def served_by(of: dict[str, Any]) -> object:
        if uuid := of["gpu_uuid"] or (of["gpu_uuids"] or (None,))[0]:
            return "uuid", uuid
        if of["gpu_index"] is not None:
            return "index", of["gpu_index"]
        return ("deployment", of["deployment"]) if of["deployment"] else ("model", of["model"])

    same = (one["host"], served_by(one)) == (other["host"], served_by(other))
    assert (usage_key(usage(**one)) == usage_key(usage(**other))) == same


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
