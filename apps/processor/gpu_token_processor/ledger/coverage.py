"""GPU readings to covered time, in integers, by GPU, price, deployment and clock hour."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from gpu_token_contracts import GpuMetric, gpu_identity

from gpu_token_processor.ledger.book import Book, Seen
from gpu_token_processor.ledger.exact import (
    EVER_US,
    NEVER_US,
    PPM,
    US_PER_HOUR,
    clock_hours,
    exact,
    stored_us,
)

EVENT_PRICE = "event"

_MILLI = 1_000


class OutOfOrderError(Exception):
    """An event is earlier than one before it."""


class Sums(NamedTuple):
    """One GPU at one price in one deployment over one piece of an hour."""

    hour: int
    piece: int
    gpu_id: str
    seen: Seen
    deployment: str | None
    usd_per_hour: Fraction
    source: str
    covered_us: int
    # Utilization in millionths, and power in mW, each times microseconds.
    busy_ppm_us: int
    power_mw_us: int
    # Part of covered_us whose readings do not tell it.
    without_utilization_us: int
    without_power_us: int


# The price and the deployment that a reading states itself.
Own = tuple[float | None, str | None]


class Key(NamedTuple):
    """What time is added up by, before the catalogue says what it costs."""

    hour: int
    # Of the time that is covered.
    piece: int
    gpu_id: str
    seen: Seen
    own: Own
    # As the readings say it, and the piece of time of the readings: what `seen` comes from.
    described: Seen
    read_piece: int


@dataclass(slots=True)
class GpuTrack:
    """The latest reading of one GPU, and what is counted for the GPU as a whole."""

    gpu_id: str
    readings: int = 0
    gap_us: int = 0
    last_us: int = -1
    # Tells apart readings of the same time.
    last_rank: tuple[object, ...] = ()
    last: GpuMetric | None = None
    known: "_Known | None" = None
    seen: Seen | None = None
    own: Own = (None, None)
    # Time of the first reading that was taken.
    first_us: int = -1
    # Where the latest reading's time is added as long as readings are like it; 0: look again.
    into: list[int] = field(default_factory=list)
    upto_us: int = 0
    # The event ids of readings of the latest time.
    ids: set[str] = field(default_factory=set)

    def add(self, duration_us: int) -> None:
        """Count time of the latest reading."""
        into, last = self.into, self.last
        assert last is not None
        into[0] += duration_us
        if last.utilization is None:
            into[3] += duration_us
        else:
            into[1] += duration_us * round(last.utilization * PPM)
        if last.power_w is None:
            into[4] += duration_us
        else:
            into[2] += duration_us * round(last.power_w * _MILLI)


class _Known(NamedTuple):
    """What readings have in common that differ in time and load, in one piece of time."""

    from_us: int
    upto_us: int
    track: GpuTrack
    seen: Seen
    own: Own
    described: Seen
    piece: int


class Coverage:
    """Takes readings in order of time. A reading holds until the GPU's next, and `gap_us` at most."""

    def __init__(self, book: Book, start_us: int | None, end_us: int | None, gap_us: int) -> None:
        self._book = book
        self._start_us = EVER_US if start_us is None else start_us
        self._end_us = NEVER_US if end_us is None else end_us
        self._gap_us = gap_us
        self._tracks: dict[str, GpuTrack] = {}
        self._known: dict[tuple[object, ...], _Known] = {}
        self._sums: dict[Key, list[int]] = {}
        # Each description in each piece of time, and the GPU that it is.
        self.met: dict[tuple[Seen, int], str] = {}
        self.first_us: int | None = None
        self.last_us: int | None = None
        self.duplicates = 0
        self.conflicts = 0

    def take(self, readings: Iterable[GpuMetric]) -> None:
        """Readings that cover nothing of the range are left out.

        Raises OutOfOrderError if a GPU has a later reading already.
        """
        gap_us, known_of = self._gap_us, self._known
        ts, ts_us = None, 0
        for reading in readings:
            # The GPUs of a host are mostly read at once.
            if reading.ts != ts:
                ts = reading.ts
                ts_us = stored_us(ts)
            alike = (
                reading.uuid,
                reading.host,
                reading.gpu_index,
                reading.name,
                reading.gpu_instance,
                reading.price_per_hour_usd,
                reading.deployment,
            )
            known = known_of.get(alike)
            if known is not None:
                track = known.track
                passed_us = ts_us - track.last_us
                # So it is for nearly all of millions.
                if 0 < passed_us <= gap_us and ts_us < track.upto_us and known is track.known:
                    track.add(passed_us)
                    track.last_us = ts_us
                    track.last = reading
                    track.readings += 1
                    continue
            self._take(reading, ts_us, alike)

    def _take(self, reading: GpuMetric, ts_us: int, alike: tuple[object, ...]) -> None:
        if not self._start_us - self._gap_us <= ts_us < self._end_us:
            # As if it had not been read: the store is not asked for it.
            return
        known = self._known.get(alike)
        if known is None or not known.from_us <= ts_us < known.upto_us:
            known = self._known[alike] = self._meet(reading, ts_us)
        track = known.track
        last = track.last
        if last is None:
            track.first_us = ts_us
        else:
            if ts_us > track.last_us:
                self._close(track, ts_us)
                track.ids.clear()
                track.last_rank = ()
            elif ts_us < track.last_us:
                raise OutOfOrderError
            elif not self._comes_last(track, last, reading):
                return
        track.last_us = ts_us
        track.last = reading
        if known is not track.known:
            track.known = known
            track.seen = known.seen
            track.own = known.own
            track.upto_us = 0
        if self._start_us <= ts_us:
            track.readings += 1

    def finish(self) -> None:
        """The last reading of each GPU holds for the gap's length."""
        for track in self._tracks.values():
            if track.last is not None:
                self._hold(track, track.last_us, track.last_us + self._gap_us)

    @property
    def tracks(self) -> dict[str, GpuTrack]:
        """Each GPU by its id."""
        return self._tracks

    def sums(self) -> Iterator[Sums]:
        """What has been counted; GPUs whose time lies outside the range have none."""
        for (hour, piece, gpu_id, seen, (price, deployment), _, _), counted in self._sums.items():
            terms = self._book.terms(seen, piece)
            yield Sums(
                hour,
                piece,
                gpu_id,
                seen,
                deployment or terms.deployment,
                terms.usd_per_hour if price is None else exact(price),
                terms.source if price is None else EVENT_PRICE,
                *counted,
            )

    @property
    def counted(self) -> Mapping[Key, Sequence[int]]:
        """What sums() is made of: the last five fields of each."""
        return self._sums

    def _meet(self, reading: GpuMetric, ts_us: int) -> _Known:
        piece = self._book.piece(ts_us)
        described = Seen(reading.uuid, reading.host, reading.gpu_index, reading.name, reading.gpu_instance)
        seen = self._book.identify(described, piece)
        gpu_id = gpu_identity(seen)
        track = self._tracks.setdefault(gpu_id, GpuTrack(gpu_id))
        self.met[described, piece] = gpu_id
        own = (reading.price_per_hour_usd, reading.deployment)
        return _Known(*self._book.bounds(piece), track, seen, own, described, piece)

    def _comes_last(self, track: GpuTrack, last: GpuMetric, reading: GpuMetric) -> bool:
        """Whether the reading governs what follows, of those with its time; drops the same event."""
        if not track.last_rank:
            track.upto_us = 0
            track.last_rank = _rank(last)
            if last.event_id is not None:
                track.ids.add(last.event_id)
        rank = _rank(reading)
        if reading.event_id is not None and reading.event_id in track.ids:
            if rank == track.last_rank or reading.event_id != track.last_rank[0]:
                self.duplicates += 1
                return False
            self.conflicts += 1
            if rank <= track.last_rank:
                return False
            track.readings -= self._start_us <= track.last_us < self._end_us
            track.last_rank = rank
            return True
        if reading.event_id is not None:
            track.ids.add(reading.event_id)
        if rank > track.last_rank:
            track.last_rank = rank
            return True
        track.readings += self._start_us <= track.last_us < self._end_us
        return False

    def _close(self, track: GpuTrack, next_us: int) -> None:
        """Count the latest reading's time, now that the next one is there."""
        ends_us = min(next_us, track.last_us + self._gap_us)
        if ends_us < next_us:
            self._note_gap(track, ends_us, next_us)
        self._hold(track, track.last_us, ends_us)

    def _hold(self, track: GpuTrack, begins_us: int, ends_us: int) -> None:
        """Count time of the latest reading, cut by hour and by piece."""
        known = track.known
        assert known is not None
        begins_us = max(begins_us, self._start_us)
        ends_us = min(ends_us, self._end_us)
        if begins_us >= ends_us:
            return
        self.first_us = begins_us if self.first_us is None else min(self.first_us, begins_us)
        self.last_us = ends_us if self.last_us is None else max(self.last_us, ends_us)
        for hour, hour_from_us, hour_upto_us in clock_hours(begins_us, ends_us):
            for piece, from_us, upto_us in self._book.pieces(hour_from_us, hour_upto_us):
                _, piece_upto_us = self._book.bounds(piece)
                track.upto_us = min((hour + 1) * US_PER_HOUR, piece_upto_us, self._end_us)
                key = Key(hour, piece, track.gpu_id, known.seen, known.own, known.described, known.piece)
                track.into = self._sums.setdefault(key, [0, 0, 0, 0, 0])
                track.add(upto_us - from_us)

    def _note_gap(self, track: GpuTrack, begins_us: int, ends_us: int) -> None:
        track.gap_us += max(0, min(ends_us, self._end_us) - max(begins_us, self._start_us))


def _rank(reading: GpuMetric) -> tuple[object, ...]:
    """The order of readings of one GPU and time: by id, and by content where there is none."""
    return (
        reading.event_id or "",
        str(reading.price_per_hour_usd),
        -1 if reading.utilization is None else round(reading.utilization * PPM),
        -1 if reading.power_w is None else round(reading.power_w * _MILLI),
        reading.deployment or "",
        reading.gpu_instance or "",
        reading.name or "",
        reading.host or "",
        -1 if reading.gpu_index is None else reading.gpu_index,
    )
