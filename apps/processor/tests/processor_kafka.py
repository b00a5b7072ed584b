"""librdkafka's mock cluster: a real broker protocol without a broker."""

import json
import logging
from collections.abc import Sequence
from typing import Any, Self

from confluent_kafka import Producer


class MockKafka:
    """A cluster of one broker."""

    log = logging.getLogger("mock-kafka")

    def __enter__(self) -> Self:
        self._cluster = Producer(
            {"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "logger": self.log}
        )
        brokers = self._cluster.list_topics(timeout=10).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        self.connection: dict[str, object] = {"bootstrap.servers": self.bootstrap}
        self._producer = Producer(
            {
                **self.connection,
                "enable.idempotence": True,
                # Values larger than a broker takes uncompressed must get there too.
                "compression.type": "lz4",
                "message.max.bytes": 16_777_216,
            }
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.flush(5)
        del self._producer, self._cluster

    def make_topics(self, *topics: str) -> None:
        """The mock makes a topic, of four partitions, when it is asked about."""
        for topic in topics:
            self._producer.list_topics(topic, timeout=10)

    def send(
        self,
        topic: str,
        *events: dict[str, Any] | bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Returns once all are acknowledged."""
        for number, event in enumerate(events):
            value = event if isinstance(event, bytes) or event is None else json.dumps(event).encode()
            self._producer.produce(topic, value, key=str(number).encode(), headers=list(headers))
            self._producer.poll(0)
        assert self._producer.flush(30) == 0
