"""Counted hours in MongoDB: which must be counted again, who does it, and what has been counted.

A clock hour goes by its number since 1970. Its mark says that events have come; it has a new token for
each batch. Who counts an hour claims the mark, and puts the claim's id into the hour's document before it
reads an event. It can only write the hour as long as that id stands there: one who was slow and whose claim
has been taken over writes nothing. It clears the mark only if the token is that of the claim. So a crash at
any point leaves the mark.

Hours whose events are not all kept any more are never counted again. What has been counted of them stands,
whatever is marked.
"""

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from bson import Binary, ObjectId
from gpu_token_contracts import COLLECTION_GPU_METRICS, COLLECTION_TOKEN_USAGE, moment
from pymongo import ASCENDING, DESCENDING, MongoClient, UpdateOne, WriteConcern
from pymongo.database import Database

from gpu_token_processor.documents import Document
from gpu_token_processor.ledger.exact import US_PER_HOUR, stored_us
from gpu_token_processor.retention import Retention
from gpu_token_processor.store.collections import RETENTION, ROLLUP_DAYS, ROLLUP_HOURS, ROLLUP_MARKS
from gpu_token_processor.store.marks import LONG_AGO, marks, within
from gpu_token_processor.store.rollup_days import MongoDays

# An hour that events still come to is left alone until none has come for so long.
QUIET = timedelta(seconds=60)
# But an hour that is over is not left dirty for longer, even if events trickle in.
RESTLESS = timedelta(minutes=15)
# So long a claim holds without being renewed.
LEASE = timedelta(seconds=120)

# As the data path writes.
_DURABLE = WriteConcern(w="majority", j=True)
# MongoDB's limit for a document is 16 MiB.
MAX_BYTES = 15 * 2**20


class Claim(NamedTuple):
    """One's right to count an hour."""

    hour: int
    id: ObjectId
    # Of the mark, when it was claimed.
    token: ObjectId
    at: datetime


class Counted(NamedTuple):
    """An hour as it has been counted. Without data it was too large to keep."""

    hour: int
    # Of the catalogue for which it is known to be right.
    catalog: str
    digest: str
    data: bytes | None
    events: bytes = b""


class Backlog(NamedTuple):
    """What is still to be counted."""

    hours: int
    oldest: datetime | None


class MongoRollups:
    """Each method raises pymongo's errors when MongoDB does not answer."""

    def __init__(
        self,
        client: MongoClient[Document],
        database: str,
        retention: Retention,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._retention = retention
        self._now = now
        self._database: Database[Document] = client[database]
        self._hours = self._database.get_collection(ROLLUP_HOURS, write_concern=_DURABLE)
        self._marks = self._database.get_collection(ROLLUP_MARKS, write_concern=_DURABLE)
        self._kept_for = self._database.get_collection(RETENTION, write_concern=_DURABLE)
        # Numbers of days that events were kept for, and until when; None: not read yet.
        self._was_kept: list[tuple[int, datetime]] | None = None
        days = self._database.get_collection(ROLLUP_DAYS, write_concern=_DURABLE)
        self.days = MongoDays(days, self._dirty)

    def first_countable(self) -> int:
        """The first hour whose events are all kept, now and ever since."""
        now = self._now()
        if self._was_kept is None:
            self._was_kept = [(one["_id"], one["until"]) for one in self._kept_for.find()]
        firsts = [self._retention.first_hour(now)]
        firsts += [
            self._retention._replace(raw_days=raw_days).first_hour(min(until, now))
            for raw_days, until in self._was_kept
        ]
        return max(firsts)

    def first_counted(self) -> int | None:
        """The first hour that has been counted; None if none has."""
        found = self._hours.find_one({"digest": {"$exists": True}}, {"_id": 1}, sort=[("_id", ASCENDING)])
        return None if found is None else int(found["_id"])

    def clean(self, first: int | None, upto: int | None) -> Iterator[tuple[int, bytes]]:
        """Hours from `first` to before `upto` that are counted and not marked, in order, with their data."""
        return self._clean("data", first, upto)

    def clean_events(self, first: int | None, upto: int | None) -> Iterator[tuple[int, bytes]]:
        """The same hours with the counts of their events."""
        return self._clean("events", first, upto)

    def _clean(self, field: str, first: int | None, upto: int | None) -> Iterator[tuple[int, bytes]]:
        # The marks are read first: what is counted anew in between is newer, not older.
        dirty = self._dirty(first, upto)
        found = self._hours.find({**within(first, upto), "data": {"$exists": True}}, {field: 1})
        for one in found.sort("_id", ASCENDING):
            if one["_id"] not in dirty:
                yield one["_id"], one[field]

    def clean_digests(self, first: int, upto: int) -> dict[int, str]:
        """The digest of each hour from `first` to before `upto` that is counted and not marked."""
        dirty = self._dirty(first, upto)
        counted = self._hours.find({**within(first, upto), "digest": {"$exists": True}}, {"digest": 1})
        return {one["_id"]: one["digest"] for one in counted if one["_id"] not in dirty}

    def _dirty(self, first: int | None, upto: int | None) -> set[int]:
        return {mark["_id"] for mark in self._marks.find(self._countable(first, upto), {"_id": 1})}

    def _countable(self, first: int | None = None, upto: int | None = None) -> dict[str, Any]:
        """Marks that are to be counted, from `first` to before `upto`."""
        countable = self.first_countable()
        return within(countable if first is None else max(first, countable), upto)

    def backlog(self) -> Backlog:
        """How many hours are marked, and since when the oldest of them."""
        waiting = self._countable()
        oldest = self._marks.find_one(waiting, {"since": 1}, sort=[("since", ASCENDING)])
        return Backlog(self._marks.count_documents(waiting), oldest["since"] if oldest else None)

    def mark(self, hours: Collection[int]) -> ObjectId:
        """To be counted as soon as may be; the token of the marks."""
        token = ObjectId()
        updates = [
            UpdateOne({"_id": hour}, change, upsert=True) for hour, change in marks(hours, token, LONG_AGO)
        ]
        if updates:
            self._marks.bulk_write(updates, ordered=False)
        return token

    def left_of(self, token: ObjectId) -> int:
        """How many marks with this token are still to be counted; one that events have made newer is not."""
        return self._marks.count_documents({**self._countable(), "token": token})

    def remember_retention(self) -> None:
        """Note that events are kept for so long now.

        If they are to be kept for longer one day, hours of which some are gone must not be counted again.
        """
        kept_until = {"$max": {"until": self._now()}}
        self._kept_for.update_one({"_id": self._retention.raw_days}, kept_until, upsert=True)
        self._was_kept = None

    def forget(self) -> int:
        """Remove the marks of hours that can no longer be counted; how many there were."""
        late = within(None, self.first_countable())
        return self._marks.delete_many(late).deleted_count

    def count(self) -> int:
        """How many hours have been counted, marked ones among them."""
        return self._hours.count_documents({"digest": {"$exists": True}})

    def claim(self, now: datetime, first: int | None = None, upto: int | None = None) -> Claim | None:
        """The newest hour that waits and that nobody else counts; None if there is none."""
        claim_id = ObjectId()
        this_hour = stored_us(now) // US_PER_HOUR
        settled: list[dict[str, Any]] = [
            {"touched": {"$lte": now - QUIET}},
            {"since": {"$lte": now - RESTLESS}, "_id": {"$lt": this_hour}},
        ]
        free: list[dict[str, Any]] = [{"claim": None}, {"leased_until": {"$lt": now}}]
        mark = self._marks.find_one_and_update(
            {**self._countable(first, upto), "$and": [{"$or": settled}, {"$or": free}]},
            {"$set": {"claim": claim_id, "leased_until": now + LEASE}},
            projection={"token": 1},
            sort=[("_id", DESCENDING)],
        )
        if mark is None:
            return None
        claim = Claim(mark["_id"], claim_id, mark["token"], now)
        change = {"claim": claim_id, "starts_at": moment(claim.hour * US_PER_HOUR)}
        self._hours.update_one({"_id": claim.hour}, {"$set": change}, upsert=True)
        return claim

    def renew(self, claim: Claim, now: datetime) -> None:
        """Hold the claim for longer."""
        self._marks.update_one(_of(claim), {"$set": {"leased_until": now + LEASE}})

    def publish(self, claim: Claim, counted: Counted, now: datetime) -> bool:
        """Keep what has been counted; whether the claim still held."""
        change: dict[str, Any] = {
            "$set": {"digest": counted.digest, "catalog": counted.catalog, "computed_at": now}
        }
        if counted.data is None:
            change["$unset"] = {"data": "", "events": ""}
        else:
            change["$set"] |= {"data": Binary(counted.data), "events": Binary(counted.events)}
        return self._hours.update_one(_of(claim), change).matched_count == 1

    def clear(self, claim: Claim) -> bool:
        """Remove the mark, unless a newer one has come; then the hour waits again."""
        if self._marks.delete_one({"_id": claim.hour, "token": claim.token}).deleted_count:
            return True
        waits = {"$unset": {"claim": "", "leased_until": ""}, "$set": {"since": claim.at}}
        self._marks.update_one(_of(claim), waits)
        return False

    def known(self, first: int, upto: int) -> dict[int, str]:
        """Hours that are counted or marked; of those without a mark the catalogue, else an empty text."""
        wanted = within(first, upto)
        marked: dict[int, str] = {mark["_id"]: "" for mark in self._marks.find(wanted, {"_id": 1})}
        counted = self._hours.find({**wanted, "digest": {"$exists": True}}, {"catalog": 1})
        return {one["_id"]: one["catalog"] for one in counted} | marked

    def counted(self, hours: Collection[int]) -> Iterator[Counted]:
        """These, as far as they are counted."""
        for one in self._hours.find({"_id": {"$in": list(hours)}, "digest": {"$exists": True}}):
            yield Counted(one["_id"], one["catalog"], one["digest"], one.get("data"))

    def confirm(self, counted: Counted, catalog: str) -> None:
        """The hour is right for this catalogue too."""
        self._hours.update_one(
            {"_id": counted.hour, "digest": counted.digest}, {"$set": {"catalog": catalog}}
        )

    def hours_of_events(self) -> range:
        """From the hour of the first stored event that can be counted to that of the last event."""
        first, last = self._edge(ASCENDING), self._edge(DESCENDING)
        return range(max(min(first), self.first_countable()), max(last) + 1) if first and last else range(0)

    def hours_known(self) -> range:
        """From the first hour that is counted or has stored events to the last that has."""
        stored, counted = self.hours_of_events(), self.first_counted()
        if counted is None:
            return stored
        last = next(iter(self._hours.find({}, {"_id": 1}).sort("_id", DESCENDING).limit(1)))["_id"]
        return range(min(counted, stored.start) if stored else counted, max(last + 1, stored.stop))

    def _edge(self, direction: int) -> list[int]:
        edges = (
            self._database[name].find_one({}, {"ts": 1}, sort=[("ts", direction)])
            for name in (COLLECTION_GPU_METRICS, COLLECTION_TOKEN_USAGE)
        )
        return [stored_us(event["ts"]) // US_PER_HOUR for event in edges if event is not None]


def _of(claim: Claim) -> dict[str, Any]:
    return {"_id": claim.hour, "claim": claim.id}
