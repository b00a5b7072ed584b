"""The API's queries. Every range of event time is [start, end) and uses the index on ts."""

from collections.abc import Hashable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple, Protocol

from gpu_token_contracts import (
    COLLECTION_GPU_METRICS,
    COLLECTION_TOKEN_USAGE,
    GpuMetric,
    TokenUsage,
)
from pymongo import DESCENDING, MongoClient
from pymongo.database import Database

from gpu_token_processor.documents import Document
from gpu_token_processor.ledger.catalog import Catalog
from gpu_token_processor.ledger.catalog_store import read_catalog
from gpu_token_processor.ledger.usage import GATEWAY
from gpu_token_processor.selection import Range, Selection
from gpu_token_processor.store.collections import CATALOG, DEAD_LETTERS, GPU_LATEST, ROLLUP_MARKS


class UsageRow(NamedTuple):
    """Tokens of one model as engines or as gateways measured them, over some range of event time."""

    model: str
    by_gateway: bool
    events: int
    prompt_tokens: int
    completion_tokens: int


class DeadLetterCount(NamedTuple):
    """Refused events of one topic and reason."""

    topic: str
    reason: str
    events: int
    latest: datetime


_EVERYTHING = Selection()

# All that the ledger asks of an event; memory is for /gpu/info alone.
_READING_FIELDS = {"_id": 0} | dict.fromkeys(
    (name for name in GpuMetric.__struct_fields__ if not name.startswith("mem_")), 1
)
_USAGE_FIELDS = {"_id": 0} | dict.fromkeys(TokenUsage.__struct_fields__, 1)

# Hours that late events have come to stay marked for minutes; thousands are, after a rebuild.
_NEWEST_MARKS = 100
_USUAL_INTERVAL = timedelta(minutes=2)


class Reads(Protocol):
    """Each raises pymongo's errors when MongoDB does not answer."""

    def latest_event_time(self, not_after: datetime) -> datetime | None:
        """Of all stored events that are not later than this; None when there are none."""
        ...

    def readings(self, during: Range) -> Iterator[GpuMetric]:
        """In order of time; without their memory."""
        ...

    def usage(self, during: Range) -> Iterator[TokenUsage]:
        """What lies in the range at least in part, in order of time."""
        ...

    def usage_sums(self, during: Range, of: Selection) -> list[UsageRow]:
        """Tokens by model, of events whose own time lies in the range."""
        ...

    def catalog(self) -> Catalog:
        """What is declared of deployments, prices and leases."""
        ...

    def latest_readings(self, host: str | None, name: str | None) -> list[Document]:
        """The latest metric of each GPU, by gpu_id."""
        ...

    def dead_letters_in(self, during: Range) -> dict[str, int]:
        """How many came to Kafka in the range, by reason."""
        ...

    def dead_letters(self) -> list[DeadLetterCount]:
        """Counts by topic and reason, in that order."""
        ...

    def state(self) -> Hashable:
        """Another one after anything has been stored or declared. Costs little, whatever is stored."""
        ...

    def statistics(self) -> Mapping[str, Any]:
        """What MongoDB's dbStats says of the database."""
        ...

    def connect(self) -> None:
        """Wait until a server is found; returns at once if one is known."""
        ...

    def ping(self) -> None:
        """Returns if MongoDB answers."""
        ...


class MongoReads:
    """Reads on MongoDB."""

    def __init__(self, client: MongoClient[Document], database: str, batch_events: int = 0) -> None:
        """`batch_events`: so many come at once at most; 0: as many as MongoDB likes to give."""
        self._database: Database[Document] = client[database]
        self._batch_events = batch_events
        # The latest usage when last asked; the next search starts there.
        self._newest_usage: datetime | None = None

    def latest_event_time(self, not_after: datetime) -> datetime | None:
        """See Reads.

        Looks from what is known already, so that no store has to sort all of it.
        """
        newest_metric = self._newest_metric(not_after)
        times = (newest_metric, self._newest_usage)
        known = max((ts for ts in times if ts is not None and ts <= not_after), default=None)
        newest_usage = self._newest_in(COLLECTION_TOKEN_USAGE, known, not_after)
        if newest_usage is None and known != newest_metric:
            # The event that was remembered has been deleted.
            newest_usage = self._newest_in(COLLECTION_TOKEN_USAGE, newest_metric, not_after)
        self._newest_usage = newest_usage
        return newest_usage if newest_usage is not None else newest_metric

    def _newest_metric(self, not_after: datetime) -> datetime | None:
        latest = [gpu["ts"] for gpu in self._database[GPU_LATEST].find({}, {"ts": 1})]
        known = max((ts for ts in latest if ts <= not_after), default=None)
        if not any(ts > not_after for ts in latest):
            return known
        return self._newest_in(COLLECTION_GPU_METRICS, known, not_after)

    def _newest_in(self, collection: str, since: datetime | None, not_after: datetime) -> datetime | None:
        bounds = {"$lte": not_after} | ({"$gte": since} if since is not None else {})
        found = self._database[collection].find({"ts": bounds}, {"_id": 0, "ts": 1})
        return next((event["ts"] for event in found.sort("ts", DESCENDING).limit(1)), None)

    def readings(self, during: Range) -> Iterator[GpuMetric]:
        """See Reads."""
        found = self._database[COLLECTION_GPU_METRICS].find(_filter(during), _READING_FIELDS)
        for document in found.sort("ts").batch_size(self._batch_events):
            yield GpuMetric(**document)

    def usage(self, during: Range) -> Iterator[TokenUsage]:
        """See Reads."""
        events = self._database[COLLECTION_TOKEN_USAGE]
        found = events.find(_filter(during), _USAGE_FIELDS).sort("ts").batch_size(self._batch_events)
        later: list[Document] = []
        if during.end is not None:
            # Intervals that begin in the range and end after it: the usual ones lie close behind it, and the
            # long ones, which are few, have an index.
            behind = during.end + _USUAL_INTERVAL
            usual = {"ts": {"$gte": during.end, "$lt": behind}}
            long = {"interval_seconds": {"$gt": _USUAL_INTERVAL.total_seconds()}}
            later = [
                *(one for one in events.find(usual, _USAGE_FIELDS) if _begins(one) < during.end),
                *(
                    one
                    for one in events.find(long, _USAGE_FIELDS)
                    if _begins(one) < during.end <= behind <= one["ts"]
                ),
            ]
            later.sort(key=lambda document: document["ts"])
        for document in chain(found, later):
            yield TokenUsage(**document)

    def usage_sums(self, during: Range, of: Selection) -> list[UsageRow]:
        """See Reads."""
        groups = self._database[COLLECTION_TOKEN_USAGE].aggregate(
            [
                {"$match": _filter(during, of)},
                {
                    "$group": {
                        "_id": {"model": "$model", "by_gateway": {"$eq": ["$measured_by", GATEWAY]}},
                        "events": {"$sum": 1},
                        "prompt_tokens": {"$sum": "$prompt_tokens"},
                        "completion_tokens": {"$sum": "$completion_tokens"},
                    }
                },
            ]
        )
        return [
            UsageRow(
                group["_id"]["model"],
                group["_id"]["by_gateway"],
                group["events"],
                group["prompt_tokens"],
                group["completion_tokens"],
            )
            for group in groups
        ]

    def catalog(self) -> Catalog:
        """See Reads."""
        return read_catalog(self._database)

    def latest_readings(self, host: str | None, name: str | None) -> list[Document]:
        """See Reads."""
        wanted = {key: value for key, value in (("host", host), ("name", name)) if value is not None}
        return list(self._database[GPU_LATEST].find(wanted).sort("_id"))

    def dead_letters_in(self, during: Range) -> dict[str, int]:
        """See Reads."""
        milliseconds = {
            operator: round(bound.timestamp() * 1000) for operator, bound in _bounds(during).items()
        }
        groups = self._database[DEAD_LETTERS].aggregate(
            [
                {"$match": {"record_ts_ms": milliseconds} if milliseconds else {}},
                {"$group": {"_id": "$reason", "events": {"$sum": 1}}},
            ]
        )
        return {group["_id"]: group["events"] for group in groups}

    def dead_letters(self) -> list[DeadLetterCount]:
        """See Reads."""
        groups = self._database[DEAD_LETTERS].aggregate(
            [
                {
                    "$group": {
                        "_id": {"topic": "$topic", "reason": "$reason"},
                        "events": {"$sum": 1},
                        "latest": {"$max": "$ts"},
                    }
                }
            ]
        )
        return sorted(
            DeadLetterCount(group["_id"]["topic"], group["_id"]["reason"], group["events"], group["latest"])
            for group in groups
        )

    def state(self) -> Hashable:
        """See Reads.

        Each batch gives the hours of its events a mark with a new token; that of the running hour is among
        the newest.
        """
        marks = self._database[ROLLUP_MARKS].find({}, {"token": 1}).sort("_id", DESCENDING)
        declared = self._database[CATALOG].find_one({}, {"_id": 1}, sort=[("_id", DESCENDING)])
        return (
            tuple((mark["_id"], mark["token"]) for mark in marks.limit(_NEWEST_MARKS)),
            self._database[DEAD_LETTERS].estimated_document_count(),
            declared and declared["_id"],
        )

    def statistics(self) -> Mapping[str, Any]:
        """See Reads."""
        return self._database.command("dbStats")

    def connect(self) -> None:
        """See Reads."""
        if not self._database.client.nodes:
            self.ping()

    def ping(self) -> None:
        """See Reads."""
        self._database.command("ping")


def _begins(usage: Document) -> datetime:
    """When the event's interval begins."""
    begins: datetime = usage["ts"] - timedelta(seconds=usage.get("interval_seconds", 0))
    return begins


def _filter(during: Range, of: Selection = _EVERYTHING) -> dict[str, Any]:
    wanted: dict[str, Any] = {key: value for key, value in of._asdict().items() if value is not None}
    bounds = _bounds(during)
    if bounds:
        wanted["ts"] = bounds
    return wanted


def _bounds(during: Range) -> dict[str, datetime]:
    return {
        operator: bound
        for operator, bound in (("$gte", during.start), ("$lt", during.end))
        if bound is not None
    }
