"""The whole data path against the broker's own protocol, with a store in memory."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, TopicPartition
from gpu_token_processor.metrics import Metrics
from gpu_token_processor.pipeline.assembly import DataPath
from gpu_token_processor.pipeline.state import ConsumerState, Phase
from gpu_token_processor.pipeline.supervisor import Supervisor
from gpu_token_processor.settings import Settings
from gpu_token_processor.store.contract import StoreUnavailable
from processor_fakes import TOPIC_METRIC, TOPIC_TOKEN, FakeSink, FakeStore, metric, usage
from processor_kafka import MockKafka

WAIT_SECONDS = 30


class Running:
    """A processor without HTTP."""

    def __init__(self, kafka: MockKafka, store: FakeStore, sink: FakeSink, **changes: int | float) -> None:
        self.state = ConsumerState()
        self.metrics = Metrics()
        self.metrics.report_lag(lambda: self.state.lags)
        settings = Settings(
            kafka_bootstrap=kafka.bootstrap,
            mongo_url="mongodb://unused",
            **{"consume_batch_events": 50, **changes},  # type: ignore[arg-type]
        )
        path = DataPath(settings, store, sink, self.state, self.metrics)
        self.supervisor = Supervisor(path.run, self.state, self.metrics)
        self.supervisor.start()

    def value(self, name: str, **labels: str) -> float:
        """A metric's value now."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@contextmanager
def running(
    kafka: MockKafka, store: FakeStore, sink: FakeSink | None = None, **changes: int | float
) -> Iterator[Running]:
    processor = Running(kafka, store, sink or FakeSink(), **changes)
    try:
        yield processor
    finally:
        store.gate.set()
        assert processor.supervisor.stop(20)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_SECONDS} s: {what}"
        time.sleep(0.05)


def committed(kafka: MockKafka) -> int:
    """Sum of the group's offsets on the usage topic."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "gpu-token-processor"})
    partitions = consumer.committed([TopicPartition(TOPIC_TOKEN, number) for number in range(4)], timeout=10)
    consumer.close()
    return sum(max(0, partition.offset) for partition in partitions)


def everything_is_stored_once_and_committed(kafka: MockKafka) -> None:
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


def nothing_is_committed_before_it_is_stored(kafka: MockKafka) -> None:
    store = FakeStore()
    store.gate.clear()
    kafka.send(TOPIC_TOKEN, *(usage() for _ in range(100)))
    with running(kafka, store) as processor:
        until(lambda: processor.value("gpu_token_events_consumed_total", topic=TOPIC_TOKEN) > 0, "consumed")
        time.sleep(1)
        assert committed(kafka) == 0
        store.gate.set()
        until(lambda: committed(kafka) == 100, "committed once stored")


def poison_does_not_stop_what_follows(kafka: MockKafka) -> None:
    store, sink = FakeStore(), FakeSink()
    poison = [
        b"\xff\xfe",
        b"{",
        b"[]",
        b'{"ts": NaN}',
        None,
        b"x" * 500_000,
        usage(prompt_tokens=-1),
        usage(prompt_tokens="1"),
        usage(ts="1999-01-01T00:00:00Z"),
        usage(ts="2099-01-01T00:00:00Z"),
        usage(model=None),
        usage(schema_version=2),
        usage(extra=2**70),
    ]
    kafka.send(TOPIC_TOKEN, *poison, usage())
    with running(kafka, store, sink) as processor:
        until(lambda: len(store.collections.get("token_usage", {})) == 1, "the good event is stored")
        until(lambda: committed(kafka) == len(poison) + 1, "poison is committed")
        assert processor.state.phase is Phase.RUNNING
    assert len(sink.sent) == len(store.collections["dead_letters"]) == len(poison)


def a_store_that_is_away_for_long_does_not_cost_the_membership(kafka: MockKafka) -> None:
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


def the_guard_stops_it_and_nothing_is_skipped(kafka: MockKafka) -> None:
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


def a_failure_nobody_thought_of_starts_it_anew(kafka: MockKafka) -> None:
    store = FakeStore()
    store.failures_before = [ZeroDivisionError("a fault of ours")]
    kafka.send(TOPIC_TOKEN, *(usage() for _ in range(10)))
    with running(kafka, store) as processor:
        until(lambda: len(store.collections.get("token_usage", {})) == 10, "stored after all")
        assert processor.value("gpu_token_consumer_restarts_total") == 1


def stopping_with_the_store_away_is_in_time(kafka: MockKafka) -> None:
    store = FakeStore()
    store.failures_before = [StoreUnavailable("connection", "no server") for _ in range(1000)]
    kafka.send(TOPIC_TOKEN, usage())
    processor = Running(kafka, store, FakeSink())
    until(lambda: processor.state.write_failure is not None, "failing")
    started = time.monotonic()
    assert processor.supervisor.stop(14)
    assert time.monotonic() - started < 10
    assert committed(kafka) == 0


def two_processors_share_and_take_over(kafka: MockKafka) -> None:
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


def committed_high(kafka: MockKafka) -> int:
    """Events in the usage topic."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "counter"})
    total = sum(consumer.get_watermark_offsets(TopicPartition(TOPIC_TOKEN, number))[1] for number in range(4))
    consumer.close()
    return total


SCENARIOS: list[Callable[[MockKafka], None]] = [
    everything_is_stored_once_and_committed,
    nothing_is_committed_before_it_is_stored,
    poison_does_not_stop_what_follows,
    a_store_that_is_away_for_long_does_not_cost_the_membership,
    the_guard_stops_it_and_nothing_is_skipped,
    a_failure_nobody_thought_of_starts_it_anew,
    stopping_with_the_store_away_is_in_time,
    two_processors_share_and_take_over,
]


def in_a_cluster_of_its_own(scenario: Callable[[MockKafka], None]) -> None:
    with MockKafka() as kafka:
        kafka.make_topics(TOPIC_METRIC, TOPIC_TOKEN)
        scenario(kafka)


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[Callable[[MockKafka], None], Future[None]]]:
    """All at once: nearly all of their time is waiting for a group to settle."""
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        yield {scenario: pool.submit(in_a_cluster_of_its_own, scenario) for scenario in SCENARIOS}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_data_path(
    scenario: Callable[[MockKafka], None], outcomes: dict[Callable[[MockKafka], None], Future[None]]
) -> None:
    outcomes[scenario].result()
