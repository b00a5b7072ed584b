"""Counts hours anew whose events have changed. Several may do so: each hour is claimed by one."""

import logging
import time
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import NamedTuple, Protocol

from gpu_token_contracts import moment

from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.exact import HOURS_PER_DAY, US_PER_HOUR, stored_us
from gpu_token_processor.rollups.bucket import FORMAT, count_hour, pack, unpack
from gpu_token_processor.rollups.fitting import Fitter
from gpu_token_processor.rollups.pace import Pace
from gpu_token_processor.selection import Range
from gpu_token_processor.store.reads import Reads
from gpu_token_processor.store.rollups import MAX_BYTES, Claim, Counted

log = logging.getLogger(__name__)

_RENEW_SECONDS = 20.0
# How many hours one look checks against a catalogue that has changed, or marks.
_HOURS_OF_A_LOOK = 500


class Forgets(Protocol):
    """What the store keeps of days; see MongoDays."""

    def forget(self, day: int) -> None: ...


class CountedHours(Protocol):
    """What the store keeps of hours; see MongoRollups."""

    @property
    def days(self) -> Forgets: ...
    def claim(self, now: datetime, first: int | None = None, upto: int | None = None) -> Claim | None: ...
    def renew(self, claim: Claim, now: datetime) -> None: ...
    def publish(self, claim: Claim, counted: Counted, now: datetime) -> bool: ...
    def clear(self, claim: Claim) -> bool: ...
    def known(self, first: int, upto: int) -> dict[int, str]: ...
    def counted(self, hours: Collection[int]) -> Iterator[Counted]: ...
    def confirm(self, counted: Counted, catalog: str) -> None: ...
    def mark(self, hours: Collection[int]) -> object: ...
    def hours_of_events(self) -> range: ...
    def remember_retention(self) -> None: ...
    def forget(self) -> int: ...


class Done(NamedTuple):
    """An hour that has been counted."""

    hour: int
    seconds: float
    # Whether its mark is gone; else events have come meanwhile.
    is_clean: bool


class Counting:
    """One who counts. Each method raises pymongo's errors when MongoDB does not answer."""

    def __init__(
        self,
        hours: CountedHours,
        reads: Reads,
        gap_us: int,
        pace: Pace,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._hours = hours
        self._reads = reads
        self._gap_us = gap_us
        self._pace = pace
        self._now = now
        self._max_bytes = max_bytes

    def count_one(self, first: int | None = None, upto: int | None = None) -> Done | None:
        """Claim an hour, from `first` to before `upto`, and count it; None if none waits. Raises Halted."""
        claim = self._hours.claim(self._now(), first, upto)
        if claim is None:
            return None
        started = time.monotonic()
        counted = self._count(claim)
        is_clean = False
        if self._hours.publish(claim, counted, self._now()):
            # Before the mark is cleared; see MongoDays.
            self._hours.days.forget(claim.hour // HOURS_PER_DAY)
            is_clean = self._hours.clear(claim)
        return Done(claim.hour, time.monotonic() - started, is_clean)

    def look_around(self) -> bool:
        """Mark hours that have never been counted, or not as the catalogue is now.

        Returns whether there are more of them. So a store that an earlier version has filled is counted too.
        Hours whose events are not all kept any more are left as they are.
        """
        self._hours.remember_retention()
        if late := self._hours.forget():
            log.warning("%d hours had new events and were not counted in time: these are in no answer", late)
        stored = self._hours.hours_of_events()
        this_hour = stored_us(self._now()) // US_PER_HOUR
        over = range(stored.start, min(stored.stop, this_hour))
        if not over:
            return False
        book = self._book()
        known = self._hours.known(over.start, over.stop)
        missing = [hour for hour in reversed(over) if hour not in known]
        catalog = self._version(book)
        others = [hour for hour in sorted(known, reverse=True) if known[hour] not in ("", catalog)]
        fitter, wrong = Fitter(book, self._gap_us), []
        for counted in self._hours.counted(others[:_HOURS_OF_A_LOOK]):
            if _is_right(counted, fitter):
                self._hours.confirm(counted, catalog)
            else:
                wrong.append(counted.hour)
        self._hours.mark([*missing[:_HOURS_OF_A_LOOK], *wrong])
        return len(missing) > _HOURS_OF_A_LOOK or len(others) > _HOURS_OF_A_LOOK

    def _count(self, claim: Claim) -> Counted:
        book = self._book()
        start, end = moment(claim.hour * US_PER_HOUR), moment((claim.hour + 1) * US_PER_HOUR)
        earlier = start - timedelta(microseconds=self._gap_us)
        renew = _Renewal(self._hours, claim, self._now)
        found = count_hour(
            claim.hour,
            self._pace.through(self._reads.readings(Range(earlier, end)), renew),
            self._pace.through(self._reads.usage(Range(start, end)), renew),
            book,
            self._gap_us,
        )
        bucket = pack(found)
        is_small = len(bucket.data) + len(bucket.events) <= self._max_bytes
        data = bucket.data if is_small else None
        return Counted(claim.hour, self._version(book), bucket.digest, data, bucket.events)

    def _book(self) -> Book:
        # Prices are not counted.
        return Book(self._reads.catalog(), Fraction(0))

    def _version(self, book: Book) -> str:
        """Of all that a bucket depends on."""
        return f"{book.catalog.version}/{self._gap_us}/{FORMAT}"


def _is_right(counted: Counted, fitter: Fitter) -> bool:
    if counted.data is None:
        return True
    content = unpack(counted.data)
    return content is not None and fitter.fit(content) is not None


class _Renewal:
    """Renews a claim every now and then."""

    def __init__(self, hours: CountedHours, claim: Claim, now: Callable[[], datetime]) -> None:
        self._hours, self._claim, self._now = hours, claim, now
        self._at = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._at > _RENEW_SECONDS:
            self._hours.renew(self._claim, self._now())
            self._at = time.monotonic()
