"""A range of time in parts: what has been counted, and between it time whose events must be read."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from gpu_token_contracts import moment

from gpu_token_processor.ledger.coverage import Coverage
from gpu_token_processor.ledger.covered import Covered
from gpu_token_processor.ledger.exact import HOURS_PER_DAY, US_PER_DAY, US_PER_HOUR
from gpu_token_processor.ledger.folded import Folded
from gpu_token_processor.ledger.ledger import Ledger, ReadFrom
from gpu_token_processor.ledger.totals import tells_gpus_apart
from gpu_token_processor.ledger.usage import Usage
from gpu_token_processor.rollups.bucket import EventsOfHour, unpack, unpack_events, usage_rows
from gpu_token_processor.rollups.days import unpack_day, version_of
from gpu_token_processor.rollups.fitting import Fitted, Fitter
from gpu_token_processor.selection import Range, Selection
from gpu_token_processor.store.reads import Reads, UsageRow
from gpu_token_processor.store.rollup_days import KeptDay

T = TypeVar("T")


class Days(Protocol):
    """Whole days that have been shared; see MongoDays."""

    def clean(
        self, first: int | None, upto: int | None, *fields: str, version: str | None = None
    ) -> Iterable[KeptDay]:
        """Days from `first` to before `upto` none of whose hours is marked, in order, with these fields."""
        ...


class Rollups(Protocol):
    """Counted hours and days."""

    @property
    def days(self) -> Days: ...

    def first_countable(self) -> int | None:
        """The first hour whose events are all kept. None: all are, of whatever time."""
        ...

    def first_counted(self) -> int | None:
        """The first hour that has been counted; None if none has."""
        ...

    def clean(self, first: int | None, upto: int | None) -> Iterable[tuple[int, bytes]]:
        """Hours from `first` to before `upto` that no event has come to since they were counted, in order."""
        ...

    def clean_events(self, first: int | None, upto: int | None) -> Iterable[tuple[int, bytes]]:
        """The same hours with the counts of their events."""
        ...

    def clean_digests(self, first: int, upto: int) -> dict[int, str]:
        """The digest of each of them, those included that are too large to keep."""
        ...


class NoDays:
    """Nothing has been shared."""

    def clean(
        self, first: int | None, upto: int | None, *fields: str, version: str | None = None
    ) -> Iterable[KeptDay]:
        """See Days."""
        return ()


class NoRollups:
    """Nothing has been counted, and all events are kept."""

    def first_countable(self) -> int | None:
        """See Rollups."""
        return None

    def first_counted(self) -> int | None:
        """See Rollups."""
        return None

    days = NoDays()

    def clean(self, first: int | None, upto: int | None) -> Iterable[tuple[int, bytes]]:
        """See Rollups."""
        return ()

    def clean_events(self, first: int | None, upto: int | None) -> Iterable[tuple[int, bytes]]:
        """See Rollups."""
        return ()

    def clean_digests(self, first: int, upto: int) -> dict[int, str]:
        """See Rollups."""
        return {}


NO_ROLLUPS = NoRollups()


class _Raw(NamedTuple):
    """Time whose events are read, in microseconds; None is open."""

    start_us: int | None
    end_us: int | None


class _Gone(NamedTuple):
    """Time whose events are not all kept, and of which no hour has been counted; likewise."""

    start_us: int | None
    end_us: int


class _Kept(NamedTuple, Generic[T]):
    """What is known of some hours from one on."""

    hour: int
    hours: int
    found: T


# The range asked for, in microseconds.
Bounds = tuple[int | None, int | None]
# Hours or days, by their numbers.
Within = tuple[int | None, int | None]


def fill(ledger: Ledger, reads: Reads, rollups: Rollups) -> None:
    """Count all that lies in the ledger's range."""
    question = ledger.question
    bounds = question.start_us, question.end_us
    parts = [*_parts(bounds, _kept(ledger, rollups, bounds), rollups.first_countable())]
    ledger.read_from = _read_from(parts)
    ledger.may_lack_events = any(isinstance(part, _Gone) for part in parts)
    ledger.deleted = list(_deleted(parts, rollups)) if ledger.may_lack_events else []
    covered = ledger.coverage = Covered(question.gap_us)
    usage = ledger.usage
    for part in parts:
        match part:
            case Folded():
                ledger.folded.append(part)
                part.follow_in(covered)
            case Fitted():
                part.include_in(covered, usage)
                ledger.approximate_hours += not part.is_exact
            case _Raw():
                covered.include(_coverage(ledger, reads, part))
                used = Usage(ledger.book, part.start_us, part.end_us)
                used.take(reads.usage(_range(part)))
                usage.include(used.hours, used.first_us, used.last_us)
                usage.conflicts += used.conflicts


def _deleted(parts: Iterable[object], rollups: Rollups) -> Iterator[tuple[int, int]]:
    """Before the first counted hour there is nothing to know of."""
    first = rollups.first_counted()
    if first is None:
        return
    first_us = first * US_PER_HOUR
    for part in parts:
        if isinstance(part, _Gone) and first_us < part.end_us:
            yield first_us if part.start_us is None else max(first_us, part.start_us), part.end_us


def _read_from(parts: Iterable[object]) -> ReadFrom:
    is_raw = {isinstance(part, _Raw) for part in parts if not isinstance(part, _Gone)}
    if len(is_raw) > 1:
        return "both"
    return "raw" if is_raw == {True} else "rollups"


def _coverage(ledger: Ledger, reads: Reads, part: _Raw) -> Coverage:
    gap_us = ledger.question.gap_us
    coverage = Coverage(ledger.book, part.start_us, part.end_us, gap_us)
    earlier_us = None if part.start_us is None else part.start_us - gap_us
    coverage.take(reads.readings(_range(part._replace(start_us=earlier_us))))
    coverage.finish()
    return coverage


def _kept(ledger: Ledger, rollups: Rollups, bounds: Bounds) -> Iterator[_Kept[Folded | Fitted]]:
    if (within := _whole(bounds, US_PER_HOUR)) is None:
        return iter(())
    fitter = Fitter(ledger.book, ledger.question.gap_us)
    first_countable = rollups.first_countable()

    def hours(first: int | None, upto: int | None) -> Iterator[_Kept[Folded | Fitted]]:
        for hour, data in rollups.clean(first, upto):
            content = unpack(data)
            stands = first_countable is not None and hour < first_countable
            fitted = content and fitter.fit(content, stands=stands)
            if fitted:
                yield _Kept(hour, 1, fitted)

    folded = [_Kept[Folded | Fitted](one.hour, one.hours, one) for one in _folded(ledger, rollups, bounds)]
    return _between(within, folded, hours)


def _folded(ledger: Ledger, rollups: Rollups, bounds: Bounds) -> Iterator[Folded]:
    """Whole days of the range. None where hours are asked for, or where the range ends with the events."""
    question = ledger.question
    within = _whole(bounds, US_PER_DAY)
    if within is None or None in bounds or question.step == "hour":
        return
    fields = ("data", "on_gpus") if tells_gpus_apart(question) else ("data",)
    version = version_of(ledger.book, question.gap_us)
    for one in rollups.days.clean(*within, *fields, version=version):
        if folded := unpack_day(one):
            yield folded


def _between(
    within: Within, days: Iterable[_Kept[T]], hours: Callable[[int | None, int | None], Iterator[_Kept[T]]]
) -> Iterator[_Kept[T]]:
    """The days, and the hours of the time that they leave."""
    at, upto = within
    for day in days:
        if at != day.hour:
            yield from hours(at, day.hour)
        yield day
        at = day.hour + day.hours
    if at is None or upto is None or at < upto:
        yield from hours(at, upto)


def usage_sums(reads: Reads, rollups: Rollups, bounds: Bounds, of: Selection) -> list[UsageRow]:
    """Tokens by model, of events whose own time lies in the range."""
    counts: dict[tuple[str, bool], list[int]] = defaultdict(lambda: [0, 0, 0])
    for part in _parts(bounds, _counted_events(rollups, bounds), rollups.first_countable()):
        if isinstance(part, _Gone):
            continue
        rows = reads.usage_sums(_range(part), of) if isinstance(part, _Raw) else usage_rows(part, of)
        for row in rows:
            summed = counts[row.model, row.by_gateway]
            for at, count in enumerate(row[2:]):
                summed[at] += count
    return [UsageRow(*key, *summed) for key, summed in counts.items()]


def _counted_events(rollups: Rollups, bounds: Bounds) -> Iterator[_Kept[EventsOfHour]]:
    within, whole_days = _whole(bounds, US_PER_HOUR), _whole(bounds, US_PER_DAY)
    if within is None:
        return iter(())

    def hours(first: int | None, upto: int | None) -> Iterator[_Kept[EventsOfHour]]:
        for hour, packed in rollups.clean_events(first, upto):
            if events := unpack_events(packed):
                yield _Kept(hour, 1, events)

    days = [
        _Kept(one.day * HOURS_PER_DAY, HOURS_PER_DAY, events)
        for one in (rollups.days.clean(*whole_days, "events") if whole_days else ())
        if (events := unpack_events(one.events))
    ]
    return _between(within, days, hours)


def _whole(bounds: Bounds, length_us: int) -> Within | None:
    """The first whole hour or day of the range, and the one behind the last; None if it has none."""
    start_us, end_us = bounds
    first = None if start_us is None else -(-start_us // length_us)
    upto = None if end_us is None else end_us // length_us
    return None if first is not None and upto is not None and first >= upto else (first, upto)


def _parts(
    bounds: Bounds, kept: Iterable[_Kept[T]], first_countable: int | None
) -> Iterator[T | _Raw | _Gone]:
    """What is kept, and between it what must be read, or cannot be; at least one part."""
    at_us, end_us = bounds
    is_open = True
    for hour, hours, found in kept:
        begins_us = hour * US_PER_HOUR
        if at_us is None or at_us < begins_us:
            yield from _unkept(at_us, begins_us, first_countable)
        yield found
        at_us, is_open = begins_us + hours * US_PER_HOUR, False
    if is_open or end_us is None or at_us is None or at_us < end_us:
        yield from _unkept(at_us, end_us, first_countable)


def _unkept(start_us: int | None, end_us: int | None, first_countable: int | None) -> Iterator[_Raw | _Gone]:
    """Time before the first hour that can be counted is not read: some of its events are deleted."""
    if first_countable is not None:
        kept_us = first_countable * US_PER_HOUR
        if start_us is None or start_us < kept_us:
            yield _Gone(start_us, kept_us if end_us is None else min(end_us, kept_us))
            start_us = kept_us
            if end_us is not None and end_us <= kept_us:
                return
    yield _Raw(start_us, end_us)


def _range(part: _Raw) -> Range:
    return Range(*(None if bound_us is None else moment(bound_us) for bound_us in part))
