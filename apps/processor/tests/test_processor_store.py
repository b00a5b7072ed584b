"""The same questions to the fake and to a real store."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from gpu_token_processor.pipeline.decoding import Decoder
from gpu_token_processor.pipeline.storing import Stored, store_writes
from gpu_token_processor.selection import Range, Selection
from gpu_token_processor.store.contract import EventStore
from gpu_token_processor.store.mongo import MongoEventStore
from gpu_token_processor.store.reads import MongoReads, Reads, UsageRow
from processor_fakes import (
    NOW,
    TOPIC_METRIC,
    TOPIC_TOKEN,
    TOPICS,
    FakeReads,
    FakeStore,
    metric,
    record,
    usage,
)
from pymongo import MongoClient

EVERYTHING = Range(), Selection()
EVER = NOW + timedelta(days=1)


class Stores:
    """A store and its reads."""

    def __init__(self, store: EventStore, reads: Reads) -> None:
        self.store = store
        self.reads = reads

    def send(self, topic: str, *events: dict[str, Any], first_offset: int = 0) -> Stored:
        decoder = Decoder(TOPICS, timedelta(days=3650), timedelta(minutes=10), lambda: NOW)
        batch = decoder.decode([record(event, first_offset + at, topic) for at, event in enumerate(events)])
        (stored,) = [
            store_writes(self.store, collection, writes)
            for collection, writes in batch.writes.items()
            if writes.documents
        ]
        return stored


@pytest.fixture
def fake_stores() -> Stores:
    store = FakeStore()
    return Stores(store, FakeReads(store))


@pytest.fixture
def real_stores(mongo_url: str, mongo_database: str) -> Iterator[Stores]:
    with MongoClient[dict[str, Any]](mongo_url, tz_aware=True) as client:
        yield Stores(MongoEventStore(client, mongo_database), MongoReads(client, mongo_database))


@pytest.fixture(params=["fake", "real"])
def stores(request: pytest.FixtureRequest) -> Stores:
    chosen: Stores = request.getfixturevalue(f"{request.param}_stores")
    return chosen


def test_nothing_yet(stores: Stores) -> None:
    assert stores.reads.latest_event_time(EVER) is None
    assert list(stores.reads.readings(Range())) == []
    assert list(stores.reads.usage(Range())) == []
    assert stores.reads.usage_sums(*EVERYTHING) == []
    assert stores.reads.latest_readings(None, None) == []
    assert stores.reads.dead_letters() == []
    stores.reads.ping()


def test_a_redelivery_is_found_stored(stores: Stores) -> None:
    events = [usage(prompt_tokens=number, ts=f"2026-01-01T12:00:00.12345{number}Z") for number in range(5)]
    assert stores.send(TOPIC_TOKEN, *events).stored == 5
    again = stores.send(TOPIC_TOKEN, *events)
    assert (again.stored, again.duplicates, again.refusals) == (0, 5, [])
    assert sum(row.events for row in stores.reads.usage_sums(*EVERYTHING)) == 5


def test_another_event_at_a_known_position_is_refused(stores: Stores) -> None:
    stores.send(TOPIC_TOKEN, usage(prompt_tokens=1))
    assert [refusal.reason for refusal in stores.send(TOPIC_TOKEN, usage(prompt_tokens=2)).refusals] == [
        "store_refused"
    ]


def test_another_event_under_a_known_id_is_a_conflict(stores: Stores) -> None:
    sound = [
        usage(event_id="u", gpu_uuids=["GPU-2", "GPU-1"], tags={"b.c": "1", "a": ""}, latency_ms=5.5),
        usage(event_id="v", ts="2026-01-01T12:00:00.000900Z", trace={"b": 1, "a": [None, 2**40]}),
    ]
    stores.send(TOPIC_TOKEN, *sound)
    again = stores.send(TOPIC_TOKEN, *sound, first_offset=10)
    assert (again.duplicates, again.conflicts) == (2, 0)
    other = stores.send(
        TOPIC_TOKEN, sound[0] | {"tags": {"a": ""}}, sound[1] | {"host": "b"}, first_offset=20
    )
    assert (other.duplicates, other.conflicts) == (0, 2)
    assert ["'tags'" in refusal.message for refusal in other.refusals] == [True, False]


def test_unknown_fields_of_any_shape(stores: Stores) -> None:
    odd = usage(**{"$set": {"$inc": 1}, "a.b": [1, None, 2.5], "_id": "mine"})
    assert stores.send(TOPIC_TOKEN, odd).stored == 1
    (kept,) = stores.store.find("token_usage", ["token.usage.v1:0:0"]).values()
    assert (kept["a.b"], kept["extras"]) == ([1, None, 2.5], {"$set": {"$inc": 1}, "_id": "mine"})


def test_ranges_and_selections(stores: Stores) -> None:
    stores.send(
        TOPIC_TOKEN,
        usage(ts="2026-01-01T11:59:59Z"),
        usage(),
        usage(host="gpu-b", gpu_index=1, model="mixtral", gpu_uuid="GPU-1"),
    )
    second = Range(NOW, NOW + timedelta(seconds=1))
    assert sorted(stores.reads.usage_sums(second, Selection())) == [
        UsageRow("llama-3-70b", False, 1, 1000, 440),
        UsageRow("mixtral", False, 1, 1000, 440),
    ]
    on_gpu_a = stores.reads.usage_sums(Range(), Selection(host="gpu-a", gpu_index=0))
    assert [row.events for row in on_gpu_a] == [2]
    assert [row.events for row in stores.reads.usage_sums(Range(), Selection(model="mixtral"))] == [1]
    assert [event.gpu_uuid for event in stores.reads.usage(second)] == [None, "GPU-1"]


def test_a_model_has_one_sum_of_engines_and_one_of_gateways(stores: Stores) -> None:
    """Engines and sources that do not say are one: a model that stood twice would be two of a page."""
    for first_offset, measured_by in enumerate((None, "engine", "gateway")):
        stores.send(TOPIC_TOKEN, usage(measured_by=measured_by), first_offset=first_offset)
    assert sorted(stores.reads.usage_sums(*EVERYTHING)) == [
        UsageRow("llama-3-70b", False, 2, 2000, 880),
        UsageRow("llama-3-70b", True, 1, 1000, 440),
    ]


def test_intervals_that_end_after_the_range_are_read_too(stores: Stores) -> None:
    ends = {"short": ("10:01:00", 90), "long": ("11:00:00", 3600.5), "after": ("10:01:00", 30)}
    stores.send(
        TOPIC_TOKEN,
        *(
            usage(model=model, ts=f"2026-01-01T{end}Z", interval_seconds=seconds)
            for model, (end, seconds) in ends.items()
        ),
    )
    end = NOW - timedelta(hours=2)
    during = Range(end - timedelta(minutes=1), end)
    assert [event.model for event in stores.reads.usage(during)] == ["short", "long"]


def test_readings_in_order_and_the_latest_of_each_gpu(stores: Stores) -> None:
    stores.send(
        TOPIC_METRIC,
        metric(ts="2026-01-01T12:00:02Z", power_w=2),
        metric(ts="2026-01-01T12:00:01Z", power_w=1),
        metric(ts="2026-01-01T11:00:00Z", power_w=9, name="A100 40GB", host="gpu-b"),
    )
    stores.send(TOPIC_METRIC, metric(ts="2026-01-01T11:30:00Z", power_w=7), first_offset=10)
    assert [reading.power_w for reading in stores.reads.readings(Range())] == [9, 7, 1, 2]
    assert [gpu["power_w"] for gpu in stores.reads.latest_readings(None, None)] == [2, 9]
    assert [gpu["power_w"] for gpu in stores.reads.latest_readings("gpu-b", None)] == [9]
    assert [gpu["power_w"] for gpu in stores.reads.latest_readings(None, "RTX 3090")] == [2]


def test_equal_times_are_ordered_by_id_whatever_came_first(stores: Stores) -> None:
    for number, order in enumerate(permutations((None, "a", "b"))):
        for event_id in order:
            reading = metric(
                # One millisecond, in which the least id is the last.
                ts=f"2026-01-01T12:00:00.000{9 if event_id is None else 1}00Z",
                name=f"GPU {number}",
                event_id=event_id and f"{event_id}-{number}",
                power_w={None: 3, "a": 1, "b": 2}[event_id],
            )
            stores.send(TOPIC_METRIC, reading, first_offset=number)
    assert [gpu["power_w"] for gpu in stores.reads.latest_readings(None, None)] == [2] * 6


def test_the_latest_event_moves_on(stores: Stores) -> None:
    def latest() -> datetime | None:
        return stores.reads.latest_event_time(EVER)

    stores.send(TOPIC_TOKEN, usage(ts="2026-01-01T10:00:00Z"))
    assert latest() == NOW - timedelta(hours=2)
    stores.send(TOPIC_METRIC, metric(ts="2026-01-01T11:00:00Z"))
    assert latest() == NOW - timedelta(hours=1)
    stores.send(TOPIC_TOKEN, usage(), first_offset=1)
    assert latest() == NOW
    stores.send(TOPIC_TOKEN, usage(ts="2026-01-01T09:00:00Z"), first_offset=2)
    assert latest() == NOW


def test_the_latest_event_is_not_ahead_of_the_clock(stores: Stores) -> None:
    """Neither a usage event nor a reading: it would empty the default window until its time comes."""
    stores.send(TOPIC_TOKEN, usage(), usage(ts="2026-01-01T12:09:59Z"))
    assert stores.reads.latest_event_time(NOW + timedelta(seconds=1)) == NOW
    stores.send(TOPIC_METRIC, metric(ts="2026-01-01T12:00:01Z"), metric(ts="2026-01-01T12:09:58Z"))
    assert stores.reads.latest_event_time(NOW + timedelta(seconds=1)) == NOW + timedelta(seconds=1)
    assert stores.reads.latest_event_time(NOW + timedelta(hours=1)) == NOW + timedelta(minutes=9, seconds=59)


def test_dead_letters_are_counted_once(stores: Stores) -> None:
    notes = [
        {"_id": f"t:0:{at}", "topic": "t", "reason": reason, "ts": NOW, "message": "m", "record_ts_ms": 1}
        for at, reason in enumerate(["invalid_json", "invalid_json", "tombstone"])
    ]
    for _ in range(2):
        stores.store.insert("dead_letters", notes)
    assert stores.reads.dead_letters_in(Range()) == {"invalid_json": 2, "tombstone": 1}
    assert stores.reads.dead_letters_in(Range(end=NOW)) == {"invalid_json": 2, "tombstone": 1}
    assert stores.reads.dead_letters_in(Range(start=NOW)) == {}
    assert stores.reads.dead_letters() == [
        ("t", "invalid_json", 2, NOW),
        ("t", "tombstone", 1, NOW),
    ]


def test_what_is_put_takes_the_place_of_what_was_there_and_can_be_deleted(stores: Stores) -> None:
    store = stores.store
    store.put("dead_letters", [{"_id": "a", "sent": False}, {"_id": "b", "sent": False, "old": 1}])
    store.put("dead_letters", [{"_id": "b", "sent": True}])
    assert store.find("dead_letters", ["a", "b"]) == {
        "a": {"_id": "a", "sent": False},
        "b": {"_id": "b", "sent": True},
    }
    store.delete("dead_letters", ["b", "absent"])
    assert store.find("dead_letters", ["a", "b"]).keys() == {"a"}
