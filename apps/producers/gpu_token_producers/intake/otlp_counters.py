"""What cumulative counters have grown by since they were last seen.

A series is known by its attributes and by the time at which it began. One that began after this intake first
existed has never been counted here, so it counts from zero. One that is older is only noted: what it counted
before may have been counted already. So nothing is ever counted twice, and only what an older series counted
before its first point here is left out.
"""

from typing import NamedTuple

import msgspec

from gpu_token_producers.intake.otlp_points import Point

# Of one series that begins anew again and again; of all. The oldest are forgotten, and not counted from zero.
_MAX_STARTS = 16
_MAX_SERIES = 20_000


class Seen(msgspec.Struct, array_like=True, frozen=True):
    """The latest point of a series that began at one time."""

    time_ns: int
    tokens: int
    requests: int


class Series(msgspec.Struct, array_like=True, frozen=True):
    """The points of one series by its beginning. One that began until `floor_ns` has been forgotten."""

    floor_ns: int
    starts: dict[int, Seen]

    @property
    def latest_ns(self) -> int:
        """When it was last seen."""
        return max((seen.time_ns for seen in self.starts.values()), default=0)


class Growth(NamedTuple):
    """Tokens and requests between two times; `reset` says that the counter began anew."""

    from_ns: int
    tokens: int
    requests: int | None
    reset: bool


class Counters(msgspec.Struct):
    """All series. `born_ns`: what has begun since then counts from zero."""

    born_ns: int
    series: dict[str, Series] = msgspec.field(default_factory=dict)

    def copy(self) -> "Counters":
        """Another one, to be changed while this one stays."""
        return Counters(self.born_ns, dict(self.series))

    def grow(self, point: Point) -> Growth | str:
        """Note a point, and return what was added since the last one; or in a word why nothing was."""
        series = self.series.get(point.series) or Series(0, {})
        seen = series.starts.get(point.start_ns)
        now = Seen(point.time_ns, point.tokens, point.requests or 0)
        if seen is not None and point.time_ns <= seen.time_ns:
            return "repeated"
        self.series[point.series] = _with(series, point.start_ns, now)
        if seen is not None:
            return _since(seen, point)
        if point.start_ns < self.born_ns or point.start_ns <= series.floor_ns:
            return "baseline"
        began_before = any(start < point.start_ns for start in series.starts)
        return Growth(point.start_ns, point.tokens, point.requests, began_before)

    def prune(self) -> None:
        """Forget the series that were silent for longest, where there are too many."""
        surplus = len(self.series) - _MAX_SERIES
        if surplus <= 0:
            return
        by_silence = sorted(self.series, key=lambda name: self.series[name].latest_ns)
        for name in by_silence[:surplus]:
            gone = self.series.pop(name)
            self.born_ns = max(self.born_ns, gone.floor_ns + 1, *(start + 1 for start in gone.starts))


def _since(seen: Seen, point: Point) -> Growth:
    requests = point.requests
    if point.tokens < seen.tokens:
        # It fell, although it says that it did not begin anew: all that it has now is new.
        return Growth(seen.time_ns, point.tokens, requests, reset=True)
    grown = requests - seen.requests if requests is not None else None
    return Growth(
        seen.time_ns, point.tokens - seen.tokens, max(grown, 0) if grown is not None else None, False
    )


def _with(series: Series, start_ns: int, seen: Seen) -> Series:
    starts = {**series.starts, start_ns: seen}
    floor_ns = series.floor_ns
    while len(starts) > _MAX_STARTS:
        oldest = min(starts, key=lambda start: starts[start].time_ns)
        floor_ns = max(floor_ns, oldest)
        del starts[oldest]
    return Series(floor_ns, starts)
