"""Closed months in the store, and the command that closes them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from closing_cases import rows_of, sums_of
from gpu_token_processor.exports.command import main
from gpu_token_processor.exports.exports import Exports
from gpu_token_processor.ledger.exact import exact
from gpu_token_processor.store.closings import Closing, MongoClosings
from gpu_token_processor.store.reads import MongoReads
from gpu_token_processor.store.rollups import MongoRollups
from processor_fakes import metric, usage
from pymongo import MongoClient
from rollup_cases import KEEPS_ALL, documents

NOW = datetime(2026, 3, 5, tzinfo=UTC)
CLOSING = Closing(0, "2026-01", NOW, str(ObjectId()), ("2026-01-05",))


@pytest.fixture
def client(mongo_url: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongo_url, tz_aware=True) as made:
        yield made


def test_of_two_who_close_at_once_one_does(client: MongoClient[Any], mongo_database: str) -> None:
    closings = MongoClosings(client, mongo_database)
    other = CLOSING._replace(id=str(ObjectId()), month="2026-02")
    for one in (CLOSING, other):
        closings.keep(one.id, "2026-01-05", one.id.encode())
    assert closings.publish(CLOSING)
    assert not closings.publish(other)
    assert closings.all() == [CLOSING]
    assert closings.charges(CLOSING, "2026-01-05") == CLOSING.id.encode()
    assert closings.charges(CLOSING, "2026-01-06") is None


def test_what_was_begun_long_ago_and_never_closed_is_swept(
    client: MongoClient[Any], mongo_database: str
) -> None:
    closings = MongoClosings(client, mongo_database)
    now = datetime.now(UTC)
    long_ago = str(ObjectId.from_datetime(now - timedelta(days=2)))
    closed = CLOSING._replace(id=str(ObjectId.from_datetime(now - timedelta(days=3))))
    begun = str(ObjectId())
    for closing_id in (long_ago, closed.id, begun):
        closings.keep(closing_id, "2026-01-05", b"")
    closings.publish(closed)
    closings.sweep(closings.all(), now)
    left = {one["_id"] for one in client[mongo_database]["focus_charges"].find()}
    assert left == {f"{closed.id}/2026-01-05", f"{begun}/2026-01-05"}


def test_the_command_closes_and_a_late_event_becomes_a_correction(
    client: MongoClient[Any],
    mongo_url: str,
    mongo_database: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MONGO_URL", mongo_url)
    monkeypatch.setenv("MONGO_DATABASE", mongo_database)

    def store(*events: dict[str, Any]) -> None:
        for number, (collection, document) in enumerate(documents(events)):
            client[mongo_database][collection].insert_one({**document, "_id": f"{ObjectId()}-{number}"})

    def export(month: str) -> list[dict[str, str]]:
        reads = MongoReads(client, mongo_database)
        rollups = MongoRollups(client, mongo_database, KEEPS_ALL)
        closings = MongoClosings(client, mongo_database)
        exports = Exports(reads, rollups, 30_000_000, exact(0.85), closings, now=lambda: NOW)
        return rows_of("".join(exports.focus(month)))

    assert main([]) == 0
    assert capsys.readouterr().out == "No month is closed.\n"
    store(*(metric(ts=f"2026-01-05T10:00:{second:02}Z") for second in range(0, 60, 10)))
    store(usage(ts="2026-01-05T10:00:05Z"))
    before = export("2026-01")
    assert before
    assert main(["2026-01"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("2026-01 is closed; days with charges: 1.\n2026-01 was closed at 20")
    assert export("2026-02") == []

    store(metric(ts="2026-01-05T10:30:00Z"), usage(ts="2026-01-20T10:30:00Z", model="late"))
    assert export("2026-01") == before
    late = export("2026-02")
    assert {row["ChargeClass"] for row in late} == {"Correction"}
    assert {row["BillingPeriodStart"] for row in late} == {"2026-02-01T00:00:00Z"}
    assert {row["ChargePeriodStart"] for row in late} == {"2026-01-05T00:00:00Z", "2026-01-20T00:00:00Z"}
    with_corrections = sums_of(before + late)
    client[mongo_database]["focus_closings"].delete_many({})
    assert sums_of(export("2026-01")) == with_corrections


@pytest.mark.parametrize(
    ("month", "sentence"),
    [
        ("2026-13", "MONTH is '2026-13': it must be a month such as 2026-10.\n"),
        ("2099-01", "2099-01 is not over: close it when it is.\n"),
    ],
)
def test_what_cannot_be_closed_is_refused(
    month: str,
    sentence: str,
    mongo_url: str,
    mongo_database: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MONGO_URL", mongo_url)
    monkeypatch.setenv("MONGO_DATABASE", mongo_database)
    assert main([month]) == 2
    assert capsys.readouterr().err == sentence
