"""Whole days that are kept as one catalogue shares them, so that an answer over a year is a sum of days."""

import zlib
from collections.abc import Hashable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import TypeVar

import msgspec

from gpu_token_processor import VERSION
from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.coverage import GpuTrack, Sums
from gpu_token_processor.ledger.exact import HOURS_PER_DAY
from gpu_token_processor.ledger.folded import (
    Folded,
    Keys,
    Numbers,
    SumsKey,
    TrackKey,
    item_numbers,
    key_of,
    usage_numbers,
)
from gpu_token_processor.ledger.ledger import Ledger
from gpu_token_processor.ledger.totals import Place, ShareKey, Silent, idle_of, shares_of
from gpu_token_processor.rollups.bucket import EventsOfHour, sum_events
from gpu_token_processor.store.rollup_days import KeptDay

K = TypeVar("K", bound=Hashable)

# Another number where days of before mean something else.
_FORMAT = 1
_LEVEL = 1
# As many answers over a year need.
_MOST_KEYS = 512


class _Silent(msgspec.Struct, array_like=True, frozen=True):
    """As Silent; times as ratios."""

    lease: str
    time_us: tuple[int, int]
    at_default_us: tuple[int, int]
    cost_pico: int


class _Day(msgspec.Struct, array_like=True, frozen=True):
    """As Folded. The keys are still JSON: days in a row mostly have the same, which are read once."""

    keys: msgspec.Raw
    numbers: Numbers
    methods: list[str]
    tracks: list[int]
    silent: list[_Silent]


class _OnGpus(msgspec.Struct, array_like=True, frozen=True):
    keys: msgspec.Raw
    numbers: list[int]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Day).decode
_decode_on_gpus = msgspec.json.Decoder(_OnGpus).decode
_read_keys = lru_cache(_MOST_KEYS)(msgspec.json.Decoder(Keys).decode)
_read_gpu_keys = lru_cache(_MOST_KEYS)(msgspec.json.Decoder(list[ShareKey]).decode)


def version_of(book: Book, gap_us: int) -> str:
    """Of all that a day depends on, but for its hours."""
    return f"{book.catalog.version}/{gap_us}/{book.default_usd_per_hour}/{VERSION}/{_FORMAT}"


def pack_day(day: int, ledger: Ledger, events: Iterable[EventsOfHour]) -> KeptDay:
    """The day that the ledger's range is, all of whose hours are counted. Raises OverflowError.

    A number of more than 64 bits cannot be kept; such a day is answered from its hours.
    """
    shares: dict[ShareKey, list[int]] = {}
    on_gpus: dict[ShareKey, list[int]] = {}
    idle: dict[Place, list[int]] = {}
    methods: set[str] = set()
    for cell in ledger.cells.values():
        methods |= cell.methods
        for sums, by_gpu in ((shares, False), (on_gpus, True)):
            for key, item in shares_of(cell, by_gpu=by_gpu):
                _add(sums, key, item_numbers(item))
        for place, gpu in idle_of(cell):
            _add(idle, place, [gpu.cost_pico, gpu.covered_us])
    share_keys, of_shares = _in_order(shares)
    places, of_idle = _in_order(idle)
    sums_keys, of_sums = _in_order({_sums_key(one): [*one[7:]] for one in ledger.whole_sums})
    usage = ledger.whole_usage(lambda _: True)
    named, of_usage = _in_order({one: usage_numbers(amounts) for one, amounts in usage.items()})
    tracks, of_tracks = _in_order(dict(map(_track, ledger.coverage.tracks.values())))
    shared = _Day(
        keys=msgspec.Raw(_encode(Keys(share_keys, places, sums_keys, named, tracks))),
        numbers=Numbers(of_shares, of_idle, of_sums, of_usage, [*ledger.token_counts]),
        methods=sorted(methods),
        tracks=of_tracks,
        silent=list(_silent(ledger)),
    )
    gpu_keys, of_gpus = _in_order(on_gpus)
    packed = (shared, _OnGpus(msgspec.Raw(_encode(gpu_keys)), of_gpus), sum_events(events))
    return KeptDay(day, *(zlib.compress(_encode(part), _LEVEL) for part in packed))


def unpack_day(kept_day: KeptDay) -> Folded | None:
    """The inverse; without shares by GPU if they are not given. None if it is damaged."""
    day, data, on_gpus, _ = kept_day
    try:
        kept = _decode(zlib.decompress(data))
        by_gpu = _decode_on_gpus(zlib.decompress(on_gpus)) if on_gpus else None
    except (zlib.error, msgspec.DecodeError):
        return None
    return Folded(
        day * HOURS_PER_DAY,
        HOURS_PER_DAY,
        _read_keys(bytes(kept.keys)),
        kept.numbers,
        frozenset(kept.methods),
        _read_gpu_keys(bytes(by_gpu.keys)) if by_gpu else [],
        by_gpu.numbers if by_gpu else [],
        kept.tracks,
        {
            one.lease: Silent(Fraction(*one.time_us), Fraction(*one.at_default_us), one.cost_pico)
            for one in kept.silent
        },
    )


def _silent(ledger: Ledger) -> Iterator[_Silent]:
    for lease in ledger.book.catalog.leases:
        whole = None
        for _, silent in ledger.silent(lease):
            whole = whole or Silent()
            whole.include(silent)
        if whole:
            times = (whole.time_us.as_integer_ratio(), whole.at_default_us.as_integer_ratio())
            yield _Silent(key_of(lease), *times, whole.cost_pico)


def _add(sums: dict[K, list[int]], key: K, numbers: list[int]) -> None:
    known = sums.get(key)
    sums[key] = numbers if known is None else [a + b for a, b in zip(known, numbers, strict=True)]


def _in_order(sums: Mapping[K, list[int]]) -> tuple[list[K], list[int]]:
    """Keys and numbers, in an order that does not depend on that of arrival."""
    ordered = sorted(sums.items(), key=lambda entry: _encode(entry[0]))
    return [key for key, _ in ordered], [number for _, numbers in ordered for number in numbers]


def _track(track: GpuTrack) -> tuple[TrackKey, list[int]]:
    assert track.seen is not None
    numbers = [track.first_us, track.last_us, track.readings, track.gap_us]
    return (track.gpu_id, track.seen, track.own), numbers


def _sums_key(counted: Sums) -> SumsKey:
    _, piece, gpu_id, seen, deployment, usd_per_hour, source, *_ = counted
    return SumsKey(piece, gpu_id, seen, deployment, *usd_per_hour.as_integer_ratio(), source)
