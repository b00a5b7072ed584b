"""A Kafka broker as a local process, made from the same files as the lab's image."""

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from lab.ports import free_port
from testing.parts import KAFKA_LOGGING, kafka_libs
from testing.processes import Process, Used, run

# As the topics of fleet.yml.
PARTITIONS = 3
_HEAP = "-Xmx512M"
# Java compiles at once and does not look for what would be worth more: a start takes a third of the time.
_QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_CRITICAL = 2


class Broker:
    """One node that is broker and controller. It is removed with its data when the block ends."""

    def __init__(self, folder: Path, *, at_full_speed: bool = False) -> None:
        """At full speed it starts slowly: for those who measure."""
        self._folder = folder
        self.data = folder / "kafka"
        self._options = () if at_full_speed else _QUICK_START
        port, controller_port = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        self._properties = folder / "server.properties"
        self._properties.write_text(
            "\n".join(
                (
                    "process.roles=broker,controller",
                    "node.id=1",
                    f"controller.quorum.voters=1@127.0.0.1:{controller_port}",
                    f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
                    "controller.listener.names=CONTROLLER",
                    f"log.dirs={self.data}",
                    "offsets.topic.replication.factor=1",
                    "transaction.state.log.replication.factor=1",
                    "transaction.state.log.min.isr=1",
                    "group.initial.rebalance.delay.ms=0",
                    "auto.create.topics.enable=false",
                )
            )
        )

    def __enter__(self) -> Self:
        identity = uuid.uuid4().hex[:22]
        storage = ["format", "--cluster-id", identity, "--config", str(self._properties)]
        run(self._java("kafka.tools.StorageTool", *storage))
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": _CRITICAL})
        self.start()
        return self

    def kill(self) -> None:
        """End it at once (SIGKILL), and start it again on the same data, without waiting for it to answer."""
        self._process.kill()
        self._start()

    def stop(self) -> None:
        """End it as it should be ended."""
        self._process.__exit__()

    def start(self) -> None:
        """Start it again on the same data, and wait until it answers."""
        self._start()
        self.wait_until_it_answers()

    def wait_until_it_answers(self) -> None:
        """Return once it serves clients."""
        self._process.wait_for(self._answers, "Kafka answers")

    def _start(self) -> None:
        self._process = Process("kafka", self._java("kafka.Kafka", str(self._properties)), self._folder)
        self._process.__enter__()

    def __exit__(self, *details: object) -> None:
        self._process.__exit__(*details)

    def used(self) -> Used:
        """What the broker has used since it started."""
        return self._process.used()

    def make_topics(self, names: Sequence[str], partitions: int = PARTITIONS) -> None:
        """Create the topics, and wait until they are there."""
        made = self._admin.create_topics([NewTopic(name, partitions, 1) for name in names])
        for future in made.values():
            future.result()
        self._process.wait_for(lambda: set(names) <= self.topics(), "topics are known")

    def topics(self) -> set[str]:
        """The topics that it knows."""
        return set(self._admin.list_topics(timeout=5).topics)

    def _answers(self) -> bool:
        try:
            return bool(self._admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def _java(self, main_class: str, *arguments: str) -> list[str]:
        jars = os.pathsep.join(map(str, sorted(kafka_libs().glob("*.jar"))))
        return [
            "java",
            _HEAP,
            *self._options,
            f"-Dlog4j2.configurationFile={KAFKA_LOGGING}",
            "-cp",
            jars,
            main_class,
            *arguments,
        ]
