"""What the data path needs from a store."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gpu_token_processor.documents import Document


class StoreUnavailable(Exception):
    """The store cannot take the write now; the same write may succeed later."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class DocumentsRefused(Exception):
    """The store will never accept these documents as one write; which of them is bad is not known."""


class RefusedDocument(NamedTuple):
    """The store will never accept the document at this index of the write."""

    at: int
    message: str


@dataclass(slots=True)
class InsertOutcome:
    """The outcome for each document, by its index in the write."""

    stored: int = 0
    duplicates: list[int] = field(default_factory=list)
    refused: list[RefusedDocument] = field(default_factory=list)


class EventStore(Protocol):
    """When a method returns, its work is on disk; otherwise it raises."""

    def insert(self, collection: str, documents: Sequence[Document]) -> InsertOutcome:
        """Insert those whose `_id` is new. Raises StoreUnavailable or DocumentsRefused."""
        ...

    def find(self, collection: str, ids: Sequence[str]) -> dict[str, Document]:
        """The documents with these `_id`s. Raises StoreUnavailable."""
        ...

    def put(self, collection: str, documents: Sequence[Document]) -> None:
        """Replace the documents with the same `_id`s. Raises StoreUnavailable."""
        ...

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Delete the documents with these `_id`s; absent ones do not matter. Raises StoreUnavailable."""
        ...

    def put_latest(self, metrics: Sequence[Document]) -> None:
        """Keep each as its GPU's latest reading, unless a later one is stored. Raises StoreUnavailable.

        Later is by time in milliseconds, then by `event_id`, of which an absent one is the least: what
        is kept does not depend on the order of arrival.
        """
        ...

    def mark_hours(self, hours: Collection[int]) -> None:
        """Say that events of these clock hours have come. Raises StoreUnavailable.

        To be called when the events are stored, and before their offsets are committed.
        """
        ...
