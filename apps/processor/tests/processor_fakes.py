"""A store in memory that encodes for real and fails on demand, and records as Kafka gives them."""

import json
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import bson
from bson.codec_options import CodecOptions
from confluent_kafka import Message
from gpu_token_processor.documents import Document
from gpu_token_processor.pipeline.batch import Record, Refusal
from gpu_token_processor.store.contract import DocumentsRefused, InsertOutcome, RefusedDocument

TOPIC_METRIC = "gpu.metrics.v1"
TOPIC_TOKEN = "token.usage.v1"
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
OPTIONS: CodecOptions[Document] = CodecOptions(tz_aware=True, document_class=dict)


def usage(**changes: Any) -> dict[str, Any]:
    """A token usage event as it goes over the wire; a change to None leaves the field out."""
    event = {
        "ts": "2026-01-01T12:00:00Z",
        "host": "gpu-a",
        "model": "llama-3-70b",
        "prompt_tokens": 1000,
        "completion_tokens": 440,
        "latency_ms": 300,
        "gpu_index": 0,
    } | changes
    return {name: value for name, value in event.items() if value is not None}


def metric(**changes: Any) -> dict[str, Any]:
    """A GPU metric as it goes over the wire; a change to None leaves the field out."""
    event = {
        "ts": "2026-01-01T12:00:00Z",
        "host": "gpu-a",
        "gpu_index": 0,
        "name": "RTX 3090",
        "utilization": 0.5,
        "mem_used_mb": 12_288,
        "mem_total_mb": 24_576,
        "power_w": 280,
        "price_per_hour_usd": 0.85,
    } | changes
    return {name: value for name, value in event.items() if value is not None}


def record(
    event: dict[str, Any] | bytes | None,
    offset: int = 0,
    topic: str = TOPIC_TOKEN,
    partition: int = 0,
    headers: Sequence[tuple[str, bytes]] = (),
) -> Record:
    """A record as the consumer returns it."""
    value = event if isinstance(event, bytes) or event is None else json.dumps(event).encode()
    return Message(
        topic=topic,
        partition=partition,
        offset=offset,
        key=b"key",
        value=value,
        headers=list(headers),
        timestamp=(1, 1_767_268_800_000 + offset),
    )


class FakeStore:
    """An EventStore in memory."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, Document]] = {}
        self.latest: dict[str, Document] = {}
        # Raised by the next calls, one each, before or after the call has had its effect.
        self.failures_before: list[Exception] = []
        self.failures_after: list[Exception] = []
        self.refuse: Callable[[Document], str | None] = lambda _: None
        self.refuse_whole_write: Callable[[Document], bool] = lambda _: False
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()

    def insert(self, collection: str, documents: Sequence[Document]) -> InsertOutcome:
        """See EventStore."""
        self._before()
        if any(self.refuse_whole_write(document) for document in documents):
            raise DocumentsRefused("one of these is nested too deep")
        kept = self.collections.setdefault(collection, {})
        outcome = InsertOutcome()
        for at, document in enumerate(documents):
            if message := self.refuse(document):
                outcome.refused.append(RefusedDocument(at, message))
            elif document["_id"] in kept:
                outcome.duplicates.append(at)
            else:
                kept[document["_id"]] = bson.decode(bson.encode(document), codec_options=OPTIONS)
                outcome.stored += 1
        self._after()
        return outcome

    def find(self, collection: str, ids: Sequence[str]) -> dict[str, Document]:
        """See EventStore."""
        self._before()
        kept = self.collections.get(collection, {})
        return {key: kept[key] for key in ids if key in kept}

    def put_latest(self, metrics: Sequence[Document]) -> None:
        """See EventStore."""
        self._before()
        for document in metrics:
            known = self.latest.get(document["gpu_id"])
            if known is None or known["ts"] < document["ts"]:
                self.latest[document["gpu_id"]] = document

    def _before(self) -> None:
        self.gate.wait()
        self.calls += 1
        if self.failures_before:
            raise self.failures_before.pop(0)

    def _after(self) -> None:
        if self.failures_after:
            raise self.failures_after.pop(0)


class FakeSink:
    """A DeadLetterSink in memory."""

    def __init__(self) -> None:
        self.sent: list[Refusal] = []
        self.failures: list[Exception] = []

    def send(self, refusals: Sequence[Refusal]) -> None:
        """See DeadLetterSink."""
        if self.failures:
            raise self.failures.pop(0)
        self.sent += refusals
