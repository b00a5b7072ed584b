"""An answer from hours that were counted before is what the raw events give."""

import random
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import msgspec
import pytest
from gpu_token_processor.api.answers import Answers, Asked, Shown
from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.catalog import Catalog
from gpu_token_processor.ledger.catalog_file import parse_catalog
from gpu_token_processor.ledger.ledger import Ledger
from gpu_token_processor.ledger.question import Question
from gpu_token_processor.rollups.bucket import HourCount, count_hour, pack, unpack, unpack_events
from gpu_token_processor.rollups.fitting import Fitter
from gpu_token_processor.selection import Selection
from ledger_cases import Case, Maker
from ledger_product import CASES, PARTS
from processor_fakes import FakeReads, FakeStore
from rollup_cases import Kept, answers, book_of, bucket, documents, hours_of

ROLLUP_CASES = CASES // 20
GAP_US = 30_000_000


@pytest.mark.parametrize("part", range(PARTS))
def test_hours_that_were_counted_change_no_answer(part: int) -> None:
    """Under the catalogue of before or another one, which may not fit them; some hours are counted."""
    used = 0
    for seed in range(part, ROLLUP_CASES, PARTS):
        rng = random.Random(seed)
        case = Maker(seed).case()
        reads = reads_of(case)
        gap_us = round(case.question["gap_seconds"] * 1_000_000)
        book = book_of(reads, case)
        share = rng.choice((0.5, 0.9, 1.0))
        hours = [hour for hour in hours_of(case.events) if rng.random() < share]
        kept = Kept({hour: bucket(reads, book, hour, gap_us) for hour in hours})
        if rng.random() < 0.5:
            reads.declared = parse_catalog(Maker(seed + 1).case().catalog)
        assert answers(reads, case, kept) == answers(reads, case), seed
        used += bool(hours)
    assert used


@pytest.mark.parametrize("part", range(PARTS))
def test_days_that_were_shared_change_no_answer(part: int) -> None:
    """Some days are shared, of others the hours are counted; the last is cut short."""
    used = 0
    for seed in range(part, ROLLUP_CASES, 2 * PARTS):
        rng = random.Random(seed)
        case = days_of(Maker(seed).case(), rng)
        reads = reads_of(case)
        gap_us = round(case.question["gap_seconds"] * 1_000_000)
        book = book_of(reads, case)
        hours = hours_of(case.events, margin=48)
        skipped = rng.sample(hours, rng.choice((0, 1)))
        kept = Kept({hour: bucket(reads, book, hour, gap_us) for hour in hours if hour not in skipped})
        used += kept.share_days(reads, case, gap_us)
        for day in rng.sample(sorted(kept.days.days), rng.choice((0, 1))):
            del kept.days.days[day]
        assert answers(reads, case, kept) == answers(reads, case), seed
    assert used


def test_a_shared_day_gives_each_lease_its_own_time_whatever_their_order() -> None:
    """Budgets are no part of the version, and with them rows may come in another order."""
    leases = [
        {"selector": {"host": "a"}, "gpus": 1, "from": "2026-01-01T00:00:00Z"},
        {"selector": {"host": "b"}, "gpus": 8, "from": "2026-01-01T12:00:00Z"},
    ]
    events = [reading(0, uuid="A", ts=f"2026-01-01T{hour:02}:00:00Z") for hour in range(24)]
    question = Maker(0).case().question | {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}
    case = Case(events, {"leases": leases}, question | {"gap_seconds": GAP_US // 1_000_000})
    reads = reads_of(case)
    book = book_of(reads, case)
    kept = Kept({hour: bucket(reads, book, hour, GAP_US) for hour in hours_of(events, margin=0)})
    assert kept.share_days(reads, case, GAP_US) == 1
    budget = {"name": "all", "usd_per_month": 1}
    reads.declared = parse_catalog({"leases": leases[::-1], "budgets": [budget]})
    assert reads.declared.version == book.catalog.version
    bounds = Asked(*(datetime.fromisoformat(question[name]) for name in ("start", "end")))
    for host, hours in (("a", 24), ("b", 12 * 8)):
        api = Answers(reads, 30, 30, case.question["default_price"], None, kept)
        found = api.cost(bounds, Selection(), Shown(basis="leased", where=(("host", host),)))
        assert (found.coverage.read_from, found.coverage.unreported_seconds) == ("rollups", hours * 3600)


def test_a_lease_is_paid_for_up_to_now_however_far_the_range_goes() -> None:
    lease = {"selector": {"host": "a"}, "gpus": 2, "from": "2026-01-01T00:00:00Z"}
    reads = FakeReads(FakeStore(), parse_catalog({"leases": [lease]}))
    now = datetime(2026, 1, 2, 12, 30, tzinfo=UTC)
    api = Answers(reads, 30, 30, 0.85, None, now=lambda: now)
    far = Asked(datetime(2025, 12, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
    for basis in ("leased", "covered"):
        found = api.cost(far, Selection(), Shown(basis=basis))
        assert found.coverage.unreported_seconds == 2 * 36.5 * 3600


def test_an_open_lease_over_many_years_is_one_sum() -> None:
    """Of hours that are alike nobody counts each."""
    lease = {"selector": {"host": "a"}, "gpus": 1, "from": "1990-01-01T00:00:00Z"}
    book = Book(parse_catalog({"leases": [lease]}), Fraction(1))
    start, end = (round(datetime(year, 1, 1, 0, 30, tzinfo=UTC).timestamp() * 1e6) for year in (2000, 2020))
    ledger = Ledger(book, Question(start_us=start, end_us=end, gap_us=GAP_US))
    ledger.finish()
    parts = [silent.time_us for _, silent in ledger.silent(*book.catalog.leases)]
    assert (len(parts), sum(parts)) == (3, end - start)


def reads_of(case: Case) -> FakeReads:
    """A store with the events and the catalogue of a case."""
    store = FakeStore()
    for collection, document in documents(case.events):
        store.insert(collection, [document])
    return FakeReads(store, parse_catalog(case.catalog))


def days_of(case: Case, rng: random.Random) -> Case:
    """The events, and some of them again on the days after; a question about whole days or parts."""
    later = [
        event | {"ts": f"{datetime.fromisoformat(event['ts']) + timedelta(days=days):%Y-%m-%dT%H:%M:%S.%fZ}"}
        for days in (1, 2)
        for event in case.events
        if rng.random() < 0.7
    ]
    events = [event | {"event_id": str(at)} for at, event in enumerate([*case.events, *later])]
    first = datetime.fromisoformat(min(event["ts"] for event in events)).replace(hour=0, minute=0, second=0)
    start = first - timedelta(days=1)
    bounds = {
        "start": rng.choice((start.isoformat(), start.isoformat(), case.question["start"])),
        "end": (start + timedelta(days=5, hours=rng.choice((0, 0, 1)))).isoformat(),
        "step": rng.choice((None, "day", "month", "hour")),
    }
    return case._replace(events=events, question=case.question | bounds)


def reading(second: int, **fields: object) -> dict[str, object]:
    return {"ts": f"2026-01-01T12:00:{second:02}Z", "price_per_hour_usd": 1} | fields


@pytest.mark.parametrize(
    ("row", "fits"),
    [
        ({"uuid": "A", "host": "h", "gpu_index": 0}, False),
        ({"uuid": "B", "host": "h", "gpu_index": 0}, True),
        ({"host": "h", "gpu_index": 0, "name": "H100"}, True),
    ],
    ids=["two become one", "one gets a uuid", "one gets a name"],
)
def test_a_catalogue_that_makes_one_gpu_of_two_has_the_hour_counted_again(
    row: dict[str, object], fits: bool
) -> None:
    store = FakeStore()
    events = [reading(0, uuid="A"), reading(10, host="h", gpu_index=0), reading(20, uuid="A")]
    for collection, document in documents(events):
        store.insert(collection, [document])
    reads = FakeReads(store)
    (hour,) = hours_of(events, margin=0)
    kept = bucket(reads, Book(reads.catalog(), Fraction(1)), hour, GAP_US)
    content = unpack(kept.data)
    assert content is not None
    reads.declared = parse_catalog({"gpus": [row]})
    assert (Fitter(Book(reads.catalog(), Fraction(1)), GAP_US).fit(content) is not None) is fits
    question = Maker(0).case().question | {
        "start": "2026-01-01T12:00:00Z",
        "end": "2026-01-01T13:00:00Z",
        "gap_seconds": GAP_US // 1_000_000,
    }
    case = Case(events, {}, question)
    assert answers(reads, case, Kept({hour: kept})) == answers(reads, case)


def test_a_bucket_of_another_gap_or_format_does_not_fit() -> None:
    counted = count_hour(490_000, [], [], Book(Catalog(), Fraction(1)), GAP_US)
    content = counted.content
    assert unpack_events(pack(counted).events) == counted.events
    read = unpack(pack(counted).data)
    assert read is not None
    assert pack(counted._replace(content=read)) == pack(counted)
    earlier = pack(HourCount(*(msgspec.structs.replace(part, format=0) for part in counted)))
    assert (unpack(earlier.data), unpack_events(earlier.events)) == (None, None)
    for gap_us, fits in ((GAP_US, True), (GAP_US + 1, False)):
        assert (Fitter(Book(Catalog(), Fraction(1)), gap_us).fit(content) is not None) is fits
    assert unpack(b"damaged") is None
