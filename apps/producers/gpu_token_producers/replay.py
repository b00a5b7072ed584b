"""A trace as events: token usage of each request, GPU metrics between them, in event time.

The same trace always makes the same events: ids come from the trace's content and the row,
and what the trace does not hold is derived, not drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from gpu_token_contracts import GpuMetric, TokenUsage, to_us

from gpu_token_producers.gpus import GpuSeed
from gpu_token_producers.telemetry import gpu_metric
from gpu_token_producers.trace import BrokenRow, TraceRow, read_trace

# A longer silence in the trace becomes a gap in the readings too, so that one absurd row does not
# cause millions of readings.
_MAX_IDLE_TICKS = 10_000
_REPEAT_GAP = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """What to replay, and as whom."""

    trace: Path
    trace_id: str
    model: str
    host: str
    gpus: Sequence[GpuSeed]
    metrics_interval_seconds: float
    repeat: int = 1


def estimated_latency_ms(prompt_tokens: int, completion_tokens: int) -> int:
    """Latency in ms, which the trace does not have: 100 + prompt / 20 + 2 * completion.

    A stand-in of the right order, and the same at every replay; it is no measurement.
    """
    return 100 + prompt_tokens // 20 + 2 * completion_tokens


def replay_events(plan: ReplayPlan) -> Iterator[TokenUsage | GpuMetric | BrokenRow]:
    """The events of the plan in event time. Broken rows come once, in the first repetition."""
    shift = timedelta()
    for repetition in range(plan.repeat):
        prefix = plan.trace_id if repetition == 0 else f"{plan.trace_id}-{repetition}"
        first: datetime | None = None
        last: datetime | None = None
        telemetry = _Telemetry(plan, prefix)
        for row in read_trace(plan.trace):
            if isinstance(row, BrokenRow):
                if repetition == 0:
                    yield row
                continue
            gpu = plan.gpus[(row.row - 1) % len(plan.gpus)]
            usage = _usage(plan, gpu, prefix, row, row.ts + shift)
            first = min(first or row.ts, row.ts)
            last = max(last or row.ts, row.ts)
            yield from telemetry.until(usage.ts)
            telemetry.served(gpu, usage.latency_ms)
            yield usage
        yield from telemetry.closing()
        if first is not None and last is not None:
            shift += last - first + _REPEAT_GAP


def _usage(plan: ReplayPlan, gpu: GpuSeed, prefix: str, row: TraceRow, ts: datetime) -> TokenUsage:
    return TokenUsage(
        ts=ts,
        event_id=f"{prefix}:{row.row}",
        host=plan.host,
        model=plan.model,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        latency_ms=estimated_latency_ms(row.prompt_tokens, row.completion_tokens),
        gpu_index=gpu.gpu_index,
        gpu_uuid=gpu.uuid,
    )


class _Telemetry:
    """Readings of every GPU at each interval of event time, from the first request on."""

    def __init__(self, plan: ReplayPlan, prefix: str) -> None:
        self._plan = plan
        self._prefix = prefix
        self._interval = timedelta(seconds=plan.metrics_interval_seconds)
        self._next: datetime | None = None
        self._busy_ms = dict.fromkeys((gpu.uuid for gpu in plan.gpus), 0)

    def until(self, moment: datetime) -> Iterator[GpuMetric]:
        """The readings due up to and including a moment."""
        if self._next is None:
            self._next = moment
        if moment - self._next > self._interval * _MAX_IDLE_TICKS:
            self._next = moment
        while self._next <= moment:
            yield from self._readings(self._next)
            self._next += self._interval

    def closing(self) -> Iterator[GpuMetric]:
        """The reading that covers the last requests."""
        if self._next is not None:
            yield from self._readings(self._next)

    def served(self, gpu: GpuSeed, latency_ms: int) -> None:
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
