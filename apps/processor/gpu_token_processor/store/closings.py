"""Closed months in MongoDB. What is kept of one is never changed.

The charges of a closing are written first, under its id. Then its own document is inserted, whose number
nobody else may have. So a crash before that leaves charges which nobody reads.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from bson import Binary, ObjectId
from pymongo import ASCENDING, MongoClient, WriteConcern
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from gpu_token_processor.documents import Document
from gpu_token_processor.store.collections import FOCUS_CHARGES, FOCUS_CLOSINGS

# As the data path writes.
_DURABLE = WriteConcern(w="majority", j=True)
# Nobody takes that long to close a month.
_ABANDONED = timedelta(days=1)


class Closing(NamedTuple):
    """A month as it was closed."""

    # From 0, without a gap: the month behind that of the number before.
    number: int
    month: str
    closed_at: datetime
    id: str
    # That have charges, such as 2026-10-05: first its own, then those of earlier months that it corrects.
    days: tuple[str, ...]
    # What the ledger depended on, by day, where all hours had been counted.
    fingerprints: Mapping[str, str] = {}


class Closings(Protocol):
    """Each raises pymongo's errors when MongoDB does not answer."""

    def all(self) -> list[Closing]:
        """In order."""
        ...

    def charges(self, closing: Closing, day: str) -> bytes | None:
        """What a closing has of a day; None: nothing."""
        ...

    def keep(self, closing_id: str, day: str, charges: bytes) -> None:
        """Write the charges of a day, of a closing that is not published yet."""
        ...

    def publish(self, closing: Closing) -> bool:
        """Close the month; False if there is a closing of this number already."""
        ...


class MongoClosings:
    """Closings on MongoDB."""

    def __init__(self, client: MongoClient[Document], database: str) -> None:
        self._database: Database[Document] = client[database]
        self._closings = self._database.get_collection(FOCUS_CLOSINGS, write_concern=_DURABLE)
        self._charges = self._database.get_collection(FOCUS_CHARGES, write_concern=_DURABLE)

    def all(self) -> list[Closing]:
        """See Closings."""
        return [
            Closing(
                one["_id"],
                one["month"],
                one["closed_at"],
                one["closing"],
                tuple(one["days"]),
                one["fingerprints"],
            )
            for one in self._closings.find().sort("_id", ASCENDING)
        ]

    def charges(self, closing: Closing, day: str) -> bytes | None:
        """See Closings."""
        if day not in closing.days:
            return None
        found = self._charges.find_one({"_id": _charges_id(closing.id, day)}, {"data": 1})
        assert found is not None, "charges of closed months are never deleted"
        data: bytes = found["data"]
        return data

    def keep(self, closing_id: str, day: str, charges: bytes) -> None:
        """See Closings."""
        self._charges.insert_one({"_id": _charges_id(closing_id, day), "data": Binary(charges)})

    def publish(self, closing: Closing) -> bool:
        """See Closings."""
        document = {
            "_id": closing.number,
            "month": closing.month,
            "closed_at": closing.closed_at,
            "closing": closing.id,
            "days": list(closing.days),
            "fingerprints": dict(closing.fingerprints),
        }
        try:
            self._closings.insert_one(document)
        except DuplicateKeyError:
            return False
        return True

    def sweep(self, closings: Sequence[Closing], now: datetime) -> None:
        """Delete charges of closings that were begun long ago and never published."""
        known = {closing.id for closing in closings}
        upto = str(ObjectId.from_datetime((now - _ABANDONED).astimezone(UTC)))
        begun = self._charges.find({"_id": {"$lt": upto}}, {"_id": 1})
        abandoned = [one["_id"] for one in begun if one["_id"].partition("/")[0] not in known]
        if abandoned:
            self._charges.delete_many({"_id": {"$in": abandoned}})


def _charges_id(closing_id: str, day: str) -> str:
    return f"{closing_id}/{day}"
