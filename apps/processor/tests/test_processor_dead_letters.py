import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NoReturn

import pytest
from confluent_kafka import Consumer, Producer
from gpu_token_contracts import Origin, origin_headers
from gpu_token_processor.pipeline import sent_letters
from gpu_token_processor.pipeline.batch import Refusal
from gpu_token_processor.pipeline.dead_letters import (
    DeadLettersUndelivered,
    DeadLetterTopics,
    dead_letter,
)
from gpu_token_processor.pipeline.sent_letters import SentLetters
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
        "sent": True,
    }


def test_a_note_is_marked_once_its_letter_is_delivered() -> None:
    store, sink = FakeStore(), FakeSink()
    sink.failures = [DeadLettersUndelivered("no")]
    with pytest.raises(DeadLettersUndelivered):
        dead_letter(sink, store, [refusal()])
    assert [note["sent"] for note in store.collections["dead_letters"].values()] == [False]
    assert len(dead_letter(sink, store, [refusal()])) == 1
    assert [note["sent"] for note in store.collections["dead_letters"].values()] == [True]


def test_a_letter_whose_mark_is_missing_is_looked_for_before_it_is_sent_again() -> None:
    store, sink = FakeStore(), FakeSink()
    put = store.put
    outcomes = iter([put, fail])
    store.put = lambda *arguments: next(outcomes)(*arguments)  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        dead_letter(sink, store, [refusal(5)])
    store.put = put  # type: ignore[method-assign]
    assert dead_letter(sink, store, [refusal(5), refusal(6)])[0].record.offset() == 6
    assert [one.record.offset() for one in sink.sent] == [5, 6]
    assert [note["sent"] for note in store.collections["dead_letters"].values()] == [True, True]


def test_a_note_without_a_mark_is_of_a_letter_that_was_sent() -> None:
    store, sink = FakeStore(), FakeSink()
    dead_letter(sink, store, [refusal()])
    del store.collections["dead_letters"]["token.usage.v1:0:5"]["sent"]
    assert dead_letter(sink, store, [refusal()]) == []


def test_refused_again_once_resent_it_is_the_same_dead_letter_sent_anew() -> None:
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


def sink_on(kafka: MockKafka, **changes: Any) -> DeadLetterTopics:
    config = DeadLetterTopics.config(kafka.connection) | changes
    return DeadLetterTopics(lambda: Producer(config), SentLetters(kafka.connection))


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
    sink_on(kafka).send([refusal()])
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


def test_a_resent_dead_letter_that_is_refused_again_names_its_first_place(kafka: MockKafka) -> None:
    headers = [("trace", b"t-1"), *origin_headers(Origin("again.v1", 3, 4))]
    sink_on(kafka).send([Refusal(record(b"{", 90, "again.v1", 0, headers), "invalid_json", "why")])
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
    big = Refusal(record(b"x" * 20_000, topic="big.v1"), "too_large", "why")
    sink_on(kafka, **{"message.max.bytes": 10_000}).send([big])
    key, value, headers = read_one(kafka, "big.v1.dlq")
    assert (key, value) == (b"key", None)
    assert headers["dlq.value_omitted_bytes"] == "20000"


def test_undelivered_is_said(kafka: MockKafka) -> None:
    sink = sink_on(
        kafka, **{"bootstrap.servers": "127.0.0.1:1", "message.timeout.ms": 300, "logger": kafka.log}
    )
    with pytest.raises(DeadLettersUndelivered, match="Dead letters not delivered"):
        sink.send([refusal()])


def test_letters_in_doubt_are_found_in_the_topic(kafka: MockKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_letters, "_STEP_LETTERS", 10)
    sink = sink_on(kafka)
    letters = [Refusal(record(b"{", offset, "doubt.v1"), "invalid_json", "why") for offset in range(60)]
    kafka.make_topics("doubt.v1.dlq")
    assert sink.sent_since(NOW, ["doubt.v1.dlq"]) == set()
    sink.send(letters[:30])
    time.sleep(0.05)
    moment = datetime.now(UTC)
    sink.send(letters[30:])
    kafka.send("doubt.v1.dlq", b"no letter")
    found = sink.sent_since(moment, ["doubt.v1.dlq"])
    assert {f"doubt.v1:0:{offset}" for offset in range(30, 60)} <= found
    # Read backwards only as far as is needed.
    assert "doubt.v1:0:0" not in found


def test_a_search_that_fails_is_tried_again(kafka: MockKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_letters, "_ANSWER_SECONDS", 0.3)
    nobody = {"bootstrap.servers": "127.0.0.1:1"}
    sink = DeadLetterTopics(lambda: Producer({"logger": kafka.log}), SentLetters(nobody))
    with pytest.raises(DeadLettersUndelivered, match="What was sent before cannot be read"):
        sink.sent_since(NOW, ["doubt.v1.dlq"])
