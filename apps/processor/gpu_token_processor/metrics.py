"""Prometheus metrics. Counted for each batch, not for each event."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gpu_token_processor.disks import Disk

_DELAY_BUCKETS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
_BATCH_BUCKETS_EVENTS = (1, 10, 50, 100, 250, 500, 1_000, 2_000, 5_000, 10_000)
_HTTP_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5)
_HOUR_BUCKETS_SECONDS = (0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1_800)

# What Kafka says of a partition: topic, partition, events not stored yet.
Lags = Iterable[tuple[str, int, int]]


class BudgetReading(NamedTuple):
    """One budget in the running month."""

    budget: str
    limit_usd: float
    spent_usd: float
    spent_ratio: float
    # None: there is none yet.
    forecast_usd: float | None


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
        self.dirty_hours = Gauge(
            "gpu_token_rollup_dirty_hours",
            "Clock hours to be counted again, by all processors.",
            registry=registry,
        )
        self.oldest_dirty = Gauge(
            "gpu_token_rollup_oldest_dirty_seconds",
            "How long the oldest of them has been waiting.",
            registry=registry,
        )
        self.rollup_hours = Counter(
            "gpu_token_rollup_hours", "Clock hours that this processor has counted.", registry=registry
        )
        self.rollup_days = Counter(
            "gpu_token_rollup_days", "Days that this processor has shared.", registry=registry
        )
        self.rollup_seconds = Histogram(
            "gpu_token_rollup_hour_seconds",
            "Time to count one hour.",
            buckets=_HOUR_BUCKETS_SECONDS,
            registry=registry,
        )
        self.rollup_failures = Counter(
            "gpu_token_rollup_failures",
            "Attempts to count an hour that failed; each is made again.",
            registry=registry,
        )
        self.cost_usd = Counter(
            "gpu_token_cost_usd",
            "What models have cost in hours that ended since the start, in USD; idle time is not in it.",
            ["model"],
            registry=registry,
        )
        self.tokens = Counter(
            "gpu_token_tokens",
            "Tokens of hours that ended since the start.",
            ["model", "class"],
            registry=registry,
        )
        self.budget_alerts = Counter(
            "gpu_token_budget_alerts", "Crossed thresholds that the webhook has taken.", registry=registry
        )
        self.budget_alert_failures = Counter(
            "gpu_token_budget_alert_failures",
            "Attempts to tell the webhook that failed; each is made again.",
            registry=registry,
        )
        self.budget_look_failures = Counter(
            "gpu_token_budget_look_failures",
            "Looks at the budgets that failed; the next comes within a minute.",
            registry=registry,
        )
        self.store_delay = BulkHistogram(
            "gpu_token_event_to_store_delay_seconds",
            "From the event's Kafka timestamp to MongoDB's acknowledgement.",
            _DELAY_BUCKETS_SECONDS,
        )
        registry.register(self.store_delay)

    def report_disks(self, disks: Callable[[], Iterable[Disk]]) -> None:
        """Call `disks` at each scrape."""
        self.registry.register(_DiskCollector(disks))

    def report_lag(self, lags: Callable[[], Lags]) -> None:
        """Call `lags` at each scrape."""
        self.registry.register(_LagCollector(lags))

    def report_budgets(self, budgets: Callable[[], Iterable[BudgetReading]]) -> None:
        """Call `budgets` at each scrape."""
        self.registry.register(_BudgetCollector(budgets))


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


class _BudgetCollector(Collector):
    _FAMILIES = (
        ("limit_usd", "What the budget allows for the running month, in USD."),
        ("spent_usd", "What of it is spent, in USD."),
        ("spent_ratio", "The same as a part of the budget."),
        ("forecast_usd", "What will be spent at the end of the month, in USD."),
    )

    def __init__(self, budgets: Callable[[], Iterable[BudgetReading]]) -> None:
        self._budgets = budgets

    def collect(self) -> Iterable[Metric]:
        readings = list(self._budgets())
        for field, documentation in self._FAMILIES:
            family = GaugeMetricFamily(f"gpu_token_budget_{field}", documentation, labels=["budget"])
            for reading in readings:
                if (value := getattr(reading, field)) is not None:
                    family.add_metric([reading.budget], value)
            yield family


class _DiskCollector(Collector):
    def __init__(self, disks: Callable[[], Iterable[Disk]]) -> None:
        self._disks = disks

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "gpu_token_disk_used_ratio", "How full the disks of Kafka and MongoDB are.", labels=["disk"]
        )
        for disk in self._disks():
            family.add_metric([disk.name], disk.used_share)
        yield family
