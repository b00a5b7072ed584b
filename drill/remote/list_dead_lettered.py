"""Names what of a run was dead-lettered, as `poison N`; what is there twice is named twice.

Runs in the producers' container, since these may read dead letters.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from confluent_kafka import Consumer, Message, TopicPartition
from gpu_token_contracts import dlq_topic
from gpu_token_contracts.login import kafka_security_in

# Within what kafka_acls lets the producers use; nothing is committed to it.
GROUP = "dead-letter-resend.drill"
ANSWER_SECONDS = 30


def dead_letters(run: str, since: datetime) -> Iterator[int]:
    """The numbers of the run's dead letters."""
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"],
            **kafka_security_in(os.environ),
            "group.id": GROUP,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    for topic in (dlq_topic(os.environ["TOPIC_METRIC"]), dlq_topic(os.environ["TOPIC_TOKEN"])):
        partitions = consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic].partitions
        since_ms = int(since.timestamp() * 1000)
        starts = consumer.offsets_for_times(
            [TopicPartition(topic, number, since_ms) for number in partitions], timeout=ANSWER_SECONDS
        )
        consumer.assign(starts)
        ended = 0
        while ended < len(starts):
            message = consumer.poll(ANSWER_SECONDS)
            if message is None:
                sys.exit(f"{topic} was not read to its end within {ANSWER_SECONDS} s")
            if message.error():
                ended += 1
            elif (number := _number(message, run)) is not None:
                yield number
        consumer.unassign()
    consumer.close()


def _number(message: Message, run: str) -> int | None:
    headers: dict[str, bytes] = dict(message.headers() or [])  # type: ignore[arg-type]
    of_run, _, number = headers.get("drill", b"").decode().rpartition(":")
    return int(number) if of_run == run else None


if __name__ == "__main__":
    for number in dead_letters(sys.argv[1], datetime.fromtimestamp(float(sys.argv[2]), UTC)):
        print("poison", number)
