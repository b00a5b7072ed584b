from datetime import UTC, datetime, timedelta

import bson
import pytest
from gpu_token_contracts import Origin, origin_headers
from gpu_token_processor.documents import Document, reading_order
from gpu_token_processor.pipeline.batch import Batch, Partition, Record
from gpu_token_processor.pipeline.decoding import Decoder
from processor_fakes import NOW, OPTIONS, TOPIC_METRIC, TOPIC_TOKEN, TOPICS, metric, record, usage


def decode(*records: Record) -> Batch:
    return Decoder(TOPICS, timedelta(days=3650), timedelta(minutes=10), lambda: NOW).decode(records)


def only_document(from_record: Record) -> Document:
    batch = decode(from_record)
    (writes,) = [writes for writes in batch.writes.values() if writes.documents]
    # As MongoDB would hold it.
    return bson.decode(bson.encode(writes.documents[0]), codec_options=OPTIONS)


def test_usage_document() -> None:
    assert only_document(record(usage(event_id="e-1"), offset=7, partition=2)) == {
        "_id": "e-1",
        "event_id": "e-1",
        "ts": datetime(2026, 1, 1, 12, tzinfo=UTC),
        "host": "gpu-a",
        "model": "llama-3-70b",
        "prompt_tokens": 1000,
        "completion_tokens": 440,
        "latency_ms": 300,
        "gpu_index": 0,
        "source": {"topic": TOPIC_TOKEN, "partition": 2, "offset": 7},
    }


def test_an_event_without_id_is_known_by_its_position() -> None:
    assert only_document(record(usage(), offset=7, partition=2))["_id"] == "token.usage.v1:2:7"


def test_a_resent_event_is_known_by_where_it_stood_first() -> None:
    headers = origin_headers(Origin(TOPIC_TOKEN, 2, 7))
    first = decode(record(usage(), offset=7, partition=2))
    again = decode(record(usage(), offset=90, partition=0, headers=headers))
    assert again.writes["token_usage"].documents == first.writes["token_usage"].documents
    assert (first.resent, again.resent) == ([], ["token.usage.v1:2:7"])
    assert again.next_offsets == {Partition(TOPIC_TOKEN, 0): 91}


def test_absent_fields_stay_absent() -> None:
    document = only_document(
        record(metric(host=None, name=None, price_per_hour_usd=None), topic=TOPIC_METRIC)
    )
    assert not {"host", "name", "price_per_hour_usd", "uuid"} & document.keys()


@pytest.mark.parametrize(
    ("changes", "gpu_id"),
    [
        ({}, "gpu-a/0/RTX 3090"),
        ({"name": "A100 40GB"}, "gpu-a/0/A100 40GB"),
        ({"uuid": "GPU-1"}, "GPU-1"),
        ({"uuid": "MIG-GPU-1/2/0", "gpu_index": None}, "MIG-GPU-1%2F2%2F0"),
        ({"host": None, "name": None}, "/0/"),
    ],
)
def test_gpus_are_told_apart(changes: dict[str, str | None], gpu_id: str) -> None:
    assert only_document(record(metric(**changes), topic=TOPIC_METRIC))["gpu_id"] == gpu_id


def test_unknown_fields_are_kept() -> None:
    document = only_document(record(usage(trace={"id": "t-1"}, labels=["a"])))
    assert (document["trace"], document["labels"]) == ({"id": "t-1"}, ["a"])


def test_fields_of_containers_are_stored_and_tags_in_one_order() -> None:
    document = only_document(record(usage(gpu_uuids=["GPU-2", "GPU-1"], tags={"b.c": "1", "a": ""})))
    assert document["gpu_uuids"] == ["GPU-2", "GPU-1"]
    assert list(document["tags"].items()) == [("a", ""), ("b.c", "1")]


def test_readings_are_in_order_of_milliseconds_then_of_ids() -> None:
    def order(microseconds: int, **changes: str) -> object:
        ts = datetime(2026, 1, 1, 12, 0, 0, microseconds, tzinfo=UTC)
        return reading_order({"ts": ts, **changes})

    assert (
        order(1_999) == order(1_000) < order(1_500, event_id="a") < order(1_000, event_id="b") < order(2_000)
    )


def test_unknown_fields_cannot_replace_ours() -> None:
    document = only_document(record(usage(_id="mine", source="me", **{"$set": 1}), offset=3))
    assert document["_id"] == "token.usage.v1:0:3"
    assert document["source"]["offset"] == 3
    assert document["extras"] == {"_id": "mine", "source": "me", "$set": 1}


def test_a_batch_names_offsets_counts_and_refusals() -> None:
    batch = decode(
        record(usage(), 4, partition=0),
        record(b"{", 5, partition=0),
        record(usage(), 9, partition=1),
        record(metric(), 2, topic=TOPIC_METRIC),
        record(None, 3, topic=TOPIC_METRIC),
    )
    assert batch.next_offsets == {
        Partition(TOPIC_TOKEN, 0): 6,
        Partition(TOPIC_TOKEN, 1): 10,
        Partition(TOPIC_METRIC, 0): 4,
    }
    assert batch.consumed == {TOPIC_TOKEN: 3, TOPIC_METRIC: 2}
    assert [(refusal.record.offset(), refusal.reason) for refusal in batch.refusals] == [
        (5, "invalid_json"),
        (3, "tombstone"),
    ]


@pytest.mark.parametrize(
    ("ts", "reason"), [("2026-01-01T12:10:01Z", "bad_timestamp"), ("2015-12-31T00:00:00Z", "too_late")]
)
def test_event_time_is_bounded(ts: str, reason: str) -> None:
    assert [refusal.reason for refusal in decode(record(usage(ts=ts))).refusals] == [reason]
