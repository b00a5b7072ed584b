"""Names what of a run is in the store, and what in the dead-letter topics.

Prints `event N` for each document and `poison N` for each dead letter; what is there twice is
named twice.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from confluent_kafka import Consumer, Message, TopicPartition
from gpu_token_contracts import COLLECTION_GPU_METRICS, COLLECTION_TOKEN_USAGE, dlq_topic
from gpu_token_processor.settings import from_environment
from gpu_token_processor.store.clients import read_client

NUMBERS = {COLLECTION_TOKEN_USAGE: "prompt_tokens", COLLECTION_GPU_METRICS: "mem_used_mb"}
ANSWER_SECONDS = 30


def documents(run: str, since: datetime) -> Iterator[int]:
    """The numbers of the run's events in the store."""
    settings = from_environment(os.environ)
    database = read_client(settings)[settings.mongo_database]
    for collection, field in NUMBERS.items():
        wanted = {"ts": {"$gte": since}, "host": run}
        for document in database[collection].find(wanted, {"_id": 0, field: 1}):
            yield int(str(document[field]).partition(".")[0])


def dead_letters(run: str, since: datetime) -> Iterator[int]:
    """The numbers of the run's dead letters."""
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"],
            "group.id": "drill",
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


def main() -> None:
    """Name them all."""
    run, since = sys.argv[1], datetime.fromtimestamp(float(sys.argv[2]), UTC)
    for number in documents(run, since):
        print("event", number)
    for number in dead_letters(run, since):
        print("poison", number)


if __name__ == "__main__":
    main()
