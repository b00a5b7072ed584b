"""Stores one collection's documents, and names those that cannot be stored."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import bson
from bson.codec_options import CodecOptions
from gpu_token_contracts import COLLECTION_GPU_METRICS, Reason

from gpu_token_processor.documents import Document
from gpu_token_processor.pipeline.batch import Refusal, Writes
from gpu_token_processor.store.contract import DocumentsRefused, EventStore, InsertOutcome, RefusedDocument

_AS_READ = CodecOptions(tz_aware=True, document_class=dict)


@dataclass(slots=True)
class Stored:
    """What became of the documents of one write."""

    stored: int = 0
    duplicates: int = 0
    refusals: list[Refusal] = field(default_factory=list)


def store_writes(store: EventStore, collection: str, writes: Writes) -> Stored:
    """Store them under their `_id`s; the refused are taken out of `writes`. Raises StoreUnavailable."""
    outcome = _insert_or_split(store, collection, writes.documents, first_index=0)
    refused = outcome.refused + _false_duplicates(store, collection, writes.documents, outcome.duplicates)
    if collection == COLLECTION_GPU_METRICS and writes.documents:
        store.put_latest(_latest_of_each_gpu(writes.documents, {refusal.at for refusal in refused}))
    result = Stored(stored=outcome.stored, duplicates=len(outcome.duplicates))
    for index, message in sorted(refused, reverse=True):
        result.refusals.append(Refusal(writes.records.pop(index), Reason.STORE_REFUSED.value, message))
        del writes.documents[index]
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
) -> list[RefusedDocument]:
    """Duplicates that are not in the store after all; each is taken out of `duplicates`.

    A topic that was deleted and made again starts at offset 0 again, so that a position can
    stand for two events; and a unique index that is not ours refuses new events as duplicates.
    Either would lose an event without a word.
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
        elif "event_id" not in document and _as_read(document) != twin:
            message = f"Another event is stored under {document['_id']}: the topic was created again."
        else:
            continue
        refused.append(RefusedDocument(index, message))
    gone = {refusal.at for refusal in refused}
    duplicates[:] = [index for index in duplicates if index not in gone]
    return refused


def _as_read(document: Document) -> Document:
    """The document as the store gives it back: times in milliseconds."""
    return bson.decode(bson.encode(document), codec_options=_AS_READ)


def _latest_of_each_gpu(documents: Sequence[Document], without: set[int]) -> list[Document]:
    latest: dict[str, Document] = {}
    for index, document in enumerate(documents):
        if index in without:
            continue
        known = latest.get(document["gpu_id"])
        if known is None or known["ts"] < document["ts"]:
            latest[document["gpu_id"]] = document
    return list(latest.values())
