"""Shares whole days anew whose hours have been counted, so that an answer over a year need not."""

from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from typing import Protocol

from bson import ObjectId

from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.exact import HOURS_PER_DAY, US_PER_DAY, stored_us
from gpu_token_processor.ledger.ledger import Ledger
from gpu_token_processor.ledger.question import Question
from gpu_token_processor.rollups.bucket import unpack_events
from gpu_token_processor.rollups.days import pack_day, version_of
from gpu_token_processor.rollups.pace import Pace
from gpu_token_processor.rollups.view import Days, Rollups, fill
from gpu_token_processor.store.reads import Reads
from gpu_token_processor.store.rollup_days import KeptDay
from gpu_token_processor.store.rollups import MAX_BYTES


class KeptDays(Days, Protocol):
    """See MongoDays."""

    def versions(self, first: int, upto: int) -> dict[int, str]: ...
    def begin(self, day: int, now: datetime) -> ObjectId | None: ...
    def publish(self, made: KeptDay, claim: ObjectId, version: str) -> bool: ...


class CountedHours(Rollups, Protocol):
    """See MongoRollups."""

    @property
    def days(self) -> KeptDays: ...
    def hours_known(self) -> range: ...


class Sharing:
    """One who shares. Each method raises pymongo's errors when MongoDB does not answer."""

    def __init__(
        self,
        hours: CountedHours,
        reads: Reads,
        gap_us: int,
        default_price_usd: Fraction,
        pace: Pace,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._hours = hours
        self._reads = reads
        self._gap_us = gap_us
        self._default_price_usd = default_price_usd
        self._pace = pace
        self._now = now
        # Days to be shared; the newest is the last.
        self._due: list[int] = []

    def look_around(self) -> None:
        """Find days that are over and counted, and are not kept as the catalogue is now."""
        known = self._hours.hours_known()
        first, upto = known.start // HOURS_PER_DAY, stored_us(self._now()) // US_PER_DAY
        upto = min(upto, -(-known.stop // HOURS_PER_DAY))
        if first >= upto:
            return
        counted = self._hours.clean_digests(first * HOURS_PER_DAY, upto * HOURS_PER_DAY)
        kept, version = self._hours.days.versions(first, upto), version_of(self._book(), self._gap_us)
        self._due = [
            day
            for day in range(first, upto)
            if kept.get(day) != version
            and all(hour in counted for hour in range(day * HOURS_PER_DAY, (day + 1) * HOURS_PER_DAY))
        ]

    def share_one(self) -> bool:
        """Share the newest day that is due; whether there was any. Raises Halted."""
        while self._due:
            day = self._due.pop()
            claim = self._hours.days.begin(day, self._now())
            if claim is not None:
                with self._pace.work():
                    self._share(day, claim)
                return True
        return False

    def _share(self, day: int, claim: ObjectId) -> None:
        book = self._book()
        start_us, first = day * US_PER_DAY, day * HOURS_PER_DAY
        question = Question(start_us=start_us, end_us=start_us + US_PER_DAY, gap_us=self._gap_us)
        ledger = Ledger(book, question)
        fill(ledger, self._reads, self._hours)
        ledger.finish()
        counts = [unpack_events(data) for _, data in self._hours.clean_events(first, first + HOURS_PER_DAY)]
        events = [count for count in counts if count is not None]
        if len(events) < HOURS_PER_DAY:
            # An hour is marked meanwhile, or too large to keep.
            return
        try:
            made = pack_day(day, ledger, events)
        except OverflowError:
            made = KeptDay(day)
        # Hours that another catalogue has divided say so in each answer.
        if ledger.approximate_hours or sum(map(len, made[1:])) > MAX_BYTES:
            made = KeptDay(day)
        self._hours.days.publish(made, claim, version_of(book, self._gap_us))

    def _book(self) -> Book:
        return Book(self._reads.catalog(), self._default_price_usd)
