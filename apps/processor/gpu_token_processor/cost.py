"""What GPUs cost while they reported, in event time. Formula and worked example: docs/cost-model.md.

A reading holds from its own time to the next reading of the same GPU, and for `gap_seconds`
at most; what lies beyond is a gap and costs nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

SECONDS_PER_HOUR = 3600.0
JOULES_PER_KWH = 3_600_000.0
TOKENS_PER_MILLION = 1_000_000

EVENT_PRICE = "event"
INVENTORY_PRICE = "inventory"
DEFAULT_PRICE = "default"


class Reading(NamedTuple):
    """What the cost of a GPU needs of one metric. Absent values are None."""

    gpu_id: str
    ts: datetime
    host: str | None
    gpu_index: int | None
    name: str | None
    utilization: float | None
    power_w: float | None
    price_per_hour_usd: float | None


class UsageRow(NamedTuple):
    """Tokens of one model on one GPU, over some range of event time."""

    model: str
    host: str | None
    gpu_index: int | None
    gpu_uuid: str | None
    events: int
    prompt_tokens: int
    completion_tokens: int

    @property
    def tokens(self) -> int:
        """Prompt and completion."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(slots=True)
class GpuCost:
    """One GPU over one range."""

    gpu_id: str
    host: str | None
    gpu_index: int | None
    name: str | None
    # Where the price of the latest reading came from.
    price_source: str = DEFAULT_PRICE
    readings: int = 0
    covered_seconds: float = 0.0
    gap_seconds: float = 0.0
    wall_clock_usd: float = 0.0
    utilization_weighted_usd: float = 0.0
    energy_kwh: float = 0.0


class Prices:
    """The price of a reading: its own, else the inventory's for its name, else the default."""

    def __init__(self, inventory_usd: dict[str, float], default_usd: float) -> None:
        self._inventory_usd = inventory_usd
        self._default_usd = default_usd

    def of(self, reading: Reading) -> tuple[float, str]:
        """USD for an hour, and where it comes from."""
        if reading.price_per_hour_usd is not None:
            return reading.price_per_hour_usd, EVENT_PRICE
        if reading.name is not None and reading.name in self._inventory_usd:
            return self._inventory_usd[reading.name], INVENTORY_PRICE
        return self._default_usd, DEFAULT_PRICE


def accrue(
    readings: Iterable[Reading], start: datetime, end: datetime, gap_seconds: float, prices: Prices
) -> list[GpuCost]:
    """Cost of each GPU in [start, end), by gpu_id.

    `readings` are in order of time and begin `gap_seconds` before `start`, since an earlier
    reading may still hold then.
    """
    costs: dict[str, GpuCost] = {}
    last: dict[str, Reading] = {}
    clip = _Clip(start, end)
    for reading in readings:
        before = last.get(reading.gpu_id)
        if before is not None:
            _add(costs, before, reading.ts, gap_seconds, clip, prices)
        last[reading.gpu_id] = reading
    for reading in last.values():
        _add(costs, reading, None, gap_seconds, clip, prices)
    return [costs[gpu_id] for gpu_id in sorted(costs)]


def _add(
    costs: dict[str, GpuCost],
    reading: Reading,
    next_ts: datetime | None,
    gap_seconds: float,
    clip: "_Clip",
    prices: Prices,
) -> None:
    begins = clip.seconds(reading.ts)
    ends = begins + gap_seconds
    next_begins = clip.seconds(next_ts) if next_ts is not None else None
    if next_begins is not None:
        ends = min(ends, next_begins)
    covered = clip.overlap(begins, ends)
    in_range = clip.contains(begins)
    if not covered and not in_range:
        return
    cost = costs.get(reading.gpu_id)
    if cost is None:
        cost = GpuCost(reading.gpu_id, reading.host, reading.gpu_index, reading.name)
        costs[reading.gpu_id] = cost
    price_usd, cost.price_source = prices.of(reading)
    usd = covered / SECONDS_PER_HOUR * price_usd
    cost.readings += in_range
    cost.covered_seconds += covered
    cost.wall_clock_usd += usd
    cost.utilization_weighted_usd += usd * (reading.utilization or 0.0)
    cost.energy_kwh += covered * (reading.power_w or 0.0) / JOULES_PER_KWH
    if next_begins is not None:
        cost.gap_seconds += clip.overlap(ends, next_begins)


class _Clip:
    """A range of event time as seconds after its start."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self._start = start
        self._length_seconds = (end - start).total_seconds()

    def seconds(self, ts: datetime) -> float:
        return (ts - self._start).total_seconds()

    def contains(self, seconds: float) -> bool:
        return 0 <= seconds < self._length_seconds

    def overlap(self, begins: float, ends: float) -> float:
        return max(0.0, min(ends, self._length_seconds) - max(begins, 0.0))


@dataclass(slots=True)
class Shares:
    """The GPUs' cost, divided among what they served."""

    model_usd: dict[str, float]
    # Of GPUs that served no token.
    idle_usd: float
    # Tokens that each GPU served. GPUs that usage events cannot tell apart are left out.
    gpu_tokens: dict[str, int]


def share(gpus: Sequence[GpuCost], usage: Sequence[UsageRow], cost_of: Callable[[GpuCost], float]) -> Shares:
    """Each GPU's cost goes to its models by their tokens.

    A usage event names its GPU by uuid, or by host and index; by the latter it can mean
    several GPUs, whose costs are then shared as one.
    """
    by_uuid = {row.gpu_uuid for row in usage} & {gpu.gpu_id for gpu in gpus}
    members: dict[object, list[GpuCost]] = defaultdict(list)
    for gpu in gpus:
        members[gpu.gpu_id if gpu.gpu_id in by_uuid else (gpu.host, gpu.gpu_index)].append(gpu)
    rows: dict[object, list[UsageRow]] = defaultdict(list)
    for row in usage:
        rows[row.gpu_uuid if row.gpu_uuid in by_uuid else (row.host, row.gpu_index)].append(row)

    shares = Shares(model_usd={}, idle_usd=0.0, gpu_tokens={})
    for key, served_by in members.items():
        served = rows.get(key, [])
        tokens = sum(row.tokens for row in served)
        usd = sum(cost_of(gpu) for gpu in served_by)
        if len(served_by) == 1:
            shares.gpu_tokens[served_by[0].gpu_id] = tokens
        if not tokens:
            shares.idle_usd += usd
            continue
        for row in served:
            shares.model_usd[row.model] = shares.model_usd.get(row.model, 0.0) + usd * row.tokens / tokens
    return shares


def per_token(usd: float | None, tokens: int) -> float | None:
    """USD for a token; None where there is no cost or no token to divide by."""
    return usd / tokens if usd is not None and tokens else None
