"""The API's queries. Every range of event time is [start, end) and uses the index on ts."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from gpu_token_contracts import COLLECTION_GPU_METRICS, COLLECTION_GPUS, COLLECTION_TOKEN_USAGE
from pymongo import DESCENDING, MongoClient
from pymongo.database import Database

from gpu_token_processor.cost import Reading, UsageRow
from gpu_token_processor.documents import Document
from gpu_token_processor.store.collections import DEAD_LETTERS, GPU_LATEST


class Range(NamedTuple):
    """Event time from `start`, up to but without `end`; None is open."""

    start: datetime | None = None
    end: datetime | None = None


class Selection(NamedTuple):
    """Which events; None selects all."""

    host: str | None = None
    gpu_index: int | None = None
    model: str | None = None


class DeadLetterCount(NamedTuple):
    """Refused events of one topic and reason."""

    topic: str
    reason: str
    events: int
    latest: datetime


class Reads(Protocol):
    """Each raises pymongo's errors when MongoDB does not answer."""

    def latest_event_time(self) -> datetime | None:
        """Of all stored events; None when there are none."""
        ...

    def readings(self, during: Range, of: Selection) -> Iterator[Reading]:
        """GPU metrics in order of time."""
        ...

    def usage(self, during: Range, of: Selection) -> list[UsageRow]:
        """Tokens by model and GPU."""
        ...

    def inventory_prices_usd(self) -> dict[str, float]:
        """USD for an hour by GPU name."""
        ...

    def latest_readings(self, host: str | None, name: str | None) -> list[Document]:
        """The latest metric of each GPU, by gpu_id."""
        ...

    def dead_letters(self) -> list[DeadLetterCount]:
        """Counts by topic and reason, in that order."""
        ...

    def connect(self) -> None:
        """Wait until a server is found; returns at once if one is known."""
        ...

    def ping(self) -> None:
        """Returns if MongoDB answers."""
        ...


class MongoReads:
    """Reads on MongoDB."""

    def __init__(self, client: MongoClient[Document], database: str) -> None:
        self._database: Database[Document] = client[database]
        # The latest time when last asked; the next search starts there.
        self._newest_usage: datetime | None = None

    def latest_event_time(self) -> datetime | None:
        """See Reads.

        Looks at usage from what is known already, so that no store has to sort all of it.
        """
        newest_metric = max(
            (gpu["ts"] for gpu in self._database[GPU_LATEST].find({}, {"ts": 1})), default=None
        )
        known = max((ts for ts in (newest_metric, self._newest_usage) if ts is not None), default=None)
        newest_usage = self._find_newest_usage(since=known)
        if newest_usage is None and known != newest_metric:
            # The event that was remembered has been deleted.
            newest_usage = self._find_newest_usage(since=newest_metric)
        self._newest_usage = newest_usage
        return newest_usage if newest_usage is not None else newest_metric

    def _find_newest_usage(self, since: datetime | None) -> datetime | None:
        usage = self._database[COLLECTION_TOKEN_USAGE].find(
            _filter(Range(start=since), Selection()), {"_id": 0, "ts": 1}
        )
        return next((found["ts"] for found in usage.sort("ts", DESCENDING).limit(1)), None)

    def readings(self, during: Range, of: Selection) -> Iterator[Reading]:
        """See Reads."""
        fields = dict.fromkeys(Reading._fields, 1) | {"_id": 0}
        found = self._database[COLLECTION_GPU_METRICS].find(_filter(during, of._replace(model=None)), fields)
        for document in found.sort("ts"):
            yield Reading._make(map(document.get, Reading._fields))

    def usage(self, during: Range, of: Selection) -> list[UsageRow]:
        """See Reads."""
        keys = ("model", "host", "gpu_index", "gpu_uuid")
        groups = self._database[COLLECTION_TOKEN_USAGE].aggregate(
            [
                {"$match": _filter(during, of)},
                {
                    "$group": {
                        "_id": {key: f"${key}" for key in keys},
                        "events": {"$sum": 1},
                        "prompt_tokens": {"$sum": "$prompt_tokens"},
                        "completion_tokens": {"$sum": "$completion_tokens"},
                    }
                },
            ]
        )
        return [
            UsageRow._make(
                [
                    *map(group["_id"].get, keys),
                    group["events"],
                    group["prompt_tokens"],
                    group["completion_tokens"],
                ]
            )
            for group in groups
        ]

    def inventory_prices_usd(self) -> dict[str, float]:
        """See Reads."""
        found = self._database[COLLECTION_GPUS].find({}, {"_id": 0, "name": 1, "price_per_hour_usd": 1})
        return {
            gpu["name"]: gpu["price_per_hour_usd"]
            for gpu in found
            if gpu.get("name") and isinstance(gpu.get("price_per_hour_usd"), int | float)
        }

    def latest_readings(self, host: str | None, name: str | None) -> list[Document]:
        """See Reads."""
        wanted = {key: value for key, value in (("host", host), ("name", name)) if value is not None}
        return list(self._database[GPU_LATEST].find(wanted).sort("_id"))

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

    def connect(self) -> None:
        """See Reads."""
        if not self._database.client.nodes:
            self.ping()

    def ping(self) -> None:
        """See Reads."""
        self._database.command("ping")


def _filter(during: Range, of: Selection) -> dict[str, Any]:
    wanted: dict[str, Any] = {key: value for key, value in of._asdict().items() if value is not None}
    bounds = {
        operator: bound
        for operator, bound in (("$gte", during.start), ("$lt", during.end))
        if bound is not None
    }
    if bounds:
        wanted["ts"] = bounds
    return wanted
