from datetime import timedelta
from typing import Any

import pytest
from gpu_token_processor.pipeline.batch import Record, Writes
from gpu_token_processor.pipeline.decoding import Decoder
from gpu_token_processor.pipeline.storing import store_writes
from gpu_token_processor.store.contract import StoreUnavailable
from processor_fakes import NOW, TOPIC_METRIC, TOPICS, FakeStore, metric, record, usage


def writes(*records: Record, collection: str = "token_usage") -> Writes:
    decoder = Decoder(TOPICS, timedelta(days=3650), timedelta(minutes=10), lambda: NOW)
    return decoder.decode(records).writes[collection]


def usages(count: int, **changes: Any) -> Writes:
    return writes(*(record(usage(**changes), offset) for offset in range(count)))


def test_storing_twice_is_harmless() -> None:
    store = FakeStore()
    first = store_writes(store, "token_usage", usages(5))
    second = store_writes(store, "token_usage", usages(8))
    assert (first.stored, first.duplicates) == (5, 0)
    assert (second.stored, second.duplicates) == (3, 5)
    assert len(store.collections["token_usage"]) == 8


def test_one_event_id_counts_once_wherever_it_is_sent() -> None:
    store = FakeStore()
    for offset in (1, 99):
        store_writes(store, "token_usage", writes(record(usage(event_id="e-1"), offset)))
    assert list(store.collections["token_usage"]) == ["e-1"]


def test_events_of_the_same_second_are_all_kept() -> None:
    store = FakeStore()
    assert store_writes(store, "token_usage", usages(20)).stored == 20


def test_a_refused_document_is_the_only_one_left_out() -> None:
    store = FakeStore()
    store.refuse = lambda document: "no" if document["source"]["offset"] in (2, 3) else None
    batch = usages(6)
    outcome = store_writes(store, "token_usage", batch)
    assert outcome.stored == 4
    assert sorted((r.record.offset(), r.reason, r.message) for r in outcome.refusals) == [
        (2, "store_refused", "no"),
        (3, "store_refused", "no"),
    ]
    assert (
        [r.offset() for r in batch.records]
        == [d["source"]["offset"] for d in batch.documents]
        == [0, 1, 4, 5]
    )


@pytest.mark.parametrize("bad", [set(), {0}, {99}, {3, 4, 50}, set(range(100))])
def test_a_write_refused_as_a_whole_is_split_down_to_the_bad(bad: set[int]) -> None:
    store = FakeStore()
    store.refuse_whole_write = lambda document: document["source"]["offset"] in bad
    outcome = store_writes(store, "token_usage", usages(100))
    assert {refusal.record.offset() for refusal in outcome.refusals} == bad
    assert outcome.stored == 100 - len(bad)


def test_an_unavailable_store_is_not_the_documents_fault() -> None:
    store = FakeStore()
    store.failures_before = [StoreUnavailable("connection", "gone")]
    batch = usages(3)
    with pytest.raises(StoreUnavailable):
        store_writes(store, "token_usage", batch)
    assert len(batch.documents) == 3
    assert store_writes(store, "token_usage", batch).stored == 3


def test_a_topic_created_again_does_not_lose_its_events_silently() -> None:
    store = FakeStore()
    store_writes(store, "token_usage", writes(record(usage(), 0)))
    outcome = store_writes(store, "token_usage", writes(record(usage(prompt_tokens=7), 0)))
    assert outcome.duplicates == 0
    assert [refusal.reason for refusal in outcome.refusals] == ["store_refused"]
    assert "the topic was created again" in outcome.refusals[0].message


def test_microseconds_and_extras_do_not_make_a_redelivery_look_new() -> None:
    store = FakeStore()
    event = usage(ts="2026-01-01T11:59:59.123456Z", trace={"a": [1, 2.5, None]})
    for _ in range(2):
        outcome = store_writes(store, "token_usage", writes(record(event, 0)))
        assert not outcome.refusals
    assert outcome.duplicates == 1


def test_a_foreign_unique_index_does_not_lose_events_silently() -> None:
    class Strict(FakeStore):
        def insert(self, collection, documents):  # type: ignore[no-untyped-def]
            outcome = super().insert(collection, [])
            outcome.duplicates = list(range(len(documents)))
            return outcome

    outcome = store_writes(Strict(), "token_usage", usages(2))
    assert len(outcome.refusals) == 2
    assert "unique index" in outcome.refusals[0].message


def test_the_latest_reading_of_each_gpu_is_kept() -> None:
    store = FakeStore()
    readings = [
        metric(ts="2026-01-01T12:00:02Z", power_w=2),
        metric(ts="2026-01-01T12:00:01Z", power_w=1),
        metric(ts="2026-01-01T12:00:00Z", power_w=9, name="A100 40GB"),
    ]
    records = [record(reading, offset, topic=TOPIC_METRIC) for offset, reading in enumerate(readings)]
    store_writes(store, "gpu_metrics", writes(*records, collection="gpu_metrics"))
    late = record(metric(ts="2026-01-01T11:00:00Z", power_w=7), 10, topic=TOPIC_METRIC)
    store_writes(store, "gpu_metrics", writes(late, collection="gpu_metrics"))
    assert {key: document["power_w"] for key, document in store.latest.items()} == {
        "gpu-a/0/RTX 3090": 2,
        "gpu-a/0/A100 40GB": 9,
    }
