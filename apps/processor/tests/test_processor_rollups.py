"""Whatever happens, and in whatever order: hours that are taken for counted give what the raw events give."""

import random
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from gpu_token_contracts import moment
from gpu_token_processor.api.answers import Answers, Asked, Shown
from gpu_token_processor.documents import Document
from gpu_token_processor.ledger.catalog_file import parse_catalog
from gpu_token_processor.ledger.catalog_store import apply
from gpu_token_processor.ledger.exact import HOURS_PER_DAY, US_PER_DAY, US_PER_HOUR, stored_us
from gpu_token_processor.rollups.counting import Counting
from gpu_token_processor.rollups.pace import Halted, Pace
from gpu_token_processor.rollups.sharing import Sharing
from gpu_token_processor.rollups.touched import touched_hours
from gpu_token_processor.selection import Selection
from gpu_token_processor.store.mongo import MongoEventStore
from gpu_token_processor.store.reads import MongoReads
from gpu_token_processor.store.rollups import LEASE, QUIET, MongoRollups
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ledger_cases import Case, Maker
from processor_mongo import database
from pymongo import MongoClient
from rollup_actors import Actor
from rollup_cases import KEEPS_ALL, METRICS, SELECTIONS, USAGE, answers, documents, hours_of

GAP_SECONDS = 600
GAP_US = GAP_SECONDS * 1_000_000
DEFAULT_PRICE = "0.85"
CALLS = 120
STEPS = (None, "day", "month")
# The seed says it all, and to shrink it takes minutes.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


class World:
    """A store, and a clock that may jump."""

    def __init__(self, client: MongoClient[Document], name: str) -> None:
        self.database = client[name]
        self.events = MongoEventStore(client, name)
        self.reads = MongoReads(client, name)
        self.hours = MongoRollups(client, name, KEEPS_ALL)
        # What is marked now is quiet.
        self.ahead = 2 * QUIET

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def counting(self, actor: Actor | None = None, **options: Any) -> Counting:
        hours, reads = (actor.over(self.hours), actor.over(self.reads)) if actor else (self.hours, self.reads)
        return Counting(hours, reads, GAP_US, Pace(1), self.now, **options)

    def share(self, actor: Actor | None = None) -> None:
        hours, reads = (actor.over(self.hours), actor.over(self.reads)) if actor else (self.hours, self.reads)
        sharing = Sharing(hours, reads, GAP_US, Fraction(DEFAULT_PRICE), Pace(1), self.now)
        sharing.look_around()
        while sharing.share_one():
            pass

    def store(self, *batch: tuple[str, Document], actor: Actor | None = None) -> None:
        """As the data path does it."""
        events = actor.over(self.events) if actor else self.events
        touched: set[int] = set()
        for collection in (METRICS, USAGE):
            own = [document for name, document in batch if name == collection]
            if own:
                events.insert(collection, own)
                touched |= touched_hours(collection, own, timedelta(seconds=GAP_SECONDS))
        events.mark_hours(touched)

    def count_all(self) -> int:
        counting, hours = self.counting(), 0
        while counting.count_one():
            hours += 1
        return hours

    def read_from(self, case: Case) -> str:
        bounds = Asked(*(moment(hour * US_PER_HOUR) for hour in whole_hours(case)))
        api = Answers(self.reads, 30, GAP_SECONDS, 0.85, None, self.hours)
        return api.cost(bounds, Selection(), Shown()).coverage.read_from

    def require_exact(
        self,
        case: Case,
        told: object,
        rng: random.Random | None = None,
        of: Sequence[Selection] = (Selection(),),
    ) -> None:
        """Of all ranges, or of one range and selection."""
        fixed = {"gap_seconds": GAP_SECONDS, "default_price": float(DEFAULT_PRICE)}
        ranges: list[dict[str, Any]] = [{}, {"start": None, "end": None}, of_hours(case), of_days(case)]
        for bounds in [rng.choice(ranges)] if rng else ranges:
            asked = case._replace(question=case.question | fixed | bounds)
            chosen = [rng.choice(SELECTIONS)] if rng else of
            assert answers(self.reads, asked, self.hours, chosen) == answers(self.reads, asked, of=chosen), (
                told
            )

    def empty(self) -> None:
        for name in self.database.list_collection_names():
            self.database[name].delete_many({})


def whole_hours(case: Case) -> tuple[int, int]:
    hours = hours_of(case.events, margin=1)
    return hours.start, hours.stop


def of_hours(case: Case) -> dict[str, Any]:
    start, end = (moment(hour * US_PER_HOUR).isoformat() for hour in whole_hours(case))
    return {"start": start, "end": end}


def of_days(case: Case) -> dict[str, Any]:
    first, upto = (hour // HOURS_PER_DAY for hour in whole_hours(case))
    return {
        "start": moment(first * US_PER_DAY).isoformat(),
        "end": moment((upto + 1) * US_PER_DAY).isoformat(),
    }


@pytest.fixture(scope="module")
def shared(mongo_url: str) -> Iterator[World]:
    with database(mongo_url) as name, MongoClient[Document](mongo_url, tz_aware=True) as client:
        yield World(client, name)


@pytest.fixture
def world(shared: World) -> World:
    shared.empty()
    shared.ahead = 2 * QUIET
    return shared


def some_case(seed: int) -> Case:
    """One whose events have ids, so that a second delivery is known."""
    case = Maker(seed).case()
    return case._replace(events=[event | {"event_id": f"e{at}"} for at, event in enumerate(case.events)])


class Play:
    """Events come in batches, some of them again; two count; each is killed now and then."""

    def __init__(self, world: World, case: Case, rng: random.Random) -> None:
        self.world, self.case, self.rng = world, case, rng
        events = [*documents(case.events)]
        rng.shuffle(events)
        self.batches = [events[at : at + 3] for at in range(0, len(events), 3)]
        # Killed before its offsets were committed: a batch comes again as it was.
        self.writer: Actor | None = None
        # While a batch is being stored, its events may be in one hour's count and not in another's;
        # after a kill, until the batch has come again.
        self.is_whole = True
        self.counters: list[Actor | None] = [None, None]
        self.sharer: Actor | None = None

    def act(self) -> None:
        kind = self.rng.randrange(10)
        if kind < 4:
            self.write()
        elif kind < 8:
            self.count(kind % 2)
        elif kind == 8:
            self.kill(self.rng.randrange(3))
        else:
            self.world.ahead += self.rng.choice((timedelta(), LEASE / 2, LEASE * 2))

    def write(self) -> None:
        if self.writer is not None:
            self.writer.go()
            if self.writer.is_done:
                self.writer = None
                self.is_whole = True
                if self.rng.random() < 0.8:
                    self.batches.pop(0)
        elif self.batches:
            batch = self.batches[0]
            self.is_whole = False
            self.writer = Actor(lambda actor: self.world.store(*batch, actor=actor))

    def count(self, number: int) -> None:
        actor = self.counters[number]
        if actor is None:
            actor = Actor(lambda actor: void(self.world.counting(actor).count_one()))
        else:
            actor.go()
        self.counters[number] = None if actor.is_done else actor

    def share(self) -> None:
        if self.sharer is None:
            self.sharer = Actor(lambda actor: self.world.share(actor))
        elif self.rng.random() < 0.05:
            self.sharer.kill()
        else:
            self.sharer.go()
        self.sharer = None if self.sharer.is_done else self.sharer

    def kill(self, number: int) -> None:
        actors = [self.writer, *self.counters]
        actor = actors[number]
        if actor is not None:
            actor.kill()
        if number == 0:
            self.writer = None
        else:
            self.counters[number - 1] = None

    def end(self) -> None:
        for number in range(3):
            self.kill(number)
        if self.sharer is not None:
            self.sharer.kill()
        for batch in self.batches:
            self.world.store(*batch)
        self.world.ahead += 2 * LEASE
        self.world.count_all()


def void(_: object) -> None:
    """For what gives something back that nobody wants."""


@settings(
    max_examples=15,
    phases=PHASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 100_000), rng=st.randoms(use_true_random=False))
def test_whatever_is_killed_and_whoever_counts(world: World, seed: int, rng: random.Random) -> None:
    world.empty()
    case = some_case(seed)
    apply(world.database, parse_catalog(case.catalog), datetime(2027, 1, 1, tzinfo=UTC))
    play = Play(world, case, rng)
    try:
        for number in range(CALLS):
            play.act()
            if play.is_whole and number % 10 == 0:
                world.require_exact(case, (seed, number), rng)
    finally:
        play.end()
    world.require_exact(case, seed, of=SELECTIONS)
    assert world.read_from(case) in ("rollups", "both")
    assert world.hours.backlog().hours == 0


def reading(hour: int, minute: int, **fields: Any) -> dict[str, Any]:
    return {"ts": f"2026-01-31T{hour:02}:{minute:02}:00Z", "uuid": "GPU-a", "utilization": 0.5, **fields}


@settings(
    max_examples=8,
    phases=PHASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 100_000), rng=st.randoms(use_true_random=False))
def test_whatever_comes_while_days_are_shared(world: World, seed: int, rng: random.Random) -> None:
    """A whole day has been counted; late events come, hours are counted again, the day is shared again."""
    world.empty()
    case = some_case(seed)
    ends = [reading(0, 1, event_id="first"), reading(0, 1, event_id="last") | {"ts": "2026-02-02T00:01:00Z"}]
    world.store(*documents(ends))
    world.counting().look_around()
    world.count_all()
    world.share()
    case = case._replace(events=[*ends, *case.events])
    apply(world.database, parse_catalog(case.catalog), datetime(2027, 1, 1, tzinfo=UTC))
    play = Play(world, case, rng)
    try:
        for number in range(CALLS // 2):
            play.act() if rng.random() < 0.7 else play.share()
            if play.is_whole and number % 10 == 0:
                asked = case._replace(question=case.question | of_days(case) | {"step": rng.choice(STEPS)})
                world.require_exact(asked, (seed, number), rng)
    finally:
        play.end()
    world.counting().look_around()
    world.count_all()
    world.share()
    assert {"data", "on_gpus", "events"} <= {*world.database["rollup_days"].find_one({})}
    world.require_exact(case, seed, of=SELECTIONS)


@pytest.mark.parametrize("calls", range(1, 9))
@pytest.mark.parametrize("another", [False, True], ids=["alone", "another begins"])
def test_a_day_one_of_whose_hours_is_counted_meanwhile_is_not_kept(
    world: World, calls: int, another: bool
) -> None:
    """Whoever shares the day is stopped before each of its calls; an event comes and its hour is counted."""
    ends = [reading(0, 1, event_id="first"), reading(0, 1, event_id="last") | {"ts": "2026-02-01T00:01:00Z"}]
    stored(world, ends)
    world.counting().look_around()
    world.count_all()
    sharer = Actor(lambda actor: world.share(actor))
    for _ in range(calls):
        sharer.go()
    late = reading(12, 30, event_id="late", price_per_hour_usd=7)
    stored(world, [late])
    world.count_all()
    if another:
        day = stored_us(datetime.fromisoformat(late["ts"])) // US_PER_DAY
        world.hours.days.begin(day, world.now())
        world.ahead += 2 * LEASE
    while not sharer.is_done:
        sharer.go()
    case = CASE._replace(events=[*ends, late])
    world.require_exact(case, calls)
    world.share()
    assert world.database["rollup_days"].count_documents({"data": {"$exists": True}}) == 1
    world.require_exact(case, calls)


EVENTS = [reading(22, minute, event_id=f"r{minute}") for minute in range(0, 60, 5)]
CASE = Maker(0).case()._replace(events=EVENTS, catalog={})


def stored(world: World, events: list[dict[str, Any]] = EVENTS) -> list[tuple[str, Document]]:
    batch = [*documents(events)]
    world.store(*batch)
    return batch


@pytest.mark.parametrize("calls", range(8))
def test_whoever_is_killed_while_counting_leaves_the_hour_to_others(world: World, calls: int) -> None:
    """It claims, reads the catalogue, readings and usage, publishes, forgets the day, and clears the mark."""
    stored(world)
    actor = Actor(lambda actor: void(world.counting(actor).count_one()))
    for _ in range(calls):
        actor.go()
    assert actor.is_done is (calls == 7)
    actor.kill()
    world.require_exact(CASE, calls)
    world.ahead += LEASE / 2
    others = world.count_all()
    world.ahead += LEASE
    assert others + world.count_all() == 2 - (calls == 7)
    assert world.read_from(CASE) == "both"
    world.require_exact(CASE, calls)


def test_one_who_was_slow_writes_nothing_over_what_is_newer(world: World) -> None:
    stored(world)
    slow = Actor(lambda actor: void(world.counting(actor).count_one()))
    for _ in range(3):
        # It has claimed the newest hour, and read its events.
        slow.go()
    late = reading(23, 30, event_id="late")
    stored(world, [late])
    world.ahead += 2 * LEASE
    world.count_all()
    slow.go()
    slow.go() if not slow.is_done else None
    assert slow.is_done
    world.require_exact(CASE._replace(events=[*EVENTS, late]), "slow")


def test_events_that_come_while_an_hour_is_counted_keep_it_marked(world: World) -> None:
    stored(world)
    actor = Actor(lambda actor: void(world.counting(actor).count_one()))
    for _ in range(3):
        actor.go()
    late = reading(23, 30, event_id="late")
    stored(world, [late])
    while not actor.is_done:
        actor.go()
    world.require_exact(CASE._replace(events=[*EVENTS, late]), "marked")
    assert world.hours.backlog().hours == 2
    world.count_all()
    world.require_exact(CASE._replace(events=[*EVENTS, late]), "counted")
    assert world.hours.backlog().hours == 0


def test_a_batch_that_was_stored_and_not_marked_is_marked_when_it_comes_again(world: World) -> None:
    batch = stored(world)
    world.count_all()
    late = [*documents([reading(22, 1, event_id="late", price_per_hour_usd=9)])]
    world.events.insert(METRICS, [document for _, document in late])
    case = CASE._replace(events=[*EVENTS, reading(22, 1)])
    assert world.count_all() == 0
    world.store(*late, *batch)
    world.require_exact(case, "marked")
    assert world.count_all() == 2
    world.require_exact(case, "counted")


def test_an_hour_that_events_come_to_is_left_alone_but_not_for_ever(world: World) -> None:
    world.ahead = timedelta()
    stored(world)
    assert world.counting().count_one() is None
    world.ahead = QUIET + timedelta(seconds=1)
    assert world.count_all() == 2
    stored(world)
    world.ahead = timedelta()
    world.database["rollup_marks"].update_many({}, {"$set": {"since": world.now() - timedelta(hours=1)}})
    assert world.count_all() == 2


def test_a_store_without_roll_ups_is_right_at_once_and_counted_in_time(world: World) -> None:
    for collection, document in documents(EVENTS):
        world.events.insert(collection, [document])
    assert world.read_from(CASE) == "raw"
    world.require_exact(CASE, "raw")
    assert world.counting().look_around() is False
    assert world.count_all() == 1
    world.require_exact(CASE, "counted")
    assert world.read_from(CASE) == "both"
    world.counting().look_around()
    assert world.count_all() == 0


def test_hours_are_counted_again_for_a_catalogue_that_cuts_them(world: World) -> None:
    stored(world)
    world.count_all()
    row = {"selector": {"uuid": "GPU-a"}, "usd_per_hour": 3}
    apply(world.database, parse_catalog({"prices": [row]}), datetime(2027, 1, 1, tzinfo=UTC))
    world.require_exact(CASE, "a price for all time")
    world.counting().look_around()
    assert world.count_all() == 0
    rows = [
        row | {"valid_to": "2026-01-31T22:10:00Z"},
        row | {"usd_per_hour": 4, "valid_from": "2026-01-31T22:10:00Z"},
    ]
    apply(world.database, parse_catalog({"prices": rows}), datetime(2027, 1, 1, tzinfo=UTC))
    world.require_exact(CASE, "a price that changes within the hour")
    world.counting().look_around()
    assert world.count_all() == 1
    world.require_exact(CASE, "counted again")


def test_an_hour_too_large_to_keep_is_read_from_its_events(world: World) -> None:
    stored(world)
    counting = world.counting(max_bytes=10)
    while counting.count_one():
        pass
    assert (world.hours.backlog().hours, world.read_from(CASE)) == (0, "raw")
    world.require_exact(CASE, "too large")
    counting.look_around()
    assert world.hours.backlog().hours == 0


def test_a_damaged_or_later_bucket_is_not_taken_for_right(world: World) -> None:
    stored(world)
    world.count_all()
    world.database["rollup_hours"].update_many({}, {"$set": {"data": b"damaged", "events": b"damaged"}})
    world.require_exact(CASE, "damaged")


def test_a_stop_halts_it(world: World) -> None:
    stored(world)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Halted):
        Counting(world.hours, world.reads, GAP_US, Pace(0.5, stop), world.now).count_one(
            0, hours_of(EVENTS, 0).stop
        )
    assert world.hours.backlog().hours == 2
