"""Sends to Kafka without losing events, and counts the outcome of each."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from gpu_token_contracts.login import explain_kafka

from gpu_token_producers.counts import Observer, TopicCount, Totals
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.stop import StopRequest

# Waits are cut into slices, so that a signal is noticed and the heartbeat continues.
_SLICE_SECONDS = 0.2
_TICK_SECONDS = 0.5
_SENDS_BETWEEN_POLLS = 500
# Of one event, before compression: room for a dead letter of any size that a broker can hold.
_MAX_MESSAGE_BYTES = 16_777_216

Headers = list[tuple[str, bytes | None]]


def kafka_config(bootstrap: str, buffer_events: int) -> dict[str, str | int | float | bool]:
    """librdkafka settings: no event is given up while the process runs."""
    return {
        "bootstrap.servers": bootstrap,
        "client.id": "gpu-token-producers",
        "acks": "all",
        "enable.idempotence": True,
        # 0 means never: after any outage events are delivered, or counted as unflushed at the stop.
        "delivery.timeout.ms": 0,
        "queue.buffering.max.messages": buffer_events,
        "queue.buffering.max.kbytes": 65_536,
        "message.max.bytes": _MAX_MESSAGE_BYTES,
        "linger.ms": 20,
        "compression.type": "lz4",
        # Java's partitioner, so that both kinds of producers choose the same partition for a key.
        "partitioner": "murmur2_random",
        "reconnect.backoff.max.ms": 2_000,
        # Critical only: it would log each of many attempts to connect; Sender says it once.
        "log_level": 2,
    }


class Sender:
    """An idempotent producer with a bounded buffer.

    When the buffer is full `send` waits: nothing is dropped and nothing raised. An event counts
    as sent once the buffer has taken it, and as delivered once all in-sync replicas have it.
    """

    def __init__(
        self,
        bootstrap: str,
        stop: StopRequest,
        *,
        security: Mapping[str, str] = MappingProxyType({}),
        buffer_events: int = 100_000,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._bootstrap = bootstrap
        self._stop = stop
        self._observers = observers
        self._counts: dict[str, TopicCount] = {}
        self._reports: dict[str, Callable[[KafkaError | None, Message], None]] = {}
        self._since_poll = 0
        self._next_tick = 0.0
        self._ready = False
        self._all_down = False
        self._unreachable = False
        self._fatal: str | None = None
        self._last_error: str | None = None
        self._first_failure: str | None = None
        config = {**kafka_config(bootstrap, buffer_events), **security, "error_cb": self._on_error}
        self._producer = Producer(config)

    def wait_for_topics(self, topics: Iterable[str], wait_seconds: float) -> None:
        """Wait until Kafka answers and has the topics; raise ProducerError at the deadline."""
        deadline = time.monotonic() + wait_seconds
        wanted = set(topics)
        problem = "did not answer"
        remedy = "check KAFKA_BOOTSTRAP and that the broker runs"
        while not self._stop.requested:
            try:
                known = self._producer.list_topics(timeout=_SLICE_SECONDS * 5).topics
            except KafkaException:
                known = None
                self._serve(self._producer.poll, 0)
            if known is not None:
                missing = sorted(name for name in wanted if name not in known or known[name].error)
                if not missing:
                    self._ready = True
                    return
                problem = f"has no topic {', '.join(missing)}"
                remedy = "create it, or set TOPIC_METRIC and TOPIC_TOKEN to topics that exist"
            if time.monotonic() >= deadline:
                cause = f" ({self._last_error})" if self._last_error and known is None else ""
                raise ProducerError(
                    f"Kafka at {self._bootstrap} {problem} within {wait_seconds:g} seconds{cause}: {remedy}."
                )
            self.pause(_SLICE_SECONDS)

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> bool:
        """Put one event into the buffer; False if a stop was requested before there was room."""
        report = self._reports.get(topic) or self._register(topic)
        while True:
            if self._fatal:
                raise ProducerError(self.cause)
            try:
                self._producer.produce(topic, value, key, on_delivery=report, headers=headers)  # type: ignore[arg-type]
                break
            except BufferError:
                if self._stop.requested:
                    return False
                self._poll(_SLICE_SECONDS)
            except KafkaException as error:
                if error.args[0].code() != KafkaError._FATAL:
                    raise ProducerError(f"Kafka's client refuses an event for {topic}: {error}.") from error
                # poll() reports which error it is.
                self._poll(0)
                self._fatal = self._fatal or error.args[0].str()
        self._counts[topic].sent += 1
        self._since_poll += 1
        if self._since_poll >= _SENDS_BETWEEN_POLLS:
            self._poll(0)
        return True

    def offer(self, topic: str, key: bytes, value: bytes, on_delivery: Callable[[str | None], None]) -> bool:
        """Put one event into the buffer; False if there is no room. One thread at a time may do so.

        `on_delivery` gets the error, or None, in the thread that pauses. Raises KafkaException where Kafka's
        client refuses the event.
        """
        count = self._reports.get(topic) or self._register(topic)

        def report(error: KafkaError | None, message: Message) -> None:
            count(error, message)
            on_delivery(error.str() if error else None)

        # Before the report can come, so that there are never more reports than events.
        self._counts[topic].sent += 1
        try:
            self._producer.produce(topic, value, key, on_delivery=report)
        except BaseException as error:
            self._counts[topic].sent -= 1
            if isinstance(error, BufferError):
                return False
            raise
        return True

    def pause(self, seconds: float) -> None:
        """Wait and handle delivery reports, until the time is over or a stop is requested."""
        self.pause_until(time.monotonic() + seconds)

    def pause_until(self, moment: float) -> None:
        """`pause`, until a moment of time.monotonic()."""
        while not self._stop.requested:
            left = moment - time.monotonic()
            if left <= 0:
                return
            self._poll(min(left, _SLICE_SECONDS))

    def drain(self, finish_seconds: float, stop_seconds: float) -> int:
        """Wait until all events are reported, less long after a stop. Returns how many are left."""
        begun = time.monotonic()
        stopping_since = (self._stop.since or begun) if self._stop.requested else None
        while self._serve(self._producer.flush, _SLICE_SECONDS) > 0:
            self._tick()
            now = time.monotonic()
            if self._stop.requested and stopping_since is None:
                stopping_since = now
            if stopping_since is not None and now - stopping_since >= stop_seconds:
                break
            if now - begun >= finish_seconds or self._fatal:
                break
        self._notify()
        return self.totals().outstanding

    @property
    def fatal(self) -> bool:
        """Whether Kafka has refused this producer for good: only a new one can send."""
        return self._fatal is not None

    @property
    def cause(self) -> str:
        """Why events were not delivered, in one sentence; empty where no error was told."""
        if self._fatal:
            return f"Kafka refuses this producer for good: {self._fatal}."
        return f"First failure: {self._first_failure}." if self._first_failure else ""

    def count(self, topic: str) -> TopicCount:
        """The counts of one topic so far."""
        return self._counts.get(topic, TopicCount())

    def totals(self) -> Totals:
        """The counts over all topics so far."""
        # A copy: another thread may offer the first event of a topic.
        counts = list(self._counts.values())
        return Totals(
            sent=sum(count.sent for count in counts),
            delivered=sum(count.delivered for count in counts),
            failed=sum(count.failed for count in counts),
        )

    def _register(self, topic: str) -> Callable[[KafkaError | None, Message], None]:
        count = self._counts[topic] = TopicCount()

        def report(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                count.delivered += 1
                return
            count.failed += 1
            if self._first_failure is None:
                self._first_failure = f"{topic}: {error.str()}"

        self._reports[topic] = report
        return report

    def _poll(self, seconds: float) -> None:
        self._since_poll = 0
        self._serve(self._producer.poll, seconds)
        self._tick()

    def _serve(self, wait: Callable[[float], int], seconds: float) -> int:
        """Poll or flush; either raises an error for good, once, and does not give it to the callback."""
        try:
            return wait(seconds)
        except KafkaException as error:
            self._fatal = error.args[0].str()
            return len(self._producer)

    def _tick(self) -> None:
        now = time.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + _TICK_SECONDS
            self._notify()

    def _notify(self) -> None:
        totals = self.totals()
        if self._all_down and totals.outstanding == 0:
            self._all_down = self._unreachable = False
        # Silent before Kafka and its topics are there, so that no heartbeat claims otherwise.
        if self._ready:
            for observer in self._observers:
                observer(totals)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error.str()
            return
        # That all brokers are down and why come in either order.
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._all_down = True
        else:
            self._last_error = explain_kafka(error.name(), error.str())
        if self._ready and self._all_down and self._last_error and not self._unreachable:
            self._unreachable = True
            print(
                f"Kafka at {self._bootstrap} cannot be reached ({self._last_error}): "
                f"{self.totals().outstanding} events wait in the buffer.",
                file=sys.stderr,
                flush=True,
            )
