"""How each source is doing: on standard error once for each change, in status.json, and as metrics."""

import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from gpu_token_contracts import format_ts
from prometheus_client import CollectorRegistry, Counter, Gauge

from gpu_token_producers.files import write_atomically
from gpu_token_producers.sources.fetch import SourceError

_PROGRESS_SECONDS = 30.0


class Metrics:
    """What /metrics tells of the sources."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        by_source = ("source", "type")
        self.up = Gauge(
            "gpu_token_source_up",
            "1 if the source answered when it was last asked",
            by_source,
            registry=self.registry,
        )
        self.last_success = Gauge(
            "gpu_token_source_last_success_timestamp_seconds",
            "When the source last answered",
            by_source,
            registry=self.registry,
        )
        self.events = Counter(
            "gpu_token_source_events",
            "Events made of what the source told",
            by_source,
            registry=self.registry,
        )
        self.failures = Counter(
            "gpu_token_source_failures",
            "Times that the source gave nothing, by kind",
            (*by_source, "kind"),
            registry=self.registry,
        )
        self.resets = Counter(
            "gpu_token_source_counter_resets",
            "Times that the source's counters were found to have begun anew",
            by_source,
            registry=self.registry,
        )


class SourceReport(msgspec.Struct, frozen=True):
    """One source in status.json. `since` is when it came into its state, `events` counts from our start."""

    name: str
    type: str
    state: Literal["waiting", "ok", "failing"]
    since: datetime
    reason: str | None
    events: int


class Status:
    """One source's state. Only a change is said, not each time that it is still so."""

    def __init__(self, name: str, source_type: str, metrics: Metrics) -> None:
        self.name = name
        self.type = source_type
        self._metrics = metrics
        self._lock = threading.Lock()
        self._state: Literal["waiting", "ok", "failing"] = "waiting"
        self._since = datetime.now(UTC)
        self._since_clock = time.monotonic()
        self._said: set[str] = set()
        self._reason: str | None = None
        self._events = 0
        self._remarks: frozenset[str] = frozenset()
        self._refused: str | None = None
        self._progress_due = 0.0
        metrics.up.labels(name, source_type).set(0)

    def works(self, events: int, resets: int = 0) -> None:
        """The source answered, and these events came of it."""
        labels = (self.name, self.type)
        with self._lock:
            if self._state == "failing":
                self._say(f"answers again, after {time.monotonic() - self._since_clock:.0f} seconds.")
            self._said.clear()
            self._change("ok", None)
            self._events += events
        self._metrics.up.labels(*labels).set(1)
        self._metrics.last_success.labels(*labels).set_to_current_time()
        self._metrics.events.labels(*labels).inc(events)
        self._metrics.resets.labels(*labels).inc(resets)

    def fails(self, error: SourceError) -> None:
        """The source gave nothing."""
        with self._lock:
            if error.kind not in self._said:
                self._said.add(error.kind)
                self._say(f"{error}. It is asked again.")
            self._change("failing", str(error))
        self._metrics.up.labels(self.name, self.type).set(0)
        self._metrics.failures.labels(self.name, self.type, error.kind).inc()

    def remark(self, remarks: frozenset[str]) -> None:
        """Say what holds now and did not hold at the last look."""
        for text in sorted(remarks - self._remarks):
            self._say(text + ".")
        self._remarks = remarks

    def tell(self, text: str) -> None:
        """Say what has happened once."""
        self._say(text + ".")

    def refused(self, reason: str | None) -> None:
        """Say once that Kafka does not take the source's events; None ends it."""
        if reason is not None and self._refused is None:
            self._say(f"Kafka refuses its events ({reason}). They are kept, and sent again.")
        self._refused = reason

    def progress(self, text: str) -> None:
        """Say how far a long work has come, at most every 30 seconds."""
        if time.monotonic() >= self._progress_due:
            self._progress_due = time.monotonic() + _PROGRESS_SECONDS
            self._say(text + ".")

    def report(self) -> SourceReport:
        """For status.json."""
        with self._lock:
            return SourceReport(self.name, self.type, self._state, self._since, self._reason, self._events)

    def _change(self, state: Literal["ok", "failing"], reason: str | None) -> None:
        if state != self._state:
            self._state, self._since, self._since_clock = state, datetime.now(UTC), time.monotonic()
        self._reason = reason

    def _say(self, text: str) -> None:
        print(
            f"{format_ts(datetime.now(UTC))[:19]}Z {self.name} ({self.type}): {text}",
            file=sys.stderr,
            flush=True,
        )


def write_status(path: Path, statuses: list[Status]) -> None:
    """Write status.json. Raises OSError."""
    content = msgspec.json.encode({"sources": [status.report() for status in statuses]})
    write_atomically(path, msgspec.json.format(content, indent=2) + b"\n")
