"""How the poller handles errors. A fake client raises them, since no broker does so on request."""

import itertools
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from gpu_token_processor.metrics import Metrics
from gpu_token_processor.pipeline import poller as poller_module
from gpu_token_processor.pipeline.decoding import Decoder
from gpu_token_processor.pipeline.guard import DeadLetterGuard
from gpu_token_processor.pipeline.poller import Poller
from gpu_token_processor.pipeline.state import ConsumerState
from gpu_token_processor.pipeline.writer import Writer
from processor_fakes import TOPIC_TOKEN, TOPICS, FakeSink, FakeStore, record, usage

GAP = timedelta(seconds=30)
PARTITION = TopicPartition(TOPIC_TOKEN, 0)


class Client:
    """Has one partition, and returns what a test has prepared."""

    def __init__(self) -> None:
        self.ready: list[list[Message]] = []
        # What is done at each consume with nothing to give.
        self.idle: Callable[[], None] = lambda: None
        self.commits: list[int] = []

    def configured(self, config: dict[str, Any]) -> Self:
        """Return this fake instead of a new consumer."""
        self._on_commit = config["on_commit"]
        return self

    def subscribe(self, topics: list[str], on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        on_assign(self, [PARTITION])

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return []

    def incremental_assign(self, partitions: list[TopicPartition]) -> None: ...

    def resume(self, partitions: list[TopicPartition]) -> None: ...

    def get_watermark_offsets(self, partition: TopicPartition, cached: bool) -> tuple[int, int]:
        return 0, -1

    def consume(self, count: int, timeout: float) -> list[Message]:
        if self.ready:
            return self.ready.pop(0)
        time.sleep(0.002)
        self.idle()
        return []

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        self.commits.append(offsets[0].offset)

    def answer(self, error: KafkaError | None) -> None:
        """What Kafka says of the last commit."""
        self._on_commit(error, [TopicPartition(TOPIC_TOKEN, 0, self.commits[-1])])

    def close(self) -> None: ...


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """The one that the next poller makes."""
    made = Client()
    monkeypatch.setattr(poller_module, "_COMMIT_INTERVAL_SECONDS", 0)
    monkeypatch.setattr(poller_module, "Consumer", made.configured)
    return made


def run(stop: threading.Event, store: FakeStore | None = None, storing_stop_seconds: float = 5) -> None:
    """A poller and its writer, until it is stopped."""
    metrics = Metrics()
    writer = Writer(store or FakeStore(), FakeSink(), DeadLetterGuard(TOPICS, 100, 1, 100), metrics, GAP)
    decoder = Decoder(TOPICS, max_age=timedelta(days=3_650), max_ahead=timedelta(days=3_650))
    writer.start()
    poller = Poller(
        {}, tuple(TOPICS), decoder, writer, ConsumerState(), metrics, 50, 0.01, storing_stop_seconds
    )
    poller.run(stop)


def test_an_error_for_good_ends_this_consumer(client: Client) -> None:
    """As when a static member is fenced; who supervises it makes another."""
    fenced = KafkaError(
        KafkaError._FATAL, "Static consumer fenced by other consumer with same group.instance.id"
    )
    client.ready = [[Message(error=fenced)]]
    with pytest.raises(KafkaException, match="fenced"):
        run(threading.Event())


def test_an_error_that_passes_does_not(client: Client) -> None:
    stop = threading.Event()
    client.idle = stop.set
    client.ready = [[Message(error=KafkaError(KafkaError._TRANSPORT, "it hung up"))]]
    run(stop)
    assert stop.is_set()


def test_commits_do_not_pile_up_while_kafka_is_silent(client: Client) -> None:
    stop = threading.Event()
    turns = itertools.count()

    def idle() -> None:
        turn = next(turns)
        if turn == 50:
            assert client.commits == [1]
            client.answer(KafkaError(KafkaError._WAIT_COORD))
        elif turn == 100:
            assert client.commits == [1, 1]
            client.answer(None)
        elif turn == 150:
            stop.set()

    client.idle = idle
    client.ready = [[record(usage(), offset=0)]]
    run(stop)
    assert client.commits == [1, 1]


def test_what_came_while_kafka_was_silent_is_committed_with_the_next(client: Client) -> None:
    stop = threading.Event()
    turns = itertools.count()

    def idle() -> None:
        turn = next(turns)
        if turn == 50:
            client.ready = [[record(usage(), offset=1)]]
        elif turn == 100:
            assert client.commits == [1]
            client.answer(None)
        elif turn == 150:
            stop.set()

    client.idle = idle
    client.ready = [[record(usage(), offset=0)]]
    run(stop)
    assert client.commits == [1, 2]


@pytest.mark.parametrize("seconds", [0.3, 1.5])
def test_a_stop_waits_for_the_store_as_long_as_it_may(client: Client, seconds: float) -> None:
    stop = threading.Event()
    store = FakeStore()
    store.gate.clear()
    client.idle = stop.set
    client.ready = [[record(usage(), offset=0)]]
    started = time.monotonic()
    run(stop, store, storing_stop_seconds=seconds)
    assert seconds <= time.monotonic() - started < seconds + 1
    store.gate.set()


def test_a_stop_waits_no_longer_than_the_store_takes(client: Client) -> None:
    stop = threading.Event()
    store = FakeStore()
    store.gate.clear()

    def idle() -> None:
        stop.set()
        store.gate.set()

    client.idle = idle
    client.ready = [[record(usage(), offset=0)]]
    started = time.monotonic()
    run(stop, store, storing_stop_seconds=60)
    assert time.monotonic() - started < 10
    assert store.collections["token_usage"]
