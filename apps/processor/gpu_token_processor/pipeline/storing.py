"""Stores one collection's documents, and names those that cannot be stored."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import bson
from bson.codec_options import CodecOptions
from gpu_token_contracts import COLLECTION_GPU_METRICS, Reason

from gpu_token_processor.documents import Document, reading_order
from gpu_token_processor.pipeline.batch import Refusal, Writes
from gpu_token_processor.store.contract import DocumentsRefused, EventStore, InsertOutcome, RefusedDocument

_AS_READ = CodecOptions(tz_aware=True, document_class=dict)
# Where the event came from, and what an earlier version may have derived in another way.
_NOT_CONTENT = frozenset({"source", "gpu_id"})
_SHOWN_FIELDS = 5
_SHOWN_LENGTH = 60


class _Refused(NamedTuple):
    """Of the document at this index of the write."""

    at: int
    reason: Reason
    message: str


@dataclass(slots=True)
class Stored:
    """What became of the documents of one write."""

    stored: int = 0
    duplicates: int = 0
    # Among the refusals: another event is stored under their id.
    conflicts: int = 0
    refusals: list[Refusal] = field(default_factory=list)


def store_writes(store: EventStore, collection: str, writes: Writes) -> Stored:
    """Store them under their `_id`s; the refused are taken out of `writes`. Raises StoreUnavailable."""
    outcome = _insert_or_split(store, collection, writes.documents, first_index=0)
    refused = [_Refused(at, Reason.STORE_REFUSED, message) for at, message in outcome.refused]
    refused += _false_duplicates(store, collection, writes.documents, outcome.duplicates)
    if collection == COLLECTION_GPU_METRICS and writes.documents:
        store.put_latest(_latest_of_each_gpu(writes.documents, {refusal.at for refusal in refused}))
    result = Stored(stored=outcome.stored, duplicates=len(outcome.duplicates))
    for index, reason, message in sorted(refused, reverse=True):
        result.refusals.append(Refusal(writes.records.pop(index), reason.value, message))
        del writes.documents[index]
        result.conflicts += reason is Reason.CONFLICT
    # The first to arrive is the first to be named.
    result.refusals.reverse()
    return result


def _insert_or_split(
    store: EventStore, collection: str, documents: Sequence[Document], first_index: int
) -> InsertOutcome:
    """Split a refused write in halves until the bad document is found."""
    if not documents:
        return InsertOutcome()
    try:
        outcome = store.insert(collection, documents)
    except DocumentsRefused as refused:
        if len(documents) == 1:
            return InsertOutcome(refused=[RefusedDocument(first_index, str(refused))])
        middle = len(documents) // 2
        left = _insert_or_split(store, collection, documents[:middle], first_index)
        right = _insert_or_split(store, collection, documents[middle:], first_index + middle)
        return InsertOutcome(
            left.stored + right.stored, left.duplicates + right.duplicates, left.refused + right.refused
        )
    outcome.duplicates = [first_index + index for index in outcome.duplicates]
    outcome.refused = [RefusedDocument(first_index + index, message) for index, message in outcome.refused]
    return outcome


def _false_duplicates(
    store: EventStore, collection: str, documents: Sequence[Document], duplicates: list[int]
) -> list[_Refused]:
    """Duplicates that are not in the store after all; each is taken out of `duplicates`.

    A producer can give two events one id. A topic that was deleted and made again starts at offset 0
    again, so that a position can stand for two events. And a unique index that is not ours refuses
    new events as duplicates. Each would lose an event without a word.
    """
    if not duplicates:
        return []
    kept = store.find(collection, [documents[index]["_id"] for index in duplicates])
    refused = []
    for index in duplicates:
        document = documents[index]
        twin = kept.get(document["_id"])
        if twin is None:
            message = "A unique index other than that of _id holds an event with the same value."
            refused.append(_Refused(index, Reason.STORE_REFUSED, message))
        elif differing := _differing(_as_read(document), twin):
            refused.append(_other_event(index, document, differing))
    gone = {refusal.at for refusal in refused}
    duplicates[:] = [index for index in duplicates if index not in gone]
    return refused


def _differing(document: Document, twin: Document) -> list[str]:
    """Names of the fields whose content is not the same. Null and absent are the same."""
    return sorted(
        name
        for name in document.keys() | twin.keys()
        if name not in _NOT_CONTENT and document.get(name) != twin.get(name)
    )


def _other_event(index: int, document: Document, differing: list[str]) -> _Refused:
    event_id = document.get("event_id")
    if event_id is None:
        message = f"Another event is stored under {document['_id']}: the topic was created again."
        return _Refused(index, Reason.STORE_REFUSED, message)
    names = ", ".join(_brief(name) for name in differing[:_SHOWN_FIELDS])
    more = f" and {len(differing) - _SHOWN_FIELDS} more" if len(differing) > _SHOWN_FIELDS else ""
    return _Refused(
        index,
        Reason.CONFLICT,
        f"Event {_brief(event_id)} is stored with another {names}{more}: give each event its own event_id.",
    )


def _brief(name: str) -> str:
    shown = repr(name)
    return shown if len(shown) <= _SHOWN_LENGTH else shown[:_SHOWN_LENGTH] + "…"


def _as_read(document: Document) -> Document:
    """The document as the store gives it back: times in milliseconds."""
    return bson.decode(bson.encode(document), codec_options=_AS_READ)


def _latest_of_each_gpu(documents: Sequence[Document], without: set[int]) -> list[Document]:
    latest: dict[str, tuple[tuple[datetime, str], Document]] = {}
    for index, document in enumerate(documents):
        if index in without:
            continue
        order = reading_order(document)
        known = latest.get(document["gpu_id"])
        if known is None or known[0] < order:
            latest[document["gpu_id"]] = order, document
    return [document for _, document in latest.values()]
