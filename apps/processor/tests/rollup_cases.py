"""Cases of the ledger's oracle as events in a store, and the answers that they give."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from gpu_token_contracts import decode_gpu_metric, decode_token_usage, moment
from gpu_token_processor.api.answers import Answers, Asked, Shown
from gpu_token_processor.documents import Document, document
from gpu_token_processor.ledger.answer import encode_answer
from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.exact import US_PER_HOUR, exact, stored_us
from gpu_token_processor.retention import Retention
from gpu_token_processor.rollups.bucket import Bucket, count_hour, pack
from gpu_token_processor.rollups.pace import Pace
from gpu_token_processor.rollups.sharing import Sharing
from gpu_token_processor.rollups.view import NO_ROLLUPS, Rollups
from gpu_token_processor.selection import Range, Selection
from gpu_token_processor.store.reads import Reads
from gpu_token_processor.store.rollup_days import KeptDay
from ledger_cases import Case

# Events of any year are kept.
KEEPS_ALL = Retention(36_500, timedelta())
METRICS, USAGE = "gpu_metrics", "token_usage"
SELECTIONS = (Selection(), Selection(host="h1"), Selection(host="h1", gpu_index=0), Selection(model="m1"))


def documents(events: Sequence[dict[str, Any]]) -> Iterator[tuple[str, Document]]:
    """Each with its collection; those without an id get one by their place."""
    for number, event in enumerate(events):
        line = json.dumps(event).encode()
        if "model" in event:
            yield USAGE, document(decode_token_usage(line), "usage", 0, number)
        else:
            yield METRICS, document(decode_gpu_metric(line), "metrics", 0, number)


def hours_of(events: Sequence[dict[str, Any]], margin: int = 2) -> range:
    """From before the first event to behind the last."""
    hours = [stored_us(datetime.fromisoformat(event["ts"])) // US_PER_HOUR for event in events]
    return range(min(hours) - margin, max(hours) + margin + 1)


def bucket(reads: Reads, book: Book, hour: int, gap_us: int) -> Bucket:
    """An hour's bucket, as the worker makes it."""
    start, end = moment(hour * US_PER_HOUR), moment((hour + 1) * US_PER_HOUR)
    readings = reads.readings(Range(start - timedelta(microseconds=gap_us), end))
    return pack(count_hour(hour, readings, reads.usage(Range(start, end)), book, gap_us))


class KeptInMemory:
    """Days in memory, with their versions."""

    def __init__(self) -> None:
        self.days: dict[int, tuple[str, KeptDay]] = {}

    def clean(
        self, first: int | None, upto: int | None, *fields: str, version: str | None = None
    ) -> Iterable[KeptDay]:
        """See Days."""
        for day, (kept_version, kept) in sorted(self.days.items()):
            within = (first is None or first <= day) and (upto is None or day < upto)
            if within and version in (None, kept_version):
                yield KeptDay(day, **{name: getattr(kept, name) for name in fields})

    def versions(self, first: int, upto: int) -> dict[int, str]:
        """See MongoDays."""
        return {day: version for day, (version, _) in self.days.items() if first <= day < upto}

    def begin(self, day: int, now: datetime) -> ObjectId | None:
        """See MongoDays."""
        return ObjectId()

    def publish(self, made: KeptDay, claim: ObjectId, version: str) -> bool:
        """See MongoDays."""
        self.days[made.day] = version, made
        return True


class Kept:
    """Rollups in memory."""

    def __init__(self, buckets: dict[int, Bucket]) -> None:
        self.buckets = buckets
        self.days = KeptInMemory()

    def first_countable(self) -> int | None:
        """See Rollups."""
        return None

    def first_counted(self) -> int | None:
        """See Rollups."""
        return min(self.buckets, default=None)

    def clean(self, first: int | None, upto: int | None) -> Iterable[tuple[int, bytes]]:
        """See Rollups."""
        return [(one.hour, one.data) for one in self._within(first, upto)]

    def clean_events(self, first: int | None, upto: int | None) -> Iterable[tuple[int, bytes]]:
        """See Rollups."""
        return [(one.hour, one.events) for one in self._within(first, upto)]

    def clean_digests(self, first: int, upto: int) -> dict[int, str]:
        """See Rollups."""
        return {one.hour: one.digest for one in self._within(first, upto)}

    def hours_known(self) -> range:
        """See MongoRollups."""
        return range(min(self.buckets, default=0), max(self.buckets, default=-1) + 1)

    def share_days(self, reads: Reads, case: Case, gap_us: int) -> int:
        """Share all that can be; how many."""
        default_price = exact(case.question["default_price"])
        sharing = Sharing(self, reads, gap_us, default_price, Pace(1))
        sharing.look_around()
        while sharing.share_one():
            pass
        return len(self.days.days)

    def _within(self, first: int | None, upto: int | None) -> Iterator[Bucket]:
        for hour, one in sorted(self.buckets.items()):
            if (first is None or first <= hour) and (upto is None or hour < upto):
                yield one


def answers(
    reads: Reads, case: Case, rollups: Rollups = NO_ROLLUPS, of: Sequence[Selection] = SELECTIONS
) -> dict[str, Any]:
    """All that the API says of a case's question; what was read is not part of it."""
    asked = case.question
    shown = Shown(asked["step"], tuple(asked["group_by"]), asked["basis"])
    bounds = Asked(*(asked[name] and datetime.fromisoformat(asked[name]) for name in ("start", "end")))
    api = Answers(reads, 30, asked["gap_seconds"], asked["default_price"], 0.2, rollups)
    found = {}
    for selection in of:
        given = {
            "cost": api.cost(bounds, selection._replace(model=None), shown),
            "usage": api.usage(bounds, selection, shown, 100, None),
            "throughput": api.throughput(bounds, selection, shown),
        }
        for name, answer in given.items():
            plain = json.loads(encode_answer(answer), parse_float=str)
            plain["coverage"].pop("read_from")
            found[f"{name} {selection}"] = plain
    return found


def book_of(reads: Reads, case: Case) -> Book:
    """That of a case's question."""
    return Book(reads.catalog(), exact(case.question["default_price"]))
