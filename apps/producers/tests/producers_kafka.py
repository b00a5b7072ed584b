"""librdkafka's mock broker: Kafka's real protocol, without its disk."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, Message, Producer, TopicPartition

# Topics come to be when a producer asks for one by name.
_SERVE = """
import sys
from confluent_kafka import Producer
producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 2})
broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
print(f"{broker.host}:{broker.port}", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class MockKafka:
    """A mock broker in a process of its own, so that it can be frozen and killed."""

    address: str
    process: subprocess.Popen[str]

    def create(self, *topics: str) -> None:
        """Create topics."""
        producer = Producer({"bootstrap.servers": self.address})
        for topic in topics:
            producer.list_topics(topic, timeout=10)

    def read(self, topic: str) -> list[Message]:
        """All messages of a topic, partition after partition."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": "test",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
            }
        )
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            messages: list[Message] = []
            ended: set[int] = set()
            while len(ended) < len(partitions):
                message = consumer.poll(10)
                assert message is not None, f"{topic} was not read to its end within 10 seconds"
                if message.error():
                    partition = message.partition()
                    assert partition is not None
                    ended.add(partition)
                else:
                    messages.append(message)
            return messages
        finally:
            consumer.close()


@contextmanager
def mock_kafka() -> Iterator[MockKafka]:
    """A running mock broker."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield MockKafka(process.stdout.readline().strip(), process)
        finally:
            process.kill()
