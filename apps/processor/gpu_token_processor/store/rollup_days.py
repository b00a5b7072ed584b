"""Whole days as one catalogue shares them, in MongoDB.

A day goes by its number since 1970. Whoever makes one puts an id into its document before any of its hours
is read, and can only write the day as long as that id stands there. Whoever has counted an hour again deletes
the day's document before the hour's mark is cleared. So a day that can be read, and none of whose hours is
marked, is what its hours give.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from bson import Binary, ObjectId
from gpu_token_contracts import moment
from pymongo import ASCENDING
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from gpu_token_processor.documents import Document
from gpu_token_processor.ledger.exact import HOURS_PER_DAY, US_PER_DAY
from gpu_token_processor.store.marks import within

# Nobody else makes a day that somebody has begun to make so lately.
LEASE = timedelta(seconds=120)


class KeptDay(NamedTuple):
    """Parts of a day, as rollups.days packs it; those that were not asked for are empty."""

    day: int
    data: bytes = b""
    on_gpus: bytes = b""
    events: bytes = b""


class MongoDays:
    """Each method raises pymongo's errors when MongoDB does not answer."""

    def __init__(
        self, days: Collection[Document], dirty: Callable[[int | None, int | None], Iterable[int]]
    ) -> None:
        """`dirty`: the hours from one to before another that are to be counted again."""
        self._days = days
        self._dirty = dirty

    def clean(
        self, first: int | None, upto: int | None, *fields: str, version: str | None = None
    ) -> Iterator[KeptDay]:
        """Days from `first` to before `upto` none of whose hours is marked, in order, with these fields.

        Of one version, or of any: counts of events are the same in all.
        """
        # The marks are read first: a day that is deleted in between is not read, and one that is made is new.
        hours = (None if day is None else day * HOURS_PER_DAY for day in (first, upto))
        dirty = {hour // HOURS_PER_DAY for hour in self._dirty(*hours)}
        wanted = {**within(first, upto), "data": {"$exists": True}}
        if version is not None:
            wanted["version"] = version
        for one in self._days.find(wanted, dict.fromkeys(fields, 1)).sort("_id", ASCENDING):
            if one["_id"] not in dirty:
                yield KeptDay(one["_id"], **{name: one[name] for name in fields})

    def versions(self, first: int, upto: int) -> dict[int, str]:
        """Which days are kept, and of which version each is."""
        found = self._days.find(within(first, upto), {"version": 1})
        return {one["_id"]: one["version"] for one in found if "version" in one}

    def begin(self, day: int, now: datetime) -> ObjectId | None:
        """To be called before the day's hours are read; None if somebody else makes it."""
        claim = ObjectId()
        free = {"_id": day, "leased_until": {"$not": {"$gt": now}}}
        change = {"claim": claim, "leased_until": now + LEASE, "starts_at": moment(day * US_PER_DAY)}
        try:
            self._days.update_one(free, {"$set": change}, upsert=True)
        except DuplicateKeyError:
            return None
        return claim

    def publish(self, made: KeptDay, claim: ObjectId, version: str) -> bool:
        """Keep the day, or, without its parts, that it cannot be kept; whether it is still right."""
        day, *parts = made
        names = KeptDay._fields[1:]
        there = {name: Binary(part) for name, part in zip(names, parts, strict=True) if part}
        gone = dict.fromkeys(("claim", "leased_until", *(name for name in names if name not in there)), "")
        change = {"$set": {"version": version, **there}, "$unset": gone}
        return self._days.update_one({"_id": day, "claim": claim}, change).matched_count == 1

    def forget(self, day: int) -> None:
        """One of its hours has been counted again."""
        self._days.delete_one({"_id": day})
