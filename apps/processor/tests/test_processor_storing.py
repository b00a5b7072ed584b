from datetime import timedelta
from itertools import permutations
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


def test_another_event_under_a_known_id_is_a_conflict_and_is_not_lost() -> None:
    store = FakeStore()
    store_writes(store, "token_usage", writes(record(usage(event_id="e-1"), 1)))
    batch = writes(
        record(usage(event_id="e-1"), 2),
        record(usage(event_id="e-1", model="two", host=None), 3),
        record(usage(event_id="e-2"), 4),
        record(usage(event_id="e-2", note="new"), 5),
    )
    outcome = store_writes(store, "token_usage", batch)
    assert (outcome.stored, outcome.duplicates, outcome.conflicts) == (1, 1, 2)
    assert [(one.record.offset(), one.reason, one.message) for one in outcome.refusals] == [
        (
            3,
            "conflict",
            "Event 'e-1' is stored with another 'host', 'model': give each event its own event_id.",
        ),
        (5, "conflict", "Event 'e-2' is stored with another 'note': give each event its own event_id."),
    ]
    assert [kept.offset() for kept in batch.records] == [2, 4]
    assert store.collections["token_usage"]["e-1"]["model"] == "llama-3-70b"


def test_a_conflict_names_few_fields_and_no_text_of_any_length() -> None:
    store = FakeStore()
    event_id = "e\n" * 100
    store_writes(store, "token_usage", writes(record(usage(event_id=event_id), 1)))
    others = {f"{number}{'x' * 10_000}": 1 for number in range(6)}
    (refusal,) = store_writes(
        store, "token_usage", writes(record(usage(event_id=event_id, **others), 2))
    ).refusals
    assert "and 1 more: give" in refusal.message
    assert len(refusal.message) < 600
    assert "\n" not in refusal.message


def test_a_conflict_is_no_latest_reading() -> None:
    store = FakeStore()
    readings = [metric(event_id="e", power_w=1), metric(event_id="e", ts="2026-01-01T12:00:05Z", power_w=2)]
    records = [record(reading, offset, topic=TOPIC_METRIC) for offset, reading in enumerate(readings)]
    assert store_writes(store, "gpu_metrics", writes(*records, collection="gpu_metrics")).conflicts == 1
    assert [latest["power_w"] for latest in store.latest.values()] == [1]


def test_what_an_earlier_version_stored_in_another_way_is_the_same_event() -> None:
    store = FakeStore()
    events = [metric(event_id="e", host=None), metric(host=None)]
    records = [record(event, offset, topic=TOPIC_METRIC) for offset, event in enumerate(events)]
    for _ in range(2):
        outcome = store_writes(store, "gpu_metrics", writes(*records, collection="gpu_metrics"))
        for stored in store.collections["gpu_metrics"].values():
            stored |= {"gpu_id": "unknown/0/RTX 3090", "deployment": None}
    assert (outcome.duplicates, outcome.refusals) == (2, [])


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


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_latest_of_equal_times_is_the_greatest_id_in_any_order(
    order: tuple[int, ...], together: bool
) -> None:
    store = FakeStore()
    readings = [
        # One millisecond.
        metric(ts="2026-01-01T12:00:00.000900Z", event_id="a", power_w=1),
        metric(ts="2026-01-01T12:00:00.000100Z", event_id="b", power_w=2),
        metric(ts="2026-01-01T12:00:00.000950Z", power_w=3),
        metric(ts="2026-01-01T11:59:59.999Z", event_id="z", power_w=4),
    ]
    records = [record(readings[at], at, topic=TOPIC_METRIC) for at in order]
    for batch in [records] if together else [[one] for one in records]:
        store_writes(store, "gpu_metrics", writes(*batch, collection="gpu_metrics"))
    assert [latest["power_w"] for latest in store.latest.values()] == [2]
