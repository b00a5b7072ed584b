"""Reads dead letters so that they can be sent again, once the cause of their refusal is fixed.

Each keeps its key, its value, its own headers and the place where it stood first, by which the
processor knows it again: resent twice, it counts once.
"""

from collections.abc import Collection, Iterator, Sequence

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from gpu_token_contracts import DlqHeader, dlq_topic, origin_headers, origin_in, own_headers

from gpu_token_producers.errors import ProducerError
from gpu_token_producers.run import KafkaSettings
from gpu_token_producers.sender import Headers

_GROUP = "dead-letter-resend"
# Delivered and committed together; few, since each may have megabytes.
_BATCH_LETTERS = 50
_PREFETCH_KIB = 16_384
_BATCH_SECONDS = 0.5
_ANSWER_SECONDS = 30


class Letter(msgspec.Struct, frozen=True):
    """A dead letter, ready to be sent to its source topic."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    reason: str
    # The value was too large for the dead-letter topic; it is still at its source.
    omitted: bool


def letter(message: Message) -> Letter | None:
    """The dead letter in a record; None if the record is not one."""
    headers: list[tuple[str, bytes | None]] = list(message.headers() or [])  # type: ignore[arg-type]
    origin = origin_in(headers)
    named = dict(headers)
    reason = named.get(DlqHeader.REASON)
    if origin is None or not reason or dlq_topic(origin.topic) != message.topic():
        return None
    return Letter(
        topic=origin.topic,
        key=message.key(),
        value=message.value(),
        headers=[*own_headers(headers), *origin_headers(origin)],
        reason=reason.decode(errors="replace"),
        omitted=DlqHeader.VALUE_OMITTED_BYTES in named,
    )


def group(reasons: Collection[str]) -> str:
    """The consumer group that remembers how far letters of these reasons have been resent."""
    return ".".join([_GROUP, *sorted(set(reasons))])


class LetterReader:
    """Reads dead-letter topics from where the last run for the same reasons ended, to where they end now.

    Not beyond: what is refused again meanwhile becomes a new letter, for the next run.
    """

    def __init__(self, kafka: KafkaSettings, reasons: Collection[str]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka.bootstrap,
                **kafka.security,
                "group.id": group(reasons),
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": _PREFETCH_KIB,
                "log_level": 2,
            }
        )
        self._next: dict[tuple[str, int], int] = {}

    def batches(self, topics: Sequence[str]) -> Iterator[list[Message]]:
        """Letters in the order in which they arrived. `commit` commits those returned so far."""
        try:
            ends = {}
            starts = []
            for partition in self._partitions(topics):
                low, high = self._consumer.get_watermark_offsets(partition, timeout=_ANSWER_SECONDS)
                # Before the low end if that has moved on, beyond the high end if the topic was created again.
                start = partition.offset if low <= partition.offset <= high else low
                if start < high:
                    ends[partition.topic, partition.partition] = high
                    starts.append(TopicPartition(partition.topic, partition.partition, start))
            self._consumer.assign(starts)
            while ends:
                yield self._batch(ends)
        except KafkaException as error:
            raise ProducerError(f"The dead-letter topics cannot be read: {error.args[0].str()}.") from error

    def commit(self) -> None:
        """Commit: all letters returned so far are done."""
        offsets = [TopicPartition(*partition, offset) for partition, offset in self._next.items()]
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            raise ProducerError(
                f"The letters are resent, but how far was not noted ({error.args[0].str()}): "
                "the next run sends them again, which changes nothing."
            ) from error

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        """All partitions, each with the offset that is noted for it."""
        known = self._consumer.list_topics(timeout=_ANSWER_SECONDS).topics
        partitions = [
            TopicPartition(topic, number) for topic in topics for number in sorted(known[topic].partitions)
        ]
        return self._consumer.committed(partitions, timeout=_ANSWER_SECONDS)

    def _batch(self, ends: dict[tuple[str, int], int]) -> list[Message]:
        """The next letters; partitions that are read to their end are taken out of `ends`."""
        letters = []
        for message in self._consumer.consume(_BATCH_LETTERS, _BATCH_SECONDS):
            place = (str(message.topic()), message.partition() or 0)
            offset = message.offset() or 0
            if error := message.error():
                if error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
            elif place in ends and offset < ends[place]:
                letters.append(message)
                self._next[place] = offset = offset + 1
            if place in ends and offset >= ends[place]:
                del ends[place]
        return letters
