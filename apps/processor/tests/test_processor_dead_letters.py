from collections.abc import Iterator
from typing import NoReturn

import pytest
from confluent_kafka import Consumer, Producer
from gpu_token_contracts import Origin, origin_headers
from gpu_token_processor.pipeline.batch import Refusal
from gpu_token_processor.pipeline.dead_letters import (
    DeadLettersUndelivered,
    DeadLetterTopics,
    dead_letter,
)
from gpu_token_processor.store.contract import StoreUnavailable
from processor_fakes import NOW, FakeSink, FakeStore, record
from processor_kafka import MockKafka


@pytest.fixture(scope="module")
def kafka() -> Iterator[MockKafka]:
    with MockKafka() as mock:
        yield mock


def refusal(offset: int = 5, value: bytes | None = b"{bad") -> Refusal:
    return Refusal(
        record(value, offset, headers=[("trace", b"t-1"), ("dlq.reason", b"old")]), "invalid_json", "why"
    )


def test_noted_and_sent_once() -> None:
    store, sink = FakeStore(), FakeSink()
    assert len(dead_letter(sink, store, [refusal(5), refusal(6)], lambda: NOW)) == 2
    assert dead_letter(sink, store, [refusal(5), refusal(6)], lambda: NOW) == []
    assert len(sink.sent) == 2
    assert store.collections["dead_letters"]["token.usage.v1:0:5"] == {
        "_id": "token.usage.v1:0:5",
        "topic": "token.usage.v1",
        "partition": 0,
        "offset": 5,
        "reason": "invalid_json",
        "message": "why",
        "record_ts_ms": 1_767_268_800_005,
        "ts": NOW,
    }


def test_not_noted_before_it_is_delivered() -> None:
    store, sink = FakeStore(), FakeSink()
    sink.failures = [DeadLettersUndelivered("no")]
    with pytest.raises(DeadLettersUndelivered):
        dead_letter(sink, store, [refusal()])
    assert not store.collections.get("dead_letters")


def test_a_crash_before_the_note_sends_again_rather_than_not_at_all() -> None:
    store, sink = FakeStore(), FakeSink()
    note = store.insert
    store.insert = fail  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        dead_letter(sink, store, [refusal()])
    store.insert = note  # type: ignore[method-assign]
    dead_letter(sink, store, [refusal()])
    assert len(sink.sent) == 2
    assert len(store.collections["dead_letters"]) == 1


def test_refused_again_after_a_replay_it_is_the_same_dead_letter_sent_anew() -> None:
    store, sink = FakeStore(), FakeSink()
    dead_letter(sink, store, [refusal(5)], lambda: NOW)
    headers = origin_headers(Origin("token.usage.v1", 0, 5))
    again = Refusal(record(b"{bad", 90, partition=1, headers=headers), "wrong_type", "still")
    for _ in range(2):
        dead_letter(sink, store, [again], lambda: NOW)
    assert [letter.reason for letter in sink.sent] == ["invalid_json", "wrong_type"]
    (note,) = store.collections["dead_letters"].values()
    assert note | {"_id": "token.usage.v1:0:5", "offset": 5, "partition": 0, "reason": "wrong_type"} == note


def fail(*_: object) -> NoReturn:
    raise StoreUnavailable("connection", "gone")


def read_one(kafka: MockKafka, topic: str) -> tuple[bytes | None, bytes | None, dict[str, str]]:
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": topic, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    message = consumer.poll(10)
    consumer.close()
    assert message is not None
    assert message.error() is None
    return message.key(), message.value(), {name: value.decode() for name, value in message.headers() or []}


def test_a_dead_letter_is_what_was_sent_and_why(kafka: MockKafka) -> None:
    producer = Producer(DeadLetterTopics.config(kafka.bootstrap))
    DeadLetterTopics(producer).send([refusal()])
    assert read_one(kafka, "token.usage.v1.dlq") == (
        b"key",
        b"{bad",
        {
            "trace": "t-1",
            "dlq.reason": "invalid_json",
            "dlq.message": "why",
            "dlq.source_topic": "token.usage.v1",
            "dlq.source_partition": "0",
            "dlq.source_offset": "5",
        },
    )


def test_a_replayed_dead_letter_that_is_refused_again_names_its_first_place(kafka: MockKafka) -> None:
    producer = Producer(DeadLetterTopics.config(kafka.bootstrap))
    headers = [("trace", b"t-1"), *origin_headers(Origin("again.v1", 3, 4))]
    DeadLetterTopics(producer).send(
        [Refusal(record(b"{", 90, "again.v1", 0, headers), "invalid_json", "why")]
    )
    _, _, found = read_one(kafka, "again.v1.dlq")
    assert found == {
        "trace": "t-1",
        "dlq.reason": "invalid_json",
        "dlq.message": "why",
        "dlq.source_topic": "again.v1",
        "dlq.source_partition": "3",
        "dlq.source_offset": "4",
    }


def test_a_value_too_large_for_the_topic_leaves_its_headers(kafka: MockKafka) -> None:
    producer = Producer(DeadLetterTopics.config(kafka.bootstrap) | {"message.max.bytes": 10_000})
    big = Refusal(record(b"x" * 20_000, topic="big.v1"), "too_large", "why")
    DeadLetterTopics(producer).send([big])
    key, value, headers = read_one(kafka, "big.v1.dlq")
    assert (key, value) == (b"key", None)
    assert headers["dlq.value_omitted_bytes"] == "20000"


def test_undelivered_is_said(kafka: MockKafka) -> None:
    producer = Producer({"bootstrap.servers": "127.0.0.1:1", "message.timeout.ms": 300, "logger": kafka.log})
    with pytest.raises(DeadLettersUndelivered, match="Dead letters not delivered"):
        DeadLetterTopics(producer).send([refusal()])
