"""A running intake for tests: HTTP over a socket, events in a mock broker."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
from gpu_token_contracts import TokenUsage, decode_token_usage
from gpu_token_producers.delivery import KafkaDelivery
from gpu_token_producers.intake.app import create_app
from gpu_token_producers.intake.limits import Limits
from gpu_token_producers.intake.metrics import IntakeMetrics
from gpu_token_producers.intake.server import Server
from gpu_token_producers.intake.source import IntakeSource
from gpu_token_producers.sender import Sender
from gpu_token_producers.sources.labels import Labels
from gpu_token_producers.stop import StopRequest
from producers_kafka import MockKafka
from prometheus_client import CollectorRegistry

TOKEN = "a-token-of-twenty-letters"
SOURCES = (
    IntakeSource("apps", "openai_usage"),
    IntakeSource("gateway", "litellm"),
    IntakeSource("traces", "otlp"),
)


@contextmanager
def delivering(bootstrap: str, topic: str, buffer: int) -> Iterator[KafkaDelivery]:
    """The product's own delivery, with the thread that serves it."""
    stop = StopRequest()
    sender = Sender(bootstrap, stop, buffer_events=buffer)

    def serve() -> None:
        while not stop.requested:
            sender.pause(0.1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield KafkaDelivery(sender, "no-metrics", topic)
    finally:
        stop.requested = True
        thread.join()
        sender.drain(5, 5)


@dataclass
class Running:
    """`read` returns the events by id: what a store would hold."""

    url: str
    client: httpx.Client
    metrics: IntakeMetrics
    kafka: MockKafka
    topic: str
    server: Server

    def post(self, path: str, content: Any, **options: Any) -> httpx.Response:
        body = content if isinstance(content, bytes) else msgspec.json.encode(content)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        headers.update(options.pop("headers", {}))
        return self.client.post(path, content=body, headers=headers, **options)

    def messages(self) -> list[TokenUsage]:
        return [decode_token_usage(message.value()) for message in self.kafka.read(self.topic)]

    def read(self) -> list[TokenUsage]:
        """Each event once. Events of one id have one content."""
        events: dict[str, TokenUsage] = {}
        for event in self.messages():
            assert event.event_id is not None
            assert events.setdefault(event.event_id, event) == event
        return list(events.values())

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"gpu_token_intake_{name}_total", labels) or 0


@contextmanager
def running(
    kafka: MockKafka,
    topic: str,
    sources: Sequence[IntakeSource] = SOURCES,
    limits: Limits | None = None,
    buffer: int = 100_000,
) -> Iterator[Running]:
    metrics = IntakeMetrics(CollectorRegistry())
    with delivering(kafka.address, topic, buffer) as delivery:
        app = create_app(sources, TOKEN, delivery, metrics, limits)
        server = Server(app, 0, host="127.0.0.1", limits=limits)
        server.start()
        url = f"http://127.0.0.1:{server.port}"
        try:
            with httpx.Client(base_url=url, timeout=30) as client:
                yield Running(url, client, metrics, kafka, topic, server)
        finally:
            server.stop()


def source(kind: Any, **labels: Any) -> list[IntakeSource]:
    """One source of a type, with labels."""
    return [IntakeSource("it", kind, Labels(**labels))]
