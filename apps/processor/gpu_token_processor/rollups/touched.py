"""Which clock hours a batch of events changes. Runs for each batch: short where they are all of one hour."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from operator import itemgetter

from gpu_token_contracts import COLLECTION_GPU_METRICS, moment

from gpu_token_processor.documents import Document
from gpu_token_processor.ledger.exact import US_PER_HOUR, stored_us

_ts = itemgetter("ts")


def touched_hours(collection: str, documents: Sequence[Document], gap: timedelta) -> set[int]:
    """Hours since 1970. A reading holds for `gap` at most, usage reaches back over its interval."""
    if not documents:
        return set()
    times: list[datetime] = [*map(_ts, documents)]
    if collection == COLLECTION_GPU_METRICS:
        return _reached(times, gap)
    hours = _reached(times, timedelta())
    intervals = [
        (document["ts"], timedelta(seconds=interval_seconds))
        for document in documents
        if (interval_seconds := document.get("interval_seconds")) is not None
    ]
    if intervals:
        first = min(times)
        longest = max(interval for _, interval in intervals)
        if _hour(first - longest) not in hours or len(hours) > 1:
            for ts, interval in intervals:
                hours.update(range(_hour(ts - interval), _hour(ts)))
    return hours


def _reached(times: list[datetime], gap: timedelta) -> set[int]:
    first, last = min(times), max(times)
    hours = {_hour(first), _hour(last + gap)}
    return hours if len(hours) == 1 else set(_each(sorted(times), gap))


def _each(times: Sequence[datetime], gap: timedelta) -> Iterator[int]:
    at = 0
    while at < len(times):
        hour = _hour(times[at])
        at = bisect_left(times, moment((hour + 1) * US_PER_HOUR), at)
        yield from range(hour, _hour(times[at - 1] + gap) + 1)


def _hour(ts: datetime) -> int:
    return stored_us(ts) // US_PER_HOUR
