"""Counters of cost and tokens: hours that have ended, each once, and never less than before."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from gpu_token_processor.exports.days import Ledgers
from gpu_token_processor.ledger.exact import US_PER_HOUR, exact, stored_us
from gpu_token_processor.metrics import Metrics
from gpu_token_processor.rollups.counting import Counting
from gpu_token_processor.rollups.pace import Pace
from gpu_token_processor.rollups.spending import Spending
from gpu_token_processor.store.reads import MongoReads
from gpu_token_processor.store.rollups import MongoRollups
from processor_fakes import metric, usage
from pymongo import MongoClient
from rollup_cases import KEEPS_ALL, documents

GAP_US = 30_000_000


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-05T{text}:00+00:00")


class Place:
    """A store, and a processor's counters that began at 10:20."""

    def __init__(self, client: MongoClient[dict[str, Any]], database: str) -> None:
        self.database = client[database]
        self.hours = MongoRollups(client, database, KEEPS_ALL)
        self.reads = MongoReads(client, database)
        self.metrics = Metrics()
        self.spending = self.counters(self.metrics, "10:20")
        # What hours are counted by; the marks of these tests are of no time at all.
        self.counting = Counting(self.hours, self.reads, GAP_US, Pace(1))

    def counters(self, metrics: Metrics, started: str) -> Spending:
        return Spending(
            self.hours,
            lambda: Ledgers(self.reads, self.hours, GAP_US, exact(0.85)),
            metrics,
            at(started),
        )

    def send(self, *events: dict[str, Any]) -> None:
        """Store, and mark the hours."""
        for collection, document in documents(events):
            self.database[collection].insert_one({**document, "_id": str(ObjectId())})
            self.hours.mark([stored_us(document["ts"]) // US_PER_HOUR])

    def count(self) -> None:
        while self.counting.count_one():
            pass

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"gpu_token_{name}_total", labels)


@pytest.fixture
def place(mongo_url: str, mongo_database: str) -> Iterator[Place]:
    with MongoClient[dict[str, Any]](mongo_url, tz_aware=True) as client:
        yield Place(client, mongo_database)


READING = {"uuid": "GPU-a", "price_per_hour_usd": 1.2}
# Thirty seconds of 1.2 USD an hour.
HALF_A_MINUTE_USD = 0.01


def test_an_hour_counts_once_when_it_is_over_and_counted(place: Place) -> None:
    place.send(metric(ts="2026-01-05T10:05:00Z", **READING), usage(ts="2026-01-05T10:05:01Z", model="m"))
    place.count()
    place.spending.look(at("10:59"))
    assert place.value("cost_usd", model="m") is None
    for now in ("11:01", "11:02", "12:00"):
        place.spending.look(at(now))
        assert place.value("cost_usd", model="m") == pytest.approx(HALF_A_MINUTE_USD)
        assert place.value("tokens", **{"model": "m", "class": "uncached_prompt"}) == 1_000
        assert place.value("tokens", **{"model": "m", "class": "completion"}) == 440
    later = Metrics()
    place.counters(later, "11:30").look(at("12:10"))
    assert later.registry.get_sample_value("gpu_token_cost_usd_total", {"model": "m"}) is None


def test_an_hour_that_is_not_counted_yet_waits(place: Place) -> None:
    place.send(metric(ts="2026-01-05T10:05:00Z", **READING), usage(ts="2026-01-05T10:05:01Z", model="m"))
    place.spending.look(at("11:01"))
    assert place.value("cost_usd", model="m") is None
    place.count()
    place.spending.look(at("11:02"))
    assert place.value("cost_usd", model="m") == pytest.approx(HALF_A_MINUTE_USD)


def test_late_events_add_what_they_change_and_take_nothing_away(place: Place) -> None:
    place.send(metric(ts="2026-01-05T10:05:00Z", **READING), usage(ts="2026-01-05T10:05:01Z", model="m"))
    place.count()
    place.spending.look(at("11:01"))
    # Another model pays for half of it, and m for less than the counter says.
    place.send(usage(ts="2026-01-05T10:05:02Z", model="n"))
    place.count()
    place.spending.look(at("11:20"))
    assert place.value("cost_usd", model="m") == pytest.approx(HALF_A_MINUTE_USD)
    assert place.value("cost_usd", model="n") == pytest.approx(HALF_A_MINUTE_USD / 2)
    # What m costs next is set off against it.
    place.send(metric(ts="2026-01-05T11:05:00Z", **READING), usage(ts="2026-01-05T11:05:01Z", model="m"))
    place.count()
    place.spending.look(at("12:01"))
    assert place.value("cost_usd", model="m") == pytest.approx(HALF_A_MINUTE_USD * 1.5)


def test_what_comes_two_days_late_changes_nothing(place: Place) -> None:
    place.send(metric(ts="2026-01-05T10:05:00Z", **READING), usage(ts="2026-01-05T10:05:01Z", model="m"))
    place.count()
    place.spending.look(datetime(2026, 1, 7, 11, tzinfo=UTC))
    assert place.value("cost_usd", model="m") is None
