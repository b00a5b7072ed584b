"""Prometheus metrics. Counted for each batch, not for each event."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_DELAY_BUCKETS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
_BATCH_BUCKETS_EVENTS = (1, 10, 50, 100, 250, 500, 1_000, 2_000, 5_000, 10_000)
_HTTP_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5)

# What Kafka says of a partition: topic, partition, events not stored yet.
Lags = Iterable[tuple[str, int, int]]


class Metrics:
    """One registry for each processor, so that tests can have several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.consumed = Counter(
            "gpu_token_events_consumed", "Events read from Kafka.", ["topic"], registry=registry
        )
        self.stored = Counter(
            "gpu_token_events_stored", "Events acknowledged by MongoDB.", ["collection"], registry=registry
        )
        self.duplicates = Counter(
            "gpu_token_events_duplicate",
            "Events that were stored already.",
            ["collection"],
            registry=registry,
        )
        self.conflicting = Counter(
            "gpu_token_events_conflicting",
            "Events under an id that is stored with other content; they are dead-lettered.",
            ["collection"],
            registry=registry,
        )
        self.dead_lettered = Counter(
            "gpu_token_events_dead_lettered",
            "Events sent to the dead-letter topic.",
            ["topic", "reason"],
            registry=registry,
        )
        self.write_failures = Counter(
            "gpu_token_write_failures",
            "Writes that failed and were tried again.",
            ["kind"],
            registry=registry,
        )
        self.restarts = Counter(
            "gpu_token_consumer_restarts",
            "Times the consumer failed and was started again.",
            registry=registry,
        )
        self.batch_events = Histogram(
            "gpu_token_batch_events", "Events of one batch.", buckets=_BATCH_BUCKETS_EVENTS, registry=registry
        )
        self.write_seconds = Histogram(
            "gpu_token_batch_write_seconds", "Time to make one batch safe.", registry=registry
        )
        self.assigned_partitions = Gauge(
            "gpu_token_assigned_partitions", "Partitions that this processor reads.", registry=registry
        )
        self.http_requests = Histogram(
            "gpu_token_http_request_seconds",
            "Time to answer.",
            ["route", "status"],
            buckets=_HTTP_BUCKETS_SECONDS,
            registry=registry,
        )
        self.store_delay = BulkHistogram(
            "gpu_token_event_to_store_delay_seconds",
            "From the event's Kafka timestamp to MongoDB's acknowledgement.",
            _DELAY_BUCKETS_SECONDS,
        )
        registry.register(self.store_delay)

    def report_lag(self, lags: Callable[[], Lags]) -> None:
        """Call `lags` at each scrape."""
        self.registry.register(_LagCollector(lags))


class BulkHistogram(Collector):
    """A histogram that takes many observations at once."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = tuple(bounds)
        # Observations at or below each bound, cumulative as in Prometheus; the last one counts all.
        self._cumulated = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        self._lock = Lock()

    def observe_all(self, observations: list[float]) -> None:
        """Sorts `observations` in place."""
        observations.sort()
        with self._lock:
            for index, bound in enumerate(self._bounds):
                self._cumulated[index] += bisect_right(observations, bound)
            self._cumulated[-1] += len(observations)
            self._sum += sum(observations)

    def collect(self) -> Iterable[Metric]:
        """Called at each scrape."""
        with self._lock:
            labels = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
            buckets = [(label, float(count)) for label, count in zip(labels, self._cumulated, strict=True)]
            yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)


class _LagCollector(Collector):
    def __init__(self, lags: Callable[[], Lags]) -> None:
        self._lags = lags

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "gpu_token_consumer_lag_events",
            "Events in Kafka that are not stored yet.",
            labels=["topic", "partition"],
        )
        for topic, partition, events in self._lags():
            family.add_metric([topic, str(partition)], events)
        yield family
