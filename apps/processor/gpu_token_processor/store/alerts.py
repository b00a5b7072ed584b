"""Thresholds of budgets that have been crossed, in MongoDB: each once in a month, and whether it was told.

Whoever finds a threshold crossed notes it; the first note stays. Whoever wants to tell claims it, by setting
when it is due again, and notes that it was told. So one who is killed in between leaves it to be told again.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from pymongo import ASCENDING, MongoClient, ReturnDocument, WriteConcern

from gpu_token_processor.documents import Document
from gpu_token_processor.store.collections import BUDGET_ALERTS

# As the data path writes.
_DURABLE = WriteConcern(w="majority", j=True)
# Longer than an attempt to tell may take.
CLAIM = timedelta(minutes=2)


class Alert(NamedTuple):
    """A threshold that has been crossed."""

    id: str
    # Such as 2026-10.
    month: str
    budget: str
    share: float
    crossed_at: datetime
    # What is told: JSON, the same at each attempt.
    body: str


class Claimed(NamedTuple):
    """One's right to tell."""

    id: str
    body: str
    # How often it has been claimed.
    attempt: int


class Alerts(Protocol):
    """Each raises pymongo's errors when MongoDB does not answer."""

    def crossed(self, month: str) -> dict[str, datetime]:
        """When each was noted first, by id."""
        ...

    def note(self, alert: Alert) -> None:
        """Keep it, unless it is known."""
        ...

    def claim(self, months: Collection[str], now: datetime) -> Claimed | None:
        """One of these months that is due; None if there is none."""
        ...

    def postpone(self, claimed: Claimed, due_at: datetime) -> None:
        """Let it be claimed again, then."""
        ...

    def told(self, claimed: Claimed, now: datetime) -> None:
        """Never let it be claimed again."""
        ...


class MongoAlerts:
    """Alerts on MongoDB."""

    def __init__(self, client: MongoClient[Document], database: str) -> None:
        self._alerts = client[database].get_collection(BUDGET_ALERTS, write_concern=_DURABLE)

    def crossed(self, month: str) -> dict[str, datetime]:
        """See Alerts."""
        return {
            one["_id"]: one["crossed_at"] for one in self._alerts.find({"month": month}, {"crossed_at": 1})
        }

    def note(self, alert: Alert) -> None:
        """See Alerts."""
        alert_id, content = alert.id, alert._asdict()
        del content["id"]
        fresh = {**content, "due_at": alert.crossed_at, "attempts": 0, "told_at": None}
        self._alerts.update_one({"_id": alert_id}, {"$setOnInsert": fresh}, upsert=True)

    def claim(self, months: Collection[str], now: datetime) -> Claimed | None:
        """See Alerts."""
        found = self._alerts.find_one_and_update(
            {"month": {"$in": list(months)}, "told_at": None, "due_at": {"$lte": now}},
            {"$set": {"due_at": now + CLAIM}, "$inc": {"attempts": 1}},
            projection={"body": 1, "attempts": 1},
            sort=[("due_at", ASCENDING), ("share", ASCENDING)],
            return_document=ReturnDocument.AFTER,
        )
        return None if found is None else Claimed(found["_id"], found["body"], found["attempts"])

    def postpone(self, claimed: Claimed, due_at: datetime) -> None:
        """See Alerts."""
        # Unless another has claimed it since.
        mine = {"_id": claimed.id, "attempts": claimed.attempt}
        self._alerts.update_one(mine, {"$set": {"due_at": due_at}})

    def told(self, claimed: Claimed, now: datetime) -> None:
        """See Alerts."""
        self._alerts.update_one({"_id": claimed.id}, {"$set": {"told_at": now}})
