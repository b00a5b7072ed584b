"""Searches the dead-letter topics for letters that may or may not have been sent before a crash."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from gpu_token_contracts import origin_in, position

from gpu_token_processor.pipeline.batch import Record

_ANSWER_SECONDS = 10.0
# Letters read at a time, backwards from the end: the letters in doubt were sent last.
_STEP_LETTERS = 500


class SearchFailed(Exception):
    """Kafka does not answer; the same search may succeed later."""


class SentLetters:
    """Reads with a consumer of its own that belongs to no group and commits nothing."""

    def __init__(self, connection: Mapping[str, object]) -> None:
        self._config: dict[str, object] = {
            **connection,
            "group.id": "dead-letter-search",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 2,
        }

    def since(self, moment: datetime, topics: Iterable[str]) -> set[str]:
        """Source positions of all letters that were sent at that moment or later. Raises SearchFailed."""
        consumer = Consumer(self._config)
        try:
            return {
                position(*origin)
                for topic in topics
                for number in sorted(consumer.list_topics(topic, _ANSWER_SECONDS).topics[topic].partitions)
                for letter in _since(consumer, topic, number, int(moment.timestamp() * 1000))
                if (origin := origin_in(letter.headers() or [])) is not None  # type: ignore[arg-type]
            }
        except KafkaException as error:
            raise SearchFailed(error.args[0].str()) from error
        finally:
            consumer.close()


def _since(consumer: Consumer, topic: str, number: int, moment_ms: int) -> Iterator[Record]:
    """Letters of one partition, some of them older."""
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_ANSWER_SECONDS)
    start = high
    while start > low:
        start = max(low, start - _STEP_LETTERS)
        consumer.assign([TopicPartition(topic, number, start)])
        oldest = _next(consumer)
        if oldest is not None and oldest.timestamp()[1] < moment_ms:
            break
    consumer.assign([TopicPartition(topic, number, start)])
    while (letter := _next(consumer)) is not None:
        yield letter
        if (letter.offset() or 0) >= high - 1:
            return


def _next(consumer: Consumer) -> Record | None:
    """None at the end."""
    record = consumer.poll(_ANSWER_SECONDS)
    if record is None:
        raise SearchFailed(f"no answer within {_ANSWER_SECONDS:g} s")
    error = record.error()
    if error is None:
        return record
    if error.code() == KafkaError._PARTITION_EOF:
        return None
    raise KafkaException(error)
