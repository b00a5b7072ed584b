"""The whole data path against the broker's own protocol, with a store in memory."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from gpu_token_contracts import Origin, dlq_topic, origin_headers, position
from gpu_token_processor.metrics import Metrics
from gpu_token_processor.pipeline.assembly import DataPath
from gpu_token_processor.pipeline.dead_letters import DeadLetterSink, DeadLetterTopics
from gpu_token_processor.pipeline.kafka import ErrorLog
from gpu_token_processor.pipeline.sent_letters import SentLetters
from gpu_token_processor.pipeline.state import ConsumerState, Phase
from gpu_token_processor.pipeline.supervisor import Supervisor
from gpu_token_processor.settings import Settings
from gpu_token_processor.store.contract import StoreUnavailable
from processor_fakes import TOPIC_METRIC, TOPIC_TOKEN, FakeSink, FakeStore, metric, usage
from processor_kafka import MockKafka

from testing.waiting import until

SCENARIOS: dict[str, Callable[[MockKafka], None]] = {}


def scenario(run: Callable[[MockKafka], None]) -> Callable[..., None]:
    """A test that runs beside the others here: nearly all of their time is waiting for a group to settle."""
    name = run.__name__
    SCENARIOS[name] = run

    def test(outcomes: dict[str, Future[None]]) -> None:
        outcomes[name].result()

    return test


def in_a_cluster_of_its_own(run: Callable[[MockKafka], None]) -> None:
    with MockKafka() as kafka:
        kafka.make_topics(TOPIC_METRIC, TOPIC_TOKEN)
        run(kafka)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    """Run all requested scenarios at the same time."""
    names = [item.name for item in request.session.items if item.name in SCENARIOS]
    with ThreadPoolExecutor(len(names)) as pool:
        yield {name: pool.submit(in_a_cluster_of_its_own, SCENARIOS[name]) for name in names}


class Running:
    """A processor without HTTP."""

    def __init__(
        self, kafka: MockKafka, store: FakeStore, sink: DeadLetterSink, **changes: int | float
    ) -> None:
        self.state = ConsumerState()
        self.metrics = Metrics()
        self.metrics.report_lag(lambda: self.state.lags)
        self.settings = Settings(
            kafka_bootstrap=kafka.bootstrap,
            mongo_url="mongodb://unused",
            **{"consume_batch_events": 50, **changes},  # type: ignore[arg-type]
        )
        path = DataPath(self.settings, store, sink, self.state, self.metrics, ErrorLog(kafka.log))
        self.supervisor = Supervisor(path.run, self.state, self.metrics)
        self.supervisor.start()

    def value(self, name: str, **labels: str) -> float:
        """A metric's value now."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@contextmanager
def running(
    kafka: MockKafka, store: FakeStore, sink: DeadLetterSink | None = None, **changes: int | float
) -> Iterator[Running]:
    processor = Running(kafka, store, sink or FakeSink(), **changes)
    try:
        yield processor
    finally:
        store.gate.set()
        assert processor.supervisor.stop(20)


def committed(kafka: MockKafka) -> int:
    """Sum of the group's offsets on the usage topic."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "gpu-token-processor"})
    partitions = consumer.committed([TopicPartition(TOPIC_TOKEN, number) for number in range(4)], timeout=10)
    consumer.close()
    return sum(max(0, partition.offset) for partition in partitions)


@scenario
def test_everything_is_stored_once_and_committed(kafka: MockKafka) -> None:
    store = FakeStore()
    kafka.send(TOPIC_TOKEN, *(usage(prompt_tokens=number) for number in range(300)))
    kafka.send(TOPIC_METRIC, *(metric() for _ in range(40)))
    with running(kafka, store) as processor:
        until(lambda: len(store.collections.get("token_usage", {})) == 300, "all stored")
        until(lambda: len(store.collections.get("gpu_metrics", {})) == 40, "all metrics stored")
        until(lambda: committed(kafka) == 300, "all committed")
        until(
            lambda: bool(processor.state.lags) and not sum(lag[2] for lag in processor.state.lags), "no lag"
        )
        assert processor.state.assigned_partitions == 8
        assert processor.value("gpu_token_events_stored_total", collection="token_usage") == 300
        assert processor.value("gpu_token_events_consumed_total", topic=TOPIC_TOKEN) == 300
        assert processor.value("gpu_token_event_to_store_delay_seconds_count") == 340
    assert processor.state.phase is Phase.STOPPED


@scenario
def test_nothing_is_committed_before_it_is_stored(kafka: MockKafka) -> None:
    store = FakeStore()
    store.gate.clear()
    kafka.send(TOPIC_TOKEN, *(usage() for _ in range(100)))
    with running(kafka, store) as processor:
        until(lambda: processor.value("gpu_token_events_consumed_total", topic=TOPIC_TOKEN) > 0, "consumed")
        time.sleep(1)
        assert committed(kafka) == 0
        store.gate.set()
        until(lambda: committed(kafka) == 100, "committed once stored")


# What is sent, and the reason that its dead letter must name.
POISON: dict[str, tuple[dict[str, Any] | bytes | None, str]] = {
    "invalid UTF-8": (b'{"model": "\xff"}', "invalid_utf8"),
    "invalid JSON": (b"{", "invalid_json"),
    "no object": (b"[]", "wrong_type"),
    "NaN": (b'{"ts": NaN}', "not_finite"),
    "tombstone": (None, "tombstone"),
    "2 MB": (usage(note="x" * 2_000_000), "too_large"),
    "negative": (usage(prompt_tokens=-1), "out_of_range"),
    "absurd": (usage(prompt_tokens=10**14), "out_of_range"),
    "wrong type": (usage(prompt_tokens="1"), "wrong_type"),
    "past": (usage(ts="1999-01-01T00:00:00Z"), "bad_timestamp"),
    "future": (usage(ts="2099-01-01T00:00:00Z"), "bad_timestamp"),
    "missing field": (usage(model=None), "missing_field"),
    "unknown version": (usage(schema_version=2), "unknown_version"),
    "extra beyond 64 bits": (usage(extra=2**70), "bad_extra"),
}


@scenario
def test_each_kind_of_poison_is_dead_lettered_and_the_next_event_stored(kafka: MockKafka) -> None:
    store = FakeStore()
    config = {**DeadLetterTopics.config(kafka.connection), "logger": kafka.log}
    sink = DeadLetterTopics(lambda: Producer(config), SentLetters(kafka.connection))
    delays_seconds = []
    with running(kafka, store, sink) as processor:
        until(lambda: processor.state.assigned_partitions == 8, "assigned")
        for kind, (poison, _) in POISON.items():
            sent = time.monotonic()
            kafka.send(TOPIC_TOKEN, poison, usage(event_id=kind))
            until(lambda kind=kind: kind in store.collections.get("token_usage", {}), kind)  # type: ignore[misc]
            delays_seconds.append(time.monotonic() - sent)
        until(lambda: committed(kafka) == 2 * len(POISON), "poison is committed too")
        assert processor.state.phase is Phase.RUNNING
    # The middle one: other tests run beside this one.
    assert median(delays_seconds) < 1
    letters = read(kafka, dlq_topic(TOPIC_TOKEN))
    assert len(letters) == len(POISON)
    sources = set()
    for letter, (poison, reason) in zip(letters, POISON.values(), strict=True):
        headers = {name: value.decode() for name, value in letter.headers() or []}
        assert headers["dlq.reason"] == reason
        assert headers["dlq.message"].endswith(".")
        sources.add(tuple(headers[f"dlq.source_{part}"] for part in ("topic", "partition", "offset")))
        assert letter.key() == b"0"
        expected = poison if isinstance(poison, bytes) or poison is None else json.dumps(poison).encode()
        assert letter.value() == expected
    assert len(sources) == len(POISON)
    assert {source[0] for source in sources} == {TOPIC_TOKEN}


@scenario
def test_resent_dead_letters_count_once(kafka: MockKafka) -> None:
    """A fix lets them in; each is resent twice, and is the same event as before."""
    store, sink = FakeStore(), FakeSink()
    kafka.send(TOPIC_TOKEN, usage(ts="2099-01-01T00:00:00Z"), usage(ts="2099-01-01T00:00:00Z", event_id="e"))
    with running(kafka, store, sink):
        until(lambda: len(store.collections.get("dead_letters", {})) == 2, "dead-lettered")
    origins = [
        Origin(str(one.record.topic()), one.record.partition() or 0, one.record.offset() or 0)
        for one in sink.sent
    ]
    mended = [usage(), usage(event_id="e")]
    with running(kafka, store, sink) as processor:
        for origin, event in [*zip(origins, mended, strict=True)] * 2:
            kafka.send(TOPIC_TOKEN, event, headers=origin_headers(origin))
        until(lambda: committed(kafka) == 6, "all read")
        assert processor.value("gpu_token_events_duplicate_total", collection="token_usage") == 2
    assert store.collections["token_usage"].keys() == {position(*origins[0]), "e"}
    # They stand no more as dead letters: sent is still stored plus dead-lettered.
    assert store.collections["dead_letters"] == {}
    assert len(sink.sent) == 2


@scenario
def test_conflicts_are_dead_lettered_and_do_not_stop_it(kafka: MockKafka) -> None:
    """As when a file was changed and is replayed under the same ids; and as when the letters are resent."""
    store, sink = FakeStore(), FakeSink()
    kafka.send(TOPIC_TOKEN, *(usage(event_id=f"e-{number}") for number in range(60)))
    with running(kafka, store, sink, dlq_max_consecutive=20, dlq_max_share=0.1) as processor:
        until(lambda: committed(kafka) == 60, "stored")
        kafka.send(TOPIC_TOKEN, *(usage(event_id=f"e-{number}", model="two") for number in range(60)))
        until(lambda: committed(kafka) == 120, "the conflicts are read")
        note = next(iter(store.collections["dead_letters"].values()))
        origin = Origin(note["topic"], note["partition"], note["offset"])
        event_id = note["message"].split("'")[1]
        kafka.send(TOPIC_TOKEN, usage(event_id=event_id, model="two"), headers=origin_headers(origin))
        until(lambda: committed(kafka) == 121, "the resent one is read")
        assert processor.state.phase is Phase.RUNNING
        assert processor.value("gpu_token_events_conflicting_total", collection="token_usage") == 61
    assert {document["model"] for document in store.collections["token_usage"].values()} == {"llama-3-70b"}
    assert [letter.reason for letter in sink.sent] == ["conflict"] * 61
    # Each stands there once, however often it is resent.
    assert len(store.collections["dead_letters"]) == 60


@scenario
def test_a_store_that_is_away_for_long_does_not_cost_the_membership(kafka: MockKafka) -> None:
    store = FakeStore()
    store.failures_before = [StoreUnavailable("connection", "no server") for _ in range(6)]
    kafka.send(TOPIC_TOKEN, *(usage() for _ in range(300)))
    with running(kafka, store) as processor:
        until(lambda: processor.state.paused_since is not None, "paused")
        until(lambda: processor.state.write_failure == "no server", "the reason is told")
        polled = processor.state.last_poll
        until(lambda: processor.state.last_poll != polled, "still polling")
        until(lambda: len(store.collections.get("token_usage", {})) == 300, "stored once the store is back")
        until(lambda: committed(kafka) == 300, "committed")
        assert processor.state.paused_since is None
        assert processor.state.write_failing_since is None
        assert processor.value("gpu_token_write_failures_total", kind="connection") == 6
        assert processor.value("gpu_token_consumer_restarts_total") == 0


@scenario
def test_the_guard_stops_it_and_nothing_is_skipped(kafka: MockKafka) -> None:
    store, sink = FakeStore(), FakeSink()
    kafka.send(TOPIC_TOKEN, *(b"bad" for _ in range(200)))
    with running(kafka, store, sink, dlq_max_consecutive=20) as processor:
        until(lambda: processor.state.guard_tripped, "tripped")
        until(lambda: not processor.supervisor.alive, "at rest")
        assert processor.state.phase is Phase.STOPPED
        assert "DLQ_MAX_CONSECUTIVE=20" in (processor.state.reason or "")
    assert committed(kafka) == len(sink.sent) <= 20
    # Mended, it goes on where it stopped.
    with running(kafka, store, sink, dlq_max_consecutive=1000):
        until(lambda: committed(kafka) == 200, "all dead-lettered")
    assert len(sink.sent) == 200


@scenario
def test_a_failure_nobody_thought_of_starts_it_anew(kafka: MockKafka) -> None:
    store = FakeStore()
    store.failures_before = [ZeroDivisionError("a fault of ours")]
    kafka.send(TOPIC_TOKEN, *(usage() for _ in range(10)))
    with running(kafka, store) as processor:
        until(lambda: len(store.collections.get("token_usage", {})) == 10, "stored after all")
        assert processor.value("gpu_token_consumer_restarts_total") == 1


@scenario
def test_stopping_with_the_store_away_is_in_time(kafka: MockKafka) -> None:
    store = FakeStore()
    store.failures_before = [StoreUnavailable("connection", "no server") for _ in range(1000)]
    kafka.send(TOPIC_TOKEN, usage())
    processor = Running(kafka, store, FakeSink(), stop_seconds=12)
    until(lambda: processor.state.write_failure is not None, "failing")
    assert processor.supervisor.stop(processor.settings.consumer_stop_seconds)
    assert committed(kafka) == 0


@scenario
def test_two_processors_share_and_take_over(kafka: MockKafka) -> None:
    store = FakeStore()
    kafka.send(TOPIC_TOKEN, *(usage(event_id=f"a-{number}") for number in range(200)))
    with running(kafka, store) as first:
        until(lambda: first.state.assigned_partitions == 8, "the first has all")
        with running(kafka, store) as second:
            stop = threading.Event()

            def send_on() -> None:
                number = 0
                while not stop.wait(0.02):
                    kafka.send(TOPIC_TOKEN, usage(event_id=f"b-{number}"))
                    number += 1

            sender = threading.Thread(target=send_on)
            sender.start()
            until(lambda: first.state.assigned_partitions == second.state.assigned_partitions == 4, "shared")
            stop.set()
            sender.join()
        until(lambda: first.state.assigned_partitions == 8, "taken over")
        sent = committed_high(kafka)
        until(lambda: len(store.collections["token_usage"]) == sent, "nothing lost")
        until(lambda: committed(kafka) == sent, "all committed")


def read(kafka: MockKafka, topic: str) -> list[Message]:
    """All records of a topic, in the order in which they came."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "reader"})
    partitions = [TopicPartition(topic, number, 0) for number in range(4)]
    total = sum(consumer.get_watermark_offsets(partition)[1] for partition in partitions)
    consumer.assign(partitions)
    records: list[Message] = []
    while len(records) < total:
        records += consumer.consume(total - len(records), timeout=10)
    consumer.close()
    return sorted(records, key=lambda record: (record.timestamp()[1], record.offset()))


@scenario
def test_partitions_that_were_taken_while_paused_are_read_when_they_come_back(kafka: MockKafka) -> None:
    slow, store = FakeStore(), FakeStore()
    slow.gate.clear()
    kafka.send(TOPIC_TOKEN, *(usage() for _ in range(300)))
    with running(kafka, slow) as first:
        until(lambda: first.state.paused_since is not None, "paused")
        with running(kafka, store) as second:
            until(lambda: second.state.assigned_partitions == 4, "half is taken")
            slow.gate.set()
            until(lambda: first.state.paused_since is None, "the other half is read again")
        until(lambda: first.state.assigned_partitions == 8, "all come back")
        for topic, event in ((TOPIC_TOKEN, usage()), (TOPIC_METRIC, metric())):
            kafka.send(topic, *(event for _ in range(300)))

        def stored(collection: str) -> int:
            return len(
                slow.collections.get(collection, {}).keys() | store.collections.get(collection, {}).keys()
            )

        until(lambda: stored("token_usage") == 600, "all usage is stored")
        until(lambda: stored("gpu_metrics") == 300, "all metrics are stored")


def committed_high(kafka: MockKafka) -> int:
    """Events in the usage topic."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "counter"})
    total = sum(consumer.get_watermark_offsets(TopicPartition(TOPIC_TOKEN, number))[1] for number in range(4))
    consumer.close()
    return total
