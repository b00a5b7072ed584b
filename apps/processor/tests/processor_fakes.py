"""A store in memory that encodes for real and fails on demand, and records as Kafka gives them."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
from bson.codec_options import CodecOptions
from confluent_kafka import Message
from gpu_token_contracts import GpuMetric, TokenUsage, dlq_topic, position, topic_registry
from gpu_token_processor.documents import Document, reading_order
from gpu_token_processor.ledger.catalog import Catalog
from gpu_token_processor.pipeline.batch import Record, Refusal
from gpu_token_processor.selection import Range, Selection
from gpu_token_processor.store.contract import DocumentsRefused, InsertOutcome, RefusedDocument
from gpu_token_processor.store.reads import DeadLetterCount, UsageRow

TOPIC_METRIC = "gpu.metrics.v1"
TOPIC_TOKEN = "token.usage.v1"
TOPICS = topic_registry(TOPIC_METRIC, TOPIC_TOKEN)
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
        self.marked: set[int] = set()
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

    def put(self, collection: str, documents: Sequence[Document]) -> None:
        """See EventStore."""
        self._before()
        kept = self.collections.setdefault(collection, {})
        for document in documents:
            kept[document["_id"]] = bson.decode(bson.encode(document), codec_options=OPTIONS)
        self._after()

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """See EventStore."""
        self._before()
        for key in ids:
            self.collections.get(collection, {}).pop(key, None)

    def put_latest(self, metrics: Sequence[Document]) -> None:
        """See EventStore."""
        self._before()
        for document in metrics:
            known = self.latest.get(document["gpu_id"])
            if known is None or reading_order(known) < reading_order(document):
                self.latest[document["gpu_id"]] = document

    def mark_hours(self, hours: Collection[int]) -> None:
        """See EventStore."""
        self._before()
        self.marked.update(hours)
        self._after()

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

    def sent_since(self, moment: datetime, topics: Collection[str]) -> set[str]:
        """See DeadLetterSink."""
        return {
            position(str(one.record.topic()), one.record.partition() or 0, one.record.offset() or 0)
            for one in self.sent
            if dlq_topic(str(one.record.topic())) in topics
        }


EMPTY = Catalog()


class FakeReads:
    """Reads over a FakeStore, in plain Python."""

    def __init__(self, store: FakeStore, catalog: Catalog = EMPTY) -> None:
        self._store = store
        self.declared = catalog

    def _all(self, collection: str) -> list[Document]:
        return list(self._store.collections.get(collection, {}).values())

    def latest_event_time(self, not_after: datetime) -> datetime | None:
        """See Reads."""
        times = [event["ts"] for event in self._all("gpu_metrics") + self._all("token_usage")]
        return max((ts for ts in times if ts <= not_after), default=None)

    def readings(self, during: Range) -> Iterator[GpuMetric]:
        """See Reads."""
        found = [event for event in self._all("gpu_metrics") if _selected(event, during, Selection())]
        for event in sorted(found, key=lambda event: event["ts"]):
            yield GpuMetric(**_fields(event, GpuMetric))

    def usage(self, during: Range) -> Iterator[TokenUsage]:
        """See Reads."""
        for event in sorted(self._all("token_usage"), key=lambda event: event["ts"]):
            begins = event["ts"] - timedelta(seconds=event.get("interval_seconds", 0))
            at_all = _selected(event, during, Selection())
            if at_all or (during.end and begins < during.end <= event["ts"]):
                yield TokenUsage(**_fields(event, TokenUsage))

    def usage_sums(self, during: Range, of: Selection) -> list[UsageRow]:
        """See Reads."""
        sums: dict[tuple[str, bool], list[int]] = {}
        for event in self._all("token_usage"):
            if _selected(event, during, of):
                counts = sums.setdefault((event["model"], event.get("measured_by") == "gateway"), [0, 0, 0])
                for at, count in enumerate((1, event["prompt_tokens"], event["completion_tokens"])):
                    counts[at] += count
        return [UsageRow(*key, *counts) for key, counts in sums.items()]

    def catalog(self) -> Catalog:
        """See Reads."""
        return self.declared

    def latest_readings(self, host: str | None, name: str | None) -> list[Document]:
        """See Reads."""
        return [
            {**document, "_id": gpu_id}
            for gpu_id, document in sorted(self._store.latest.items())
            if host in (None, document.get("host")) and name in (None, document.get("name"))
        ]

    def dead_letters_in(self, during: Range) -> dict[str, int]:
        """See Reads."""
        notes = [
            {"reason": note["reason"], "ts": datetime.fromtimestamp(note["record_ts_ms"] / 1000, UTC)}
            for note in self._all("dead_letters")
        ]
        return Counter(note["reason"] for note in notes if _selected(note, during, Selection()))

    def dead_letters(self) -> list[DeadLetterCount]:
        """See Reads."""
        notes: dict[tuple[str, str], list[datetime]] = {}
        for note in self._all("dead_letters"):
            notes.setdefault((note["topic"], note["reason"]), []).append(note["ts"])
        return sorted(DeadLetterCount(*key, len(times), max(times)) for key, times in notes.items())

    def state(self) -> Hashable:
        """See Reads."""
        return self._store.calls, self.declared.version

    def statistics(self) -> Document:
        """See Reads."""
        return {}

    def connect(self) -> None:
        self.ping()

    def ping(self) -> None:
        """See Reads."""


def _fields(event: Document, event_type: type[GpuMetric | TokenUsage]) -> Document:
    return {name: event[name] for name in event_type.__struct_fields__ if name in event}


def _selected(event: Document, during: Range, of: Selection) -> bool:
    wanted = {key: value for key, value in of._asdict().items() if value is not None}
    return (
        all(event.get(key) == value for key, value in wanted.items())
        and (during.start is None or event["ts"] >= during.start)
        and (during.end is None or event["ts"] < during.end)
    )
