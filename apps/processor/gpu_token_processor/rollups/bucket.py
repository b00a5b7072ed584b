"""One clock hour as the ledger counts it, before anybody says what it costs: sums of integers.

What the catalogue says is left out as far as it goes, since it may change for the past: a bucket says of
each GPU how its readings describe it, and when. It fits a catalogue that has no other dates in its time,
and takes the same readings for readings of one GPU.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from gpu_token_contracts import GpuMetric, TokenUsage

from gpu_token_processor.ledger.book import Book, Seen
from gpu_token_processor.ledger.coverage import Coverage
from gpu_token_processor.ledger.exact import US_PER_HOUR, stored_us
from gpu_token_processor.ledger.usage import COUNTED, FLAGS, GATEWAY, Amounts, Named, Usage
from gpu_token_processor.selection import Selection
from gpu_token_processor.store.reads import UsageRow

T = TypeVar("T", "Content", "EventsOfHour")

# Another number where buckets of before mean something else: they are counted again then, as long as their
# events are kept. Older ones stay as they are, so a later format must still be able to read this one.
FORMAT = 1
_LEVEL = 1


class Described(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A GPU as readings describe it in one piece of time; readings of one `gpu` are one GPU's."""

    described: Seen
    piece: int
    gpu: int


class _Time(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Covered time: the fields of Sums that are counted."""

    known: int
    piece: int
    price: float | None
    deployment: str | None
    covered_us: int
    busy_ppm_us: int
    power_mw_us: int
    without_utilization_us: int
    without_power_us: int


class _Track(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is counted for a GPU as a whole, and its latest reading."""

    known: int
    price: float | None
    deployment: str | None
    first_us: int
    last_us: int
    readings: int
    gap_us: int


class Said(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What usage events say of where their tokens were made and of whose they are: the fields of Named."""

    model: str
    by_gateway: bool
    deployment: str | None
    gpu_uuids: tuple[str, ...]
    host: str | None
    gpu_index: int | None
    endpoint: str | None
    whose: tuple[str | None, str | None, str | None, str | None, str | None]
    tags: tuple[tuple[str, str], ...] | None
    piece: int


class _Events(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Events whose own time lies in the hour, however long their intervals."""

    model: str
    by_gateway: bool
    host: str | None
    gpu_index: int | None
    events: int
    prompt_tokens: int
    completion_tokens: int


class Content(msgspec.Struct, frozen=True):
    """What a bucket holds. Times in microseconds since 1970; pieces are counted from `from_us`."""

    format: int
    hour: int
    gap_us: int
    # Between these, each date of the catalogue cuts a piece of time.
    from_us: int
    upto_us: int
    cuts: list[int]
    # A list of Described, still as JSON: hours in a row mostly have the same, which is read once.
    known: msgspec.Raw
    times: list[_Time]
    tracks: list[_Track]
    covered: tuple[int, int] | None
    # A list of Said, likewise; `usage` has the amounts of each, in the order of COUNTED behind the flags.
    said: msgspec.Raw
    usage: list[list[int]]
    used: tuple[int, int] | None


class EventsOfHour(msgspec.Struct, frozen=True):
    """Counts of usage events of an hour or a day. No catalogue changes them; totals by model need no more."""

    format: int
    rows: list[_Events]


class HourCount(NamedTuple):
    """All that is counted of an hour."""

    content: Content
    events: EventsOfHour


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Content).decode
read_described = msgspec.json.Decoder(list[Described]).decode
read_said = msgspec.json.Decoder(list[Said]).decode
_decode_events = msgspec.json.Decoder(EventsOfHour).decode


class Bucket(NamedTuple):
    """As it is kept: the same content has the same bytes, and the same digest."""

    hour: int
    digest: str
    data: bytes
    events: bytes


def pack(counted: HourCount) -> Bucket:
    """The bucket of what has been counted."""
    plain = [_encode(part) for part in counted]
    data, events = (zlib.compress(part, _LEVEL) for part in plain)
    return Bucket(counted.content.hour, hashlib.sha256(b"".join(plain)).hexdigest(), data, events)


def unpack(data: bytes) -> Content | None:
    """None if another version has written it, or it is damaged: the hour's events are read then."""
    return _unpacked(data, _decode)


def unpack_events(events: bytes) -> EventsOfHour | None:
    """Likewise."""
    return _unpacked(events, _decode_events)


def _unpacked(packed: bytes, decode: Callable[[bytes], T]) -> T | None:
    try:
        unpacked = decode(zlib.decompress(packed))
    except (zlib.error, msgspec.DecodeError):
        return None
    return unpacked if unpacked.format == FORMAT else None


def count_hour(
    hour: int, readings: Iterable[GpuMetric], usage: Iterable[TokenUsage], book: Book, gap_us: int
) -> HourCount:
    """Count an hour's events, in order of time: readings from `gap_us` before it, and all usage of it."""
    start_us, end_us = hour * US_PER_HOUR, (hour + 1) * US_PER_HOUR
    coverage = Coverage(book, start_us, end_us, gap_us)
    coverage.take(readings)
    coverage.finish()
    used = Usage(book, start_us, end_us)
    at_own_time = _AtOwnTime(start_us, end_us)
    used.take(at_own_time.look_at(usage))
    from_us, upto_us = start_us - gap_us, max(end_us, at_own_time.latest_us)
    first_piece = book.piece(from_us)
    groups = {gpu_id: number for number, gpu_id in enumerate(sorted(set(coverage.met.values())))}
    # In an order that does not depend on that of arrival.
    met = sorted(coverage.met, key=lambda met: (met[1], _sortable(met[0])))
    index = {known: number for number, known in enumerate(met)}
    times = [
        _Time(index[key.described, key.read_piece], key.piece - first_piece, *key.own, *counted)
        for key, counted in coverage.counted.items()
    ]
    tracks = []
    for track in coverage.tracks.values():
        assert track.known is not None
        at = index[track.known.described, track.known.piece]
        tracks.append(_Track(at, *track.own, track.first_us, track.last_us, track.readings, track.gap_us))
    here = used.hours.get(hour, {})
    rows = sorted(
        ((_said(named, first_piece), _numbers(amounts)) for named, amounts in here.items()), key=_encode
    )
    content = Content(
        format=FORMAT,
        hour=hour,
        gap_us=gap_us,
        from_us=from_us,
        upto_us=upto_us,
        cuts=book.cuts(from_us, upto_us),
        known=_raw(
            [
                Described(described, piece - first_piece, groups[coverage.met[described, piece]])
                for described, piece in met
            ]
        ),
        times=sorted(times, key=_encode),
        tracks=sorted(tracks, key=lambda track: track.known),
        covered=_span(coverage.first_us, coverage.last_us),
        said=_raw([said for said, _ in rows]),
        usage=[numbers for _, numbers in rows],
        used=_span(used.first_us, used.last_us),
    )
    return HourCount(content, EventsOfHour(FORMAT, at_own_time.rows()))


def sum_events(counts: Iterable[EventsOfHour]) -> EventsOfHour:
    """The counts of several hours in one."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in (row for counted in counts for row in counted.rows):
        *key, events, prompt, completion = msgspec.structs.astuple(row)
        known = sums.setdefault(tuple(key), [0, 0, 0])
        for at, count in enumerate((events, prompt, completion)):
            known[at] += count
    return EventsOfHour(FORMAT, _events_in_order(sums))


def usage_rows(counted: EventsOfHour, of: Selection) -> Iterator[UsageRow]:
    """Tokens of the hour's events, by their own time."""
    for row in counted.rows:
        if (
            of.host in (None, row.host)
            and of.gpu_index in (None, row.gpu_index)
            and of.model in (None, row.model)
        ):
            counts = (row.events, row.prompt_tokens, row.completion_tokens)
            yield UsageRow(row.model, row.by_gateway, *counts)


class _AtOwnTime:
    """Looks at usage events on their way, and counts those whose own time lies in the hour."""

    def __init__(self, start_us: int, end_us: int) -> None:
        self._start_us, self._end_us = start_us, end_us
        self.latest_us = start_us
        self._counts: dict[tuple[str, bool, str | None, int | None], list[int]] = {}

    def look_at(self, usage: Iterable[TokenUsage]) -> Iterator[TokenUsage]:
        for event in usage:
            ts_us = stored_us(event.ts)
            self.latest_us = max(self.latest_us, ts_us)
            if self._start_us <= ts_us < self._end_us:
                key = (event.model, event.measured_by == GATEWAY, event.host, event.gpu_index)
                counts = self._counts.setdefault(key, [0, 0, 0])
                counts[0] += 1
                counts[1] += event.prompt_tokens
                counts[2] += event.completion_tokens
            yield event

    def rows(self) -> list[_Events]:
        return _events_in_order(self._counts)


def _events_in_order(counts: Mapping[tuple[Any, ...], Sequence[int]]) -> list[_Events]:
    return sorted((_Events(*key, *numbers) for key, numbers in counts.items()), key=_encode)


def _raw(rows: list[Any]) -> msgspec.Raw:
    return msgspec.Raw(_encode(rows))


def _span(first_us: int | None, last_us: int | None) -> tuple[int, int] | None:
    return None if first_us is None or last_us is None else (first_us, last_us)


def _sortable(seen: Seen) -> tuple[tuple[bool, str], ...]:
    return tuple((value is not None, str(value)) for value in seen)


def _said(named: Named, first_piece: int) -> Said:
    *whose, tags = named.whose
    one, two, three, four, five = whose
    return Said(*named[:7], (one, two, three, four, five), tags, named.piece - first_piece)


def _numbers(amounts: Amounts) -> list[int]:
    flags = sum(getattr(amounts, name) << at for at, name in enumerate(FLAGS))
    return [flags, *(getattr(amounts, name) for name in COUNTED)]


def amounts_of(numbers: list[int]) -> Amounts:
    """The amounts that stand in a bucket."""
    amounts = Amounts()
    (
        flags,
        amounts.events,
        amounts.uncached_prompt,
        amounts.cached_prompt,
        amounts.completion,
        amounts.reasoning,
        amounts.requests,
        amounts.prefill_us,
        amounts.decode_us,
        amounts.counter_resets,
    ) = numbers
    amounts.lacks_prefill = bool(flags & 1)
    amounts.lacks_decode = bool(flags & 2)
    amounts.cached_known = bool(flags & 4)
    return amounts
