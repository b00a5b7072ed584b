"""Events that come back after a broker lost its metadata, with a real broker, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from ansible_collections.gpu_token.pipeline.plugins.module_utils import kafka_files, kafka_segments
from ansible_collections.gpu_token.pipeline.plugins.modules import kafka_data_info, kafka_strays
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)

from testing.broker import PARTITIONS, Broker

TOPIC, OFFSETS, OFFSETS_PARTITIONS = "token.usage.v1", "__consumer_offsets", 50
CRITICAL = 2
UNIQUE = "0123456789abcdef" * 2


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


def send(broker: Broker, numbers: Sequence[int]) -> None:
    """Send an event for each number, in several batches, as the producers do; all must be acknowledged."""
    failed = []
    producer = Producer(
        {
            "bootstrap.servers": broker.bootstrap,
            "enable.idempotence": True,
            "batch.num.messages": 50,
            "log_level": CRITICAL,
        }
    )
    for number in numbers:
        producer.produce(
            TOPIC,
            f"{number} {'x' * 500}",
            key=str(number),
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
    assert producer.flush(60) == 0
    assert failed == []


def partitions() -> list[TopicPartition]:
    return [TopicPartition(TOPIC, number, OFFSET_BEGINNING) for number in range(PARTITIONS)]


def consumer(broker: Broker, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "log_level": CRITICAL,
        }
    )


def read(broker: Broker) -> dict[tuple[int, int], int]:
    """The number of each event by its place, from the beginning of each partition to its end."""
    reader = consumer(broker, "reader")
    reader.assign(partitions())
    found: dict[tuple[int, int], int] = {}
    ended = 0
    while ended < PARTITIONS:
        for message in reader.consume(1000, timeout=1):
            error = message.error()
            if error is None:
                found[message.partition(), message.offset()] = int(message.value().split()[0])
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                ended += 1
    reader.close()
    return found


def commit(broker: Broker, offset: int) -> None:
    """The group has read so far."""
    assert committed(broker) == [OFFSET_INVALID] * PARTITIONS
    group = consumer(broker, "processor")
    group.commit(
        offsets=[TopicPartition(TOPIC, number, offset) for number in range(PARTITIONS)], asynchronous=False
    )
    group.close()


def committed(broker: Broker) -> list[int]:
    """How far the group has read. A broker that just started refuses to say so at first."""
    group = consumer(broker, "processor")
    deadline = time.monotonic() + 60
    while True:
        try:
            return [partition.offset for partition in group.committed(partitions(), timeout=10)]
        except KafkaException:
            if time.monotonic() > deadline:
                raise


def lose_metadata(broker: Broker) -> None:
    """What a start on a full disk leaves: an empty log of metadata."""
    for log in (broker.data / "__cluster_metadata-0").glob("*.log"):
        log.write_bytes(b"")


def test_all_events_come_back(broker: Broker) -> None:
    broker.make_topics([TOPIC])
    send(broker, range(3000))
    commit(broker, 100)
    # With leaders of a later epoch.
    broker.kill()
    broker.wait_until_it_answers()
    send(broker, range(3000, 4000))
    before = read(broker)
    assert sorted(before.values()) == list(range(4000))
    broker.stop()

    lose_metadata(broker)
    assert kafka_data_info.is_metadata_lost(broker.data)
    broker.start()
    assert TOPIC not in broker.topics()
    assert {stray["topic"] for stray in kafka_data_info.strays(broker.data)} == {TOPIC, OFFSETS}
    broker.make_topics([TOPIC])
    broker.make_topics([OFFSETS], OFFSETS_PARTITIONS)
    with pytest.raises(kafka_strays.StraysError, match="runs, or was not stopped well"):
        kafka_strays.restore(broker.data, [TOPIC])
    broker.stop()

    assert kafka_strays.restore(broker.data, [TOPIC, OFFSETS], dry_run=True) == (True, [])
    changed, restored = kafka_strays.restore(broker.data, [TOPIC, OFFSETS])
    assert changed
    assert kafka_data_info.strays(broker.data) == []
    assert kafka_strays.restore(broker.data, [TOPIC, OFFSETS]) == (False, [])

    broker.start()
    assert read(broker) == before
    for number in range(PARTITIONS):
        last = max(offset for partition, offset in before if partition == number)
        assert f"{TOPIC}:{number}:{last + 1}" in restored
    assert committed(broker) == [100] * PARTITIONS
    send(broker, range(4000, 5000))
    # What came back lasts: the broker checks all of it when it was killed.
    broker.kill()
    broker.wait_until_it_answers()
    after = read(broker)
    assert sorted(after.values()) == list(range(5000))
    assert before.items() <= after.items()


def directory(data_dir: Path, name: str, events: bytes = b"", first: int = 0) -> Path:
    """A partition's directory with one segment."""
    folder = data_dir / name
    folder.mkdir()
    (folder / f"{first:020}.log").write_bytes(events)
    return folder


def stray(number: int, unique: str = UNIQUE) -> str:
    return f"{TOPIC}-{number}.{unique}-stray"


def test_a_topic_that_was_not_made_anew_is_named(tmp_path: Path) -> None:
    directory(tmp_path, stray(3), b"events")
    directory(tmp_path, f"{TOPIC}-0")
    with pytest.raises(kafka_strays.StraysError, match=r"Partition 3 of token\.usage\.v1 does not exist"):
        kafka_strays.plan(tmp_path, [TOPIC])


def test_new_events_are_not_thrown_away(tmp_path: Path) -> None:
    directory(tmp_path, stray(0), b"events")
    directory(tmp_path, f"{TOPIC}-0", b"new")
    with pytest.raises(kafka_strays.StraysError, match=r"token\.usage\.v1-0 holds new events"):
        kafka_strays.plan(tmp_path, [TOPIC])


def test_events_that_were_lost_twice_are_named(tmp_path: Path) -> None:
    directory(tmp_path, stray(0), b"events")
    directory(tmp_path, stray(0, "f" * 32), b"others")
    directory(tmp_path, f"{TOPIC}-0")
    with pytest.raises(kafka_strays.StraysError, match="hold events of the same partition"):
        kafka_strays.plan(tmp_path, [TOPIC])


def test_an_empty_partition_keeps_its_offsets_too(tmp_path: Path) -> None:
    """Of a topic with events, all partitions move; of a topic without, none."""
    directory(tmp_path, stray(0), b"events")
    directory(tmp_path, stray(1), first=700)
    directory(tmp_path, stray(1, "f" * 32))
    directory(tmp_path, f"other-0.{UNIQUE}-stray", b"events")
    for number in range(2):
        directory(tmp_path, f"{TOPIC}-{number}")
    moves = kafka_strays.plan(tmp_path, [TOPIC])
    assert [move.stray.path.name for move in moves] == [stray(0), stray(1)]
    assert kafka_strays.plan(tmp_path, ["other.v1"]) == []


def test_a_file_that_holds_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    folder = directory(tmp_path, f"{TOPIC}-0", bytes(100))
    (partition,) = kafka_files.partitions(tmp_path)
    with pytest.raises(kafka_segments.NotWhole, match="no whole batch from byte 0 on"):
        kafka_segments.renew(partition.segments()[0])
    assert (folder / f"{0:020}.log").read_bytes() == bytes(100)
