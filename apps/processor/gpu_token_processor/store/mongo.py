"""Writes to MongoDB, one round trip for each batch and collection."""

from collections.abc import Collection, Sequence
from typing import Any

from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database

from gpu_token_processor.documents import Document
from gpu_token_processor.store.collections import GPU_LATEST, ROLLUP_MARKS
from gpu_token_processor.store.contract import InsertOutcome, RefusedDocument, StoreUnavailable
from gpu_token_processor.store.failures import DUPLICATE_KEY, WRITE_ERRORS, blames_document, translate
from gpu_token_processor.store.marks import marks

# On disk at a majority before an offset is committed.
_DURABLE = {"w": "majority", "j": True}


class MongoEventStore:
    """An EventStore on MongoDB.

    Sends insert as a plain command: on the same store that took half the processor time of
    insert_many, whose own retries and bookkeeping a deterministic `_id` makes needless.
    """

    def __init__(self, client: MongoClient[Document], database: str) -> None:
        self._database: Database[Document] = client[database]

    def insert(self, collection: str, documents: Sequence[Document]) -> InsertOutcome:
        """See EventStore."""
        reply = self._run({"insert": collection, "documents": list(documents), "ordered": False})
        outcome = InsertOutcome()
        for failure in reply.get("writeErrors", ()):
            index, code, message = failure["index"], failure["code"], failure.get("errmsg", "")
            if code == DUPLICATE_KEY:
                outcome.duplicates.append(index)
            elif blames_document(code):
                outcome.refused.append(RefusedDocument(index, message))
            else:
                raise StoreUnavailable("refused_document", f"code {code}: {message}")
        outcome.stored = len(documents) - len(outcome.duplicates) - len(outcome.refused)
        return outcome

    def find(self, collection: str, ids: Sequence[str]) -> dict[str, Document]:
        """See EventStore."""
        try:
            found = list(self._database[collection].find({"_id": {"$in": list(ids)}}))
        except WRITE_ERRORS as error:
            raise translate(error) from error
        return {document["_id"]: document for document in found}

    def put(self, collection: str, documents: Sequence[Document]) -> None:
        """See EventStore."""
        updates = [{"q": {"_id": document["_id"]}, "u": document, "upsert": True} for document in documents]
        _require_done("put", self._run({"update": collection, "updates": updates, "ordered": False}))

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """See EventStore."""
        deletes = [{"q": {"_id": {"$in": list(ids)}}, "limit": 0}]
        _require_done("delete", self._run({"delete": collection, "deletes": deletes}))

    def put_latest(self, metrics: Sequence[Document]) -> None:
        """See EventStore."""
        updates = [
            {
                # If a later reading is stored nothing matches: the upsert hits its _id and changes nothing.
                "q": {"_id": metric["gpu_id"], "$or": _earlier_than(metric)},
                "u": {**metric, "_id": metric["gpu_id"]},
                "upsert": True,
            }
            for metric in metrics
        ]
        reply = self._run({"update": GPU_LATEST, "updates": updates, "ordered": False})
        _require_done("latest", reply, but=DUPLICATE_KEY)

    def mark_hours(self, hours: Collection[int]) -> None:
        """See EventStore."""
        updates = [
            {"q": {"_id": hour}, "u": change, "upsert": True} for hour, change in marks(hours, ObjectId())
        ]
        if updates:
            _require_done("mark", self._run({"update": ROLLUP_MARKS, "updates": updates, "ordered": False}))

    def _run(self, command: dict[str, Any]) -> dict[str, Any]:
        try:
            reply = self._database.command({**command, "writeConcern": _DURABLE})
        except WRITE_ERRORS as error:
            raise translate(error) from error
        concern = reply.get("writeConcernError")
        if concern:
            raise StoreUnavailable(
                "write_concern", f"code {concern.get('code')}: {concern.get('errmsg', '')}"
            )
        return reply


def _earlier_than(metric: Document) -> list[dict[str, Any]]:
    """Filters of the readings that `documents.reading_order` puts before this one."""
    ts = metric["ts"]
    earlier: list[dict[str, Any]] = [{"ts": {"$lt": ts}}]
    if event_id := metric.get("event_id"):
        # A comparison finds no absent field; None does.
        earlier += [{"ts": ts, "event_id": {"$lt": event_id}}, {"ts": ts, "event_id": None}]
    return earlier


def _require_done(kind: str, reply: dict[str, Any], but: int | None = None) -> None:
    """Raise StoreUnavailable for the first write that failed with another code than this."""
    for failure in reply.get("writeErrors", ()):
        if failure["code"] != but:
            raise StoreUnavailable(kind, f"code {failure['code']}: {failure.get('errmsg', '')}")
