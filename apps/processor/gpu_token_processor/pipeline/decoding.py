"""Records to a batch: each becomes a document or a refusal."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from gpu_token_contracts import (
    Decode,
    InvalidEvent,
    TimeBounds,
    TopicSpec,
    position,
    resent_from,
)

from gpu_token_processor.documents import Document, document
from gpu_token_processor.pipeline.batch import Batch, Partition, Record, Refusal, Writes


class _Target(NamedTuple):
    """Where one topic's records go."""

    decode: Decode
    documents: list[Document]
    records: list[Record]
    # The last offset seen in each partition.
    offsets: dict[int, int]


class Decoder:
    """Knows the topics, their events and the accepted range of event time."""

    def __init__(
        self,
        topics: Mapping[str, TopicSpec],
        max_age: timedelta,
        max_ahead: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._decoders = {topic: spec.decode for topic, spec in topics.items()}
        self._collections = {topic: spec.collection for topic, spec in topics.items()}
        self._max_age = max_age
        self._max_ahead = max_ahead
        self._now = now

    def decode(self, records: Iterable[Record]) -> Batch:
        """Records without error, in the order they came, as one batch."""
        bounds = TimeBounds.around(self._now(), max_age=self._max_age, max_ahead=self._max_ahead)
        batch = Batch(writes={collection: Writes() for collection in self._collections.values()})
        targets = {topic: self._target(topic, batch) for topic in self._decoders}
        for record in records:
            # Only records that are errors lack a topic or a position.
            topic: str = record.topic()  # type: ignore[assignment]
            partition: int = record.partition()  # type: ignore[assignment]
            offset: int = record.offset()  # type: ignore[assignment]
            decode, documents, kept, offsets = targets[topic]
            offsets[partition] = offset
            try:
                event = decode(record.value(), bounds)
            except InvalidEvent as refused:
                batch.refusals.append(Refusal(record, refused.reason_code.value, refused.message))
                continue
            headers = record.headers()
            if headers and (origin := resent_from(topic, headers)):  # type: ignore[arg-type]
                topic, partition, offset = origin
                batch.resent.append(position(topic, partition, offset))
            documents.append(document(event, topic, partition, offset))
            kept.append(record)
        batch.next_offsets = {
            Partition(topic, partition): offset + 1
            for topic, target in targets.items()
            for partition, offset in target.offsets.items()
        }
        batch.consumed = self._count(batch)
        return batch

    def _target(self, topic: str, batch: Batch) -> "_Target":
        writes = batch.writes[self._collections[topic]]
        return _Target(self._decoders[topic], writes.documents, writes.records, {})

    def _count(self, batch: Batch) -> dict[str, int]:
        counts = {topic: len(batch.writes[to].documents) for topic, to in self._collections.items()}
        for refusal in batch.refusals:
            counts[str(refusal.record.topic())] += 1
        return {topic: count for topic, count in counts.items() if count}
