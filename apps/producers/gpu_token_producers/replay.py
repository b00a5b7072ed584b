"""A trace as events: token usage of each request, GPU metrics between them, in event time.

The same plan always makes the same events, and no two plans make other events with the same ids: these
come from all that the events are made of. What the trace does not hold is derived, not drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from gpu_token_contracts import GpuMetric, TokenUsage, format_ts, to_us

from gpu_token_producers.errors import ProducerError
from gpu_token_producers.gpus import GpuSeed
from gpu_token_producers.ids import digest
from gpu_token_producers.teams import team_of
from gpu_token_producers.telemetry import gpu_metric
from gpu_token_producers.traces.order import TimeOrder
from gpu_token_producers.traces.rows import BrokenRow, TraceRow
from gpu_token_producers.traces.trace import Trace

# A longer silence in the trace becomes a gap in the readings too, so that one absurd row does not
# cause millions of readings.
_MAX_IDLE_TICKS = 10_000
_REPEAT_GAP = timedelta(seconds=1)
# By this tag an event names the conversation that its request belongs to.
SESSION_TAG = "session"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """What to replay, and as whom."""

    trace: Trace
    # None: each row's own, or the trace's name where rows have none.
    model: str | None
    host: str
    gpus: Sequence[GpuSeed]
    metrics_interval_seconds: float
    teams: Sequence[str] = ()
    repeat: int = 1
    # Events of earlier times are not stored. None: not known.
    kept_from: datetime | None = None

    @property
    def one_model(self) -> str | None:
        """The model of all events; None if each row has its own."""
        return self.model if self.model is not None or self.trace.format.has_models else self.trace.name

    @property
    def longest_idle(self) -> timedelta:
        """Time between two requests that readings still fill."""
        return timedelta(seconds=self.metrics_interval_seconds) * _MAX_IDLE_TICKS


def estimated_latency_ms(prompt_tokens: int, completion_tokens: int) -> int:
    """Latency in ms, for traces that do not have it: 100 + prompt / 20 + 2 * completion.

    A stand-in of the right order, and the same at every replay; it is no measurement.
    """
    return 100 + prompt_tokens // 20 + 2 * completion_tokens


class Silence(NamedTuple):
    """Two rows next to each other in time, too far apart for readings in between."""

    before: TraceRow
    after: TraceRow

    @property
    def seconds(self) -> float:
        """How long it lasts, in event time."""
        return (self.after.ts - self.before.ts).total_seconds()

    def __str__(self) -> str:
        before, after = self
        return (
            f"Between row {before.row} of the trace, of {format_ts(before.ts)}, and row {after.row}, of "
            f"{format_ts(after.ts)}, lie {self.seconds:.0f} seconds without a request"
        )


def replay_events(plan: ReplayPlan) -> Iterator[TokenUsage | GpuMetric | BrokenRow | Silence]:
    """The events of the plan in event time. Broken rows and silences come first, and once.

    Raises ProducerError for a trace that begins before `kept_from`.
    """
    order = TimeOrder(plan.trace)
    yield from order.find()
    _require_kept(order.rows(), plan.kept_from)
    yield from _silences(order.rows(), plan.longest_idle)
    served_by = [(gpu.gpu_index, gpu.uuid) for gpu in plan.gpus]
    one_model, trace = plan.one_model, plan.trace
    start = [] if trace.start is None else [{"start": to_us(trace.start)}]
    usage_id = digest(trace.id, plan.host, one_model, served_by, *plan.teams, *start)
    metric_id = digest(trace.id, plan.host, plan.gpus, plan.metrics_interval_seconds, *start)
    shift = timedelta()
    for repetition in range(plan.repeat):
        suffix = f"-{repetition}" if repetition else ""
        telemetry = _Telemetry(plan, f"{metric_id}{suffix}")
        first: datetime | None = None
        last: datetime | None = None
        for row in order.rows():
            ts = row.ts + shift
            if last is None:
                first = row.ts
            elif row.ts - last > plan.longest_idle:
                yield from telemetry.resume_at(ts)
            last = row.ts
            yield from telemetry.until(ts)
            gpu = plan.gpus[(row.row - 1) % len(plan.gpus)]
            latency_ms = row.latency_ms
            if latency_ms is None:
                latency_ms = estimated_latency_ms(row.prompt_tokens, row.completion_tokens)
            telemetry.served(gpu, latency_ms)
            yield TokenUsage(
                ts=ts,
                event_id=f"{usage_id}{suffix}:{row.row}",
                host=plan.host,
                model=one_model or row.model or trace.name,
                prompt_tokens=row.prompt_tokens,
                completion_tokens=row.completion_tokens,
                latency_ms=latency_ms,
                gpu_index=gpu.gpu_index,
                gpu_uuid=gpu.uuid,
                team=team_of(plan.teams, row.row, len(plan.gpus)),
                cached_prompt_tokens=row.cached_prompt_tokens,
                workload=row.workload,
                tags=None if row.session is None else {SESSION_TAG: row.session},
            )
        yield from telemetry.closing()
        if first is not None and last is not None:
            shift += last - first + _REPEAT_GAP


def _require_kept(rows: Iterator[TraceRow], kept_from: datetime | None) -> None:
    first = next(rows, None)
    if first is not None and kept_from is not None and first.ts < kept_from:
        raise ProducerError(
            f"The trace begins at {format_ts(first.ts)}, and the store keeps events only from "
            f"{format_ts(kept_from)} on: set retention.raw_days in fleet.yml higher, or replay a newer trace."
        )


def _silences(rows: Iterator[TraceRow], longest_idle: timedelta) -> Iterator[Silence]:
    for before, after in pairwise(rows):
        if after.ts - before.ts > longest_idle:
            yield Silence(before, after)


class _Telemetry:
    """Readings of every GPU at each interval of event time, from the first request on."""

    def __init__(self, plan: ReplayPlan, prefix: str) -> None:
        self._plan = plan
        self._prefix = prefix
        self._interval = timedelta(seconds=plan.metrics_interval_seconds)
        self._next: datetime | None = None
        self._busy_ms: dict[str, float] = dict.fromkeys((gpu.uuid for gpu in plan.gpus), 0)

    def until(self, moment: datetime) -> Iterator[GpuMetric]:
        """The readings due up to and including a moment."""
        if self._next is None:
            self._next = moment
        while self._next <= moment:
            yield from self._readings(self._next)
            self._next += self._interval

    def resume_at(self, moment: datetime) -> Iterator[GpuMetric]:
        """The reading that covers the requests before a silence; the next is due at a moment."""
        yield from self.closing()
        self._next = moment

    def closing(self) -> Iterator[GpuMetric]:
        """The reading that covers the last requests."""
        if self._next is not None:
            yield from self._readings(self._next)

    def served(self, gpu: GpuSeed, latency_ms: float) -> None:
        """Add a request's time to its GPU."""
        self._busy_ms[gpu.uuid] += latency_ms

    def _readings(self, ts: datetime) -> Iterator[GpuMetric]:
        interval_ms = self._plan.metrics_interval_seconds * 1000
        for gpu in self._plan.gpus:
            yield gpu_metric(
                gpu,
                host=self._plan.host,
                ts=ts,
                event_id=f"{self._prefix}:{gpu.uuid}:{to_us(ts)}",
                utilization=min(1.0, self._busy_ms[gpu.uuid] / interval_ms),
            )
            self._busy_ms[gpu.uuid] = 0
