"""Events are deleted at some age. What was counted of them stays, and every answer says what is not in it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from closing_cases import MemoryClosings, rows_of
from gpu_token_contracts import moment
from gpu_token_processor.api.answers import Answers, Asked, Shown
from gpu_token_processor.api.models import CostAnswer
from gpu_token_processor.exports.days import Shape
from gpu_token_processor.exports.exports import Exports
from gpu_token_processor.exports.months import Month
from gpu_token_processor.ledger.catalog_file import parse_catalog
from gpu_token_processor.ledger.catalog_store import apply
from gpu_token_processor.ledger.exact import US_PER_HOUR, exact, stored_us
from gpu_token_processor.retention import Retention
from gpu_token_processor.rollups import command
from gpu_token_processor.rollups.counting import Counting
from gpu_token_processor.rollups.pace import Pace
from gpu_token_processor.rollups.sharing import Sharing
from gpu_token_processor.rollups.touched import touched_hours
from gpu_token_processor.selection import Selection
from gpu_token_processor.store.mongo import MongoEventStore
from gpu_token_processor.store.reads import MongoReads
from gpu_token_processor.store.rollups import MongoRollups
from processor_fakes import metric, usage
from pymongo import MongoClient
from rollup_cases import documents

GAP = timedelta(seconds=30)
DAYS = 10
# Ten o'clock of the day whose events the tests store.
TEN = datetime(2026, 3, 2, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(minutes: float) -> str:
    return (TEN + timedelta(minutes=minutes)).isoformat()


# From 10:00 to 12:00; each minute has a reading and a request.
EVENTS = [
    event(ts=at(minute), event_id=f"{name}{minute}")
    for minute in range(120)
    for name, event in (("m", metric), ("u", usage))
]


class Place:
    """A store that keeps events for ten days, and its clock."""

    def __init__(self, client: MongoClient[dict[str, Any]], name: str) -> None:
        self.client, self.name = client, name
        self.database = client[name]
        self.now = TEN + timedelta(days=1)
        self.events = MongoEventStore(client, name)
        self.reads = MongoReads(client, name)
        self.hours = MongoRollups(client, name, Retention(DAYS, GAP), lambda: self.now)
        self.counting = Counting(self.hours, self.reads, 30_000_000, Pace(1), lambda: self.now)

    def store(self, *events: dict[str, Any]) -> None:
        for collection, document in documents(events):
            self.events.insert(collection, [document])
            self.events.mark_hours(touched_hours(collection, [document], GAP))
        # Marks are of this computer's time, which the place's clock need not know.
        self.database["rollup_marks"].update_many({}, {"$set": {"touched": datetime(1970, 1, 1, tzinfo=UTC)}})

    def count(self) -> int:
        hours = 0
        while self.counting.count_one():
            hours += 1
        return hours

    def share(self) -> int:
        sharing = Sharing(self.hours, self.reads, 30_000_000, exact(0.85), Pace(1), lambda: self.now)
        sharing.look_around()
        days = 0
        while sharing.share_one():
            days += 1
        return days

    def pass_days(self, days: float) -> None:
        """The clock goes on, and the store deletes what is too old, as its indexes say."""
        self.now += timedelta(days=days)
        for name in ("gpu_metrics", "token_usage"):
            self.database[name].delete_many({"ts": {"$lt": self.now - timedelta(days=DAYS)}})

    def cost(self, start: datetime = TEN, end: datetime = TEN + 2 * HOUR) -> CostAnswer:
        answers = Answers(self.reads, 30, 30, 0.85, None, self.hours)
        return answers.cost(Asked(start, end), Selection(), Shown())

    def leased(self, start: datetime = TEN, end: datetime = TEN + 2 * HOUR) -> CostAnswer:
        answers = Answers(self.reads, 30, 30, 0.85, None, self.hours)
        return answers.cost(Asked(start, end), Selection(), Shown(basis="leased"))

    def apply(self, catalog: dict[str, Any]) -> None:
        apply(self.database, parse_catalog(catalog), self.now)


@pytest.fixture
def place(mongo_url: str, mongo_database: str) -> Iterator[Place]:
    with MongoClient[dict[str, Any]](mongo_url, tz_aware=True) as client:
        place = Place(client, mongo_database)
        place.store(*EVENTS)
        yield place


@pytest.mark.parametrize("days", [4, 10, 90])
@pytest.mark.parametrize("gap", [GAP, timedelta(days=1)])
def test_an_event_is_refused_before_its_hours_can_no_longer_be_counted(days: int, gap: timedelta) -> None:
    retention = Retention(days, gap)
    now = TEN + timedelta(minutes=17)
    oldest = now - retention.accepted_age
    counted = touched_hours("token_usage", [{"ts": oldest}], gap)
    # For a whole day more, all that the hour is counted from is there.
    later = now + timedelta(days=1)
    assert oldest < now
    assert min(counted) >= retention.first_hour(later) - 1
    needed = moment(retention.first_hour(later) * US_PER_HOUR) - gap
    assert needed - timedelta(days=1) >= later - timedelta(days=days)


def test_what_was_counted_stays_when_its_events_are_deleted(place: Place) -> None:
    before = place.cost()
    assert place.count() == 2
    place.pass_days(30)
    after = place.cost()
    assert place.database["gpu_metrics"].count_documents({}) == 0
    assert (after.rows, after.total, after.idle) == (before.rows, before.total, before.idle)
    assert after.total.tokens.total == 120 * 1440
    assert (after.coverage.read_from, after.coverage.deleted_seconds) == ("rollups", 0)


def test_nothing_makes_an_empty_hour_out_of_a_full_one(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.count()
    before = place.cost()
    # The first hour's events are in part deleted.
    place.pass_days(DAYS - 1 + 0.5 / 24)
    left = place.database["token_usage"].count_documents({})
    assert 0 < left < 120
    # Whatever asks for it to be counted again: a mark, as of events that came in time and waited; a catalogue
    # with a date in the hour; a look around; a rebuild.
    place.events.mark_hours({stored_us(TEN) // US_PER_HOUR})
    place.apply({"prices": [{"selector": {"uuid": "GPU-z"}, "usd_per_hour": 1, "valid_from": at(20)}]})
    place.counting.look_around()
    assert place.count() == 0
    assert "1 hours had new events and were not counted in time" in caplog.text
    after = place.cost()
    assert (after.rows, after.idle) == (before.rows, before.idle)
    assert after.coverage.approximate_hours == 1
    assert place.hours.backlog().hours == 0


def test_a_mark_of_an_hour_that_can_no_longer_be_counted_does_not_lead_to_its_events(place: Place) -> None:
    place.count()
    before = place.cost()
    place.pass_days(DAYS - 1 + 0.5 / 24)
    place.events.mark_hours({stored_us(TEN) // US_PER_HOUR})
    after = place.cost()
    assert (after.total, after.coverage.deleted_seconds) == (before.total, 0)


def test_rebuild_leaves_old_hours_as_they_were_counted_and_says_so(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mongo_url: str
) -> None:
    place.count()
    monkeypatch.setenv("MONGO_URL", mongo_url)
    monkeypatch.setenv("MONGO_DATABASE", place.database.name)
    monkeypatch.setenv("RAW_RETENTION_DAYS", str(DAYS))
    digests = [one["digest"] for one in place.database["rollup_hours"].find().sort("_id")]
    place.database["token_usage"].delete_many({})
    assert command.main(["--rebuild"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "0 hours have been counted again."
    assert told[1].endswith(f" stay as they were counted: events are kept for {DAYS} days.")
    assert [one["digest"] for one in place.database["rollup_hours"].find().sort("_id")] == digests


def test_parts_of_old_hours_are_told_as_deleted(place: Place) -> None:
    place.count()
    whole = place.cost()
    place.pass_days(30)
    edge = place.cost(TEN + timedelta(minutes=20))
    assert edge.coverage.deleted_seconds == 40 * 60
    assert edge.total.tokens.total == whole.total.tokens.total // 2
    # Before the first counted hour there is nothing to know of.
    assert place.cost(TEN - timedelta(days=300)).coverage.deleted_seconds == 0
    answers = Answers(place.reads, 30, 30, 0.85, None, place.hours)
    everything = answers.usage(Asked(None, TEN + 2 * HOUR), Selection(), Shown(), 100, None)
    assert everything.totals.events == 120
    assert everything.coverage is not None
    assert everything.rows is not None
    assert [row.tokens for row in everything.rows] == [row.tokens for row in whole.rows]
    assert everything.coverage.deleted_seconds == 0
    later = Asked(TEN + timedelta(minutes=20), TEN + 2 * HOUR)
    assert answers.usage(later, Selection(), None, 100, None).totals.events == 60


def test_events_that_are_kept_for_longer_bring_back_no_hour(place: Place) -> None:
    place.count()
    before = place.cost()
    place.pass_days(DAYS + 2)
    place.counting.look_around()
    place.hours = MongoRollups(place.client, place.name, Retention(3 * DAYS, GAP), lambda: place.now)
    place.counting = Counting(place.hours, place.reads, 30_000_000, Pace(1), lambda: place.now)
    place.store(usage(ts=at(30), event_id="late"))
    place.hours.mark(range(*(stored_us(TEN + hours * HOUR) // US_PER_HOUR for hours in (0, 2))))
    assert place.count() == 0
    after = place.cost()
    assert (after.rows, after.total, after.idle) == (before.rows, before.total, before.idle)
    # Once it has been so long, newer hours are counted as ever.
    place.store(usage(ts=(place.now - 2 * HOUR).isoformat(), event_id="new"))
    assert place.count() == 1


def test_a_clock_that_was_far_ahead_once_ends_no_counting(place: Place) -> None:
    place.now += timedelta(days=4_000)
    place.counting.look_around()
    place.now -= timedelta(days=4_000)
    place.counting.look_around()
    assert place.count() == 2


def test_deleted_time_is_not_paid_for_as_unreported(place: Place) -> None:
    place.apply({"leases": [{"selector": {"host": "gpu-a"}, "gpus": 1, "from": at(-600)}]})
    place.count()
    whole = place.leased()
    place.pass_days(30)
    edge = place.leased(TEN + timedelta(minutes=20))
    assert edge.coverage.deleted_seconds == 40 * 60
    assert edge.idle.unreported_usd == whole.idle.unreported_usd / 2
    assert edge.coverage.leased_seconds == whole.coverage.leased_seconds / 2
    # What was before the first counted hour was leased, and nobody reported.
    assert place.leased(TEN - HOUR).coverage.unreported_seconds >= 3600


def test_an_hour_that_nobody_counted_in_time_is_told_as_deleted(place: Place) -> None:
    place.counting.count_one(upto=stored_us(TEN) // US_PER_HOUR + 1)
    place.pass_days(30)
    answer = place.cost()
    assert answer.coverage.deleted_seconds == 3600
    assert answer.total.tokens.total == 60 * 1440


@pytest.mark.parametrize(
    ("catalog", "usd"),
    [
        # Within the hour from 10 to 11, all of which has the price of its beginning.
        (
            [
                {"selector": {"gpu_name": "A"}, "usd_per_hour": 1, "valid_to": at(20)},
                {"selector": {"gpu_name": "A"}, "usd_per_hour": 3, "valid_from": at(20)},
            ],
            2.0,
        ),
        # At its end: as if the events were there.
        (
            [
                {"selector": {"gpu_name": "A"}, "usd_per_hour": 1, "valid_to": at(60)},
                {"selector": {"gpu_name": "A"}, "usd_per_hour": 3, "valid_from": at(60)},
            ],
            2.0,
        ),
    ],
    ids=["within-the-hour", "between-hours"],
)
def test_a_catalogue_that_cuts_an_old_hour_is_followed_as_well_as_can_be(
    place: Place, catalog: list[dict[str, Any]], usd: float
) -> None:
    place.database["gpu_metrics"].delete_many({})
    place.store(
        *(
            metric(ts=at(minute / 2), event_id=f"p{minute}", name="A", price_per_hour_usd=None)
            for minute in range(240)
        )
    )
    place.count()
    place.pass_days(30)
    place.apply({"prices": catalog})
    answer = place.cost()
    assert answer.total.cost_usd is not None
    # Readings cover both hours.
    assert float(answer.total.cost_usd) == usd * 2
    assert answer.coverage.approximate_hours == (catalog[0]["valid_to"] == at(20))


def test_two_gpus_that_the_catalogue_makes_one_stay_counted(place: Place) -> None:
    place.store(metric(ts=at(1), event_id="other", uuid="GPU-u", host=None, gpu_index=None, name=None))
    place.count()
    place.pass_days(30)
    before = place.cost()
    place.apply({"gpus": [{"uuid": "GPU-u", "host": "gpu-a", "gpu_index": 0}]})
    after = place.cost()
    assert after.coverage.covered_seconds == before.coverage.covered_seconds
    assert (before.coverage.approximate_hours, after.coverage.approximate_hours) == (0, 1)


def test_days_are_shared_anew_from_old_hours_when_the_catalogue_changes(place: Place) -> None:
    """As long as their hours can be told exactly; else each hour says that it cannot."""
    midnight = TEN.replace(hour=0)
    place.store(*(metric(ts=(midnight + hour * HOUR).isoformat(), event_id=f"h{hour}") for hour in range(25)))
    place.count()
    day = (midnight, midnight + timedelta(days=1))
    before = place.cost(*day)
    place.pass_days(30)
    place.events.mark_hours({stored_us(TEN) // US_PER_HOUR})
    place.share()
    assert kept_days(place) == [{"data", "on_gpus", "events"}]
    assert place.cost(*day).total == before.total
    # A price of another GPU from a full hour on leaves the day as it is.
    row = {"selector": {"uuid": "GPU-z"}, "usd_per_hour": 1, "valid_from": at(0)}
    place.apply({"prices": [row]})
    place.share()
    assert kept_days(place) == [{"data", "on_gpus", "events"}]
    assert place.cost(*day).coverage.approximate_hours == 0
    # One within an hour does not; and nobody shares the day again and again.
    place.apply({"prices": [row, {**row, "selector": {"uuid": "GPU-y"}, "valid_from": at(20)}]})
    assert place.share() == 1
    assert kept_days(place) == [set()]
    assert place.share() == 0
    told = place.cost(*day)
    assert (told.total, told.coverage.approximate_hours) == (before.total, 1)


def kept_days(place: Place) -> list[set[str]]:
    """Which parts each shared day has."""
    parts = {"data", "on_gpus", "events"}
    return [parts & day.keys() for day in place.database["rollup_days"].find()]


def test_exports_begin_with_the_first_counted_hour(place: Place) -> None:
    place.count()
    place.pass_days(30)
    exports = exports_of(place)
    text = "".join(
        exports.cost(TEN - timedelta(days=20), TEN + timedelta(days=20), Shape(("model",), "covered"))
    )
    assert len(text.splitlines()) == 2


def test_what_was_deleted_is_no_reason_to_give_money_back(place: Place) -> None:
    place.count()
    place.now = datetime(2026, 4, 1, 1, tzinfo=UTC)
    closings = MemoryClosings()
    exports_of(place, closings).close(Month.parse("2026-03"))
    # The first hour was too large to keep, say.
    place.database["rollup_hours"].update_one(
        {"_id": stored_us(TEN) // US_PER_HOUR}, {"$unset": {"data": "", "events": ""}}
    )
    place.database["rollup_hours"].update_many({}, {"$set": {"digest": "of another version"}})
    place.pass_days(10)
    later = exports_of(place, closings)
    assert rows_of("".join(later.focus("2026-04"))) == []
    assert rows_of("".join(later.focus("2026-03"))) != []


def test_roll_ups_that_were_lost_are_no_reason_either(place: Place) -> None:
    place.count()
    place.now = datetime(2026, 4, 1, 1, tzinfo=UTC)
    closings = MemoryClosings()
    exports_of(place, closings).close(Month.parse("2026-03"))
    place.pass_days(10)
    for name in ("rollup_hours", "rollup_days", "rollup_marks"):
        place.database[name].delete_many({})
    assert rows_of("".join(exports_of(place, closings).focus("2026-04"))) == []


def exports_of(place: Place, closings: MemoryClosings | None = None) -> Exports:
    return Exports(
        place.reads,
        place.hours,
        30_000_000,
        exact(0.85),
        closings or MemoryClosings(),
        place.hours.hours_known,
        lambda: place.now,
    )
