"""Nothing accepted is lost, nothing is sent twice, and every failure is counted."""

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError
from gpu_token_producers import sender as sender_module
from gpu_token_producers.counts import Totals
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.sender import Sender
from gpu_token_producers.stop import StopRequest
from producers_kafka import MockKafka, mock_kafka


def numbers(kafka: MockKafka, topic: str) -> Counter[int]:
    return Counter(int(message.value() or b"") for message in kafka.read(topic))


def send_numbers(sender: Sender, topic: str, count: int) -> None:
    for number in range(count):
        assert sender.send(topic, b"key", b"%d" % number)


def test_each_topic_has_its_own_counts(kafka: MockKafka, topics: tuple[str, str]) -> None:
    sender = Sender(kafka.address, StopRequest())
    sender.wait_for_topics(topics, 10)
    send_numbers(sender, topics[0], 30)
    send_numbers(sender, topics[1], 70)
    assert sender.drain(10, 10) == 0
    assert [(sender.count(topic).sent, sender.count(topic).delivered) for topic in topics] == [
        (30, 30),
        (70, 70),
    ]
    assert sender.totals() == Totals(sent=100, delivered=100, failed=0)
    assert numbers(kafka, topics[1]) == Counter(range(70))


def test_a_full_buffer_holds_the_caller_up_and_loses_nothing(
    kafka: MockKafka, topics: tuple[str, str]
) -> None:
    most_waiting = 0

    def watch(totals: Totals) -> None:
        nonlocal most_waiting
        most_waiting = max(most_waiting, totals.outstanding)

    sender = Sender(kafka.address, StopRequest(), buffer_events=50, observers=[watch])
    sender.wait_for_topics(topics, 10)
    send_numbers(sender, topics[1], 2_000)
    assert sender.drain(10, 10) == 0
    assert numbers(kafka, topics[1]) == Counter(range(2_000))
    assert most_waiting <= 50


def test_a_frozen_broker_delays_and_loses_nothing() -> None:
    with mock_kafka() as broker:
        broker.create("usage")
        sender = Sender(broker.address, StopRequest(), buffer_events=500)
        sender.wait_for_topics(["usage"], 10)
        send_numbers(sender, "usage", 100)
        broker.process.send_signal(signal.SIGSTOP)
        thaw = threading.Timer(3, broker.process.send_signal, [signal.SIGCONT])
        thaw.start()
        for number in range(100, 3_000):
            assert sender.send("usage", b"key", b"%d" % number)
        assert sender.drain(30, 30) == 0
        thaw.join()
        assert numbers(broker, "usage") == Counter(range(3_000))


def test_a_dead_broker_leaves_a_count_of_what_was_not_delivered(capfd: pytest.CaptureFixture[str]) -> None:
    with mock_kafka() as broker:
        broker.create("usage")
        stop = StopRequest()
        sender = Sender(broker.address, stop)
        sender.wait_for_topics(["usage"], 10)
        broker.process.kill()
        broker.process.wait()
        send_numbers(sender, "usage", 10)
        sender.pause(2)
        stop.requested = True
        begun = time.monotonic()
        assert sender.drain(60, 1) == 10
        assert time.monotonic() - begun < 3
        assert sender.totals().outstanding == 10
        [said] = capfd.readouterr().err.splitlines()
        assert re.fullmatch(rf"Kafka at {broker.address} cannot be reached \(.+\): 10 events wait .+", said)


def test_a_stop_ends_the_wait_for_room(kafka: MockKafka) -> None:
    with mock_kafka() as broker:
        broker.create("usage")
        stop = StopRequest()
        sender = Sender(broker.address, stop, buffer_events=10)
        sender.wait_for_topics(["usage"], 10)
        broker.process.send_signal(signal.SIGSTOP)
        threading.Timer(1, setattr, [stop, "requested", True]).start()
        accepted = 0
        while sender.send("usage", b"key", b"%d" % accepted):
            accepted += 1
            assert accepted <= 10
        assert sender.totals().sent == accepted
        broker.process.send_signal(signal.SIGCONT)
        assert sender.drain(10, 10) == 0
        assert numbers(broker, "usage") == Counter(range(accepted))


def test_kafka_that_is_not_there_is_named_with_the_cause() -> None:
    sender = Sender("127.0.0.1:1", StopRequest())
    with pytest.raises(ProducerError) as caught:
        sender.wait_for_topics(["usage"], 0.5)
    assert "127.0.0.1:1 did not answer within 0.5 seconds" in str(caught.value)
    assert "Connection refused" in str(caught.value)
    assert "KAFKA_BOOTSTRAP" in str(caught.value)


def test_topics_that_are_not_there_are_named_and_not_created(kafka: MockKafka) -> None:
    sender = Sender(kafka.address, StopRequest())
    for _ in range(2):
        with pytest.raises(ProducerError, match="has no topic absent-1, absent-2 within"):
            sender.wait_for_topics(["absent-2", "absent-1"], 0)


def test_a_topic_that_appears_ends_the_wait(kafka: MockKafka) -> None:
    sender = Sender(kafka.address, StopRequest())
    appear = threading.Timer(1, kafka.create, ["late-topic"])
    appear.start()
    sender.wait_for_topics(["late-topic"], 20)
    appear.join()


def test_no_observer_hears_of_a_producer_that_waits_for_kafka() -> None:
    heard: list[Totals] = []
    sender = Sender("127.0.0.1:1", StopRequest(), observers=[heard.append])
    with pytest.raises(ProducerError):
        sender.wait_for_topics(["usage"], 1)
    assert heard == []


class FailingProducer:
    """Stands in for librdkafka: its buffer is full twice at each third event, each fifth delivery fails."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.error_cb: Callable[[KafkaError], None] = config["error_cb"]
        self.waiting: list[Callable[..., None]] = []
        self.calls = 0
        self.accepted = 0

    def list_topics(self, timeout: float) -> Any:
        del timeout
        topic = type("Topic", (), {"error": None})
        return type("Metadata", (), {"topics": {"usage": topic}})

    def produce(
        self, topic: str, value: bytes, key: bytes, on_delivery: Callable[..., None], headers: None
    ) -> None:
        del topic, value, key
        self.calls += 1
        if self.calls % 3:
            raise BufferError("Local: Queue full")
        self.accepted += 1
        self.waiting.append(on_delivery)

    def poll(self, _seconds: float) -> int:
        for position, report in enumerate(self.waiting):
            failed = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE) if position % 5 == 0 else None
            report(failed, None)
        self.waiting = []
        return 0

    def flush(self, seconds: float) -> int:
        return self.poll(seconds)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Sender:
    monkeypatch.setattr(sender_module, "Producer", FailingProducer)
    return Sender("kafka:9092", StopRequest())


def test_a_buffer_full_twice_in_a_row_is_no_error(failing: Sender) -> None:
    failing.wait_for_topics(["usage"], 1)
    send_numbers(failing, "usage", 20)
    assert failing.drain(1, 1) == 0
    assert failing.totals().sent == 20


def test_failed_deliveries_are_counted_and_the_first_is_named(failing: Sender) -> None:
    send_numbers(failing, "usage", 10)
    assert failing.drain(1, 1) == 0
    totals = failing.totals()
    assert totals.failed > 0
    assert totals.delivered + totals.failed == 10
    assert failing.cause.startswith("First failure: usage: ")


def test_an_error_for_good_stops_the_producer_with_its_cause(failing: Sender) -> None:
    fatal = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "sequence is broken", fatal=True)
    failing._on_error(fatal)
    with pytest.raises(ProducerError, match="for good: sequence is broken"):
        failing.send("usage", b"key", b"value")


def test_an_error_for_good_that_comes_after_the_last_event_is_the_cause(failing: Sender) -> None:
    send_numbers(failing, "usage", 10)
    failing._on_error(KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED, "not authorized", fatal=True))
    failing.drain(1, 1)
    assert failing.cause == "Kafka refuses this producer for good: not authorized."


def test_a_login_that_is_refused_later_is_said_once(
    failing: Sender, capfd: pytest.CaptureFixture[str]
) -> None:
    failing.wait_for_topics(["usage"], 1)
    for _ in range(3):
        failing._on_error(KafkaError(KafkaError._AUTHENTICATION, "invalid credentials"))
        failing._on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "Kafka refuses the login, check KAFKA_USERNAME and KAFKA_PASSWORD_FILE (invalid cred" in said
    send_numbers(failing, "usage", 10)


def test_an_event_that_the_client_refuses_is_a_sentence(kafka: MockKafka, topics: tuple[str, str]) -> None:
    sender = Sender(kafka.address, StopRequest())
    with pytest.raises(ProducerError, match=f"refuses an event for {topics[1]}"):
        sender.send(topics[1], b"key", b"x" * 20_000_000)
