"""What the steps of the pipeline pass on to each other."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import Message

from gpu_token_processor.documents import Document

# Generic only in the client's type stubs.
if TYPE_CHECKING:
    Record = Message[bytes, bytes]
else:
    Record = Message


class Partition(NamedTuple):
    topic: str
    partition: int


class Refusal(NamedTuple):
    """An event that will not be stored, and why."""

    record: Record
    reason: str
    message: str


@dataclass(slots=True)
class Writes:
    """Documents for one collection, each beside the record that it came from."""

    documents: list[Document] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """Records that are stored, dead-lettered and committed together."""

    writes: dict[str, Writes] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    # Dead letters that were resent and are accepted now, by the `_id` of their notes.
    resent: list[str] = field(default_factory=list)
    # Offset to commit for each partition once all of the batch is safe.
    next_offsets: dict[Partition, int] = field(default_factory=dict)
    # Records of each topic, refused ones included.
    consumed: dict[str, int] = field(default_factory=dict)

    @property
    def events(self) -> int:
        """All records."""
        return sum(self.consumed.values())
