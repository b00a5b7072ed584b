"""Marks of clock hours whose events have changed since they were counted."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

# Of a mark that nothing need be waited for.
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def marks(
    hours: Collection[int], token: ObjectId, touched: datetime | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """For each hour the change of its mark, which may be there already.

    The token must be a new one: who clears a mark that it has seen does not clear a newer one.
    """
    now = datetime.now(UTC)
    for hour in sorted(hours):
        changed = {"token": token, "touched": touched or now}
        yield hour, {"$set": changed, "$setOnInsert": {"since": now}}


def within(first: int | None, upto: int | None) -> dict[str, Any]:
    """A query for documents by their numbers, from `first` to before `upto`."""
    bounds = {operator: number for operator, number in (("$gte", first), ("$lt", upto)) if number is not None}
    return {"_id": bounds} if bounds else {}
