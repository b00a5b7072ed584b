"""The shapes of all answers. Names carry their units; times are UTC."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Extra members are a mistake here; callers must expect new ones in later versions."""

    model_config = ConfigDict(extra="forbid")


class Window(Answer):
    """The range of event time that an answer is about: start included, end not."""

    start: datetime | None = Field(description="null: from the first event")
    end: datetime | None = Field(description="null: to the last event")
    seconds: float | None
    chosen_by: Literal["request", "latest_event", "everything"] = Field(
        description="latest_event: the window ends with the latest stored event, whatever the clock says"
    )


class Tokens(Answer):
    """Tokens, and how many usage events reported them."""

    events: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ModelUsage(Tokens):
    """Tokens of one model."""

    model: str


class UsageAnswer(Answer):
    """Token totals by model."""

    window: Window
    reason: str | None = Field(description="why there is nothing, if so: no_events or empty_range")
    totals: Tokens = Field(description="of all models, whatever the page")
    items: list[ModelUsage]
    next_cursor: str | None = Field(description="pass it as `cursor` for the next page; null on the last")


class Cost(Answer):
    """null: not known, or no token to divide by; see `reason`."""

    cost_usd: float | None
    cost_per_token_usd: float | None
    cost_per_million_tokens_usd: float | None


class EnergyCost(Cost):
    """Energy that the GPUs reported, at one price; costs are null while PRICE_PER_KWH_USD is not set."""

    energy_kwh: float
    price_per_kwh_usd: float | None


class GpuShare(Answer):
    """One GPU over the window."""

    gpu_id: str
    host: str | None
    gpu_index: int | None
    name: str | None
    readings: int
    covered_seconds: float = Field(description="time that its readings cover")
    gap_seconds: float = Field(description="time between readings that none covers; it costs nothing")
    price_source: Literal["event", "inventory", "default"]
    total_tokens: int | None = Field(description="null: usage events do not tell this GPU from another")
    wall_clock: Cost
    utilization_weighted: Cost
    energy_kwh: float


class ModelCost(ModelUsage):
    """One model's part of the cost of the GPUs that served it, by tokens."""

    wall_clock: Cost
    utilization_weighted: Cost


class CostAnswer(Answer):
    """What tokens cost, in event time."""

    window: Window
    reason: str | None = Field(
        description="why a cost is null, if one is: no_events, no_tokens, no_gpu_metrics or empty_range"
    )
    tokens: Tokens
    gpu_seconds: float = Field(description="time that GPU metrics cover, summed over GPUs")
    gap_seconds: float = Field(description="time between metrics that none covers, summed over GPUs")
    wall_clock: Cost = Field(description="every second that a GPU reported, at its price")
    utilization_weighted: Cost = Field(description="every such second, at its price times its utilization")
    energy: EnergyCost
    idle_usd: float = Field(description="part of wall_clock that GPUs cost which served no token")
    gpus: list[GpuShare]
    models: list[ModelCost]


class ThroughputAnswer(Answer):
    """Rates over the window."""

    window: Window
    reason: str | None = Field(description="why there is nothing, if so: no_events or empty_range")
    tokens: Tokens
    events_per_second: float | None
    prompt_tokens_per_second: float | None
    completion_tokens_per_second: float | None
    total_tokens_per_second: float | None


class Source(BaseModel):
    """An event's position in Kafka."""

    topic: str | None = None
    partition: int | None = None
    offset: int | None = None


class GpuInfo(BaseModel):
    """The latest metric of one GPU; fields that a later producer adds come with it."""

    model_config = ConfigDict(extra="allow")

    gpu_id: str
    ts: datetime
    reporting: bool = Field(description="whether a metric came within METRIC_GAP_SECONDS of the latest event")
    host: str | None = None
    gpu_index: int | None = None
    name: str | None = None
    uuid: str | None = None
    utilization: float | None = Field(None, description="0 to 1")
    mem_used_mb: float | None = Field(None, description="MiB")
    mem_total_mb: float | None = Field(None, description="MiB")
    power_w: float | None = Field(None, description="watts")
    price_per_hour_usd: float | None = None
    source: Source | None = None


class GpuInfoAnswer(Answer):
    """The latest metric of each GPU."""

    latest: GpuInfo | None = Field(description="the newest of all that match, as one GPU's answer used to be")
    items: list[GpuInfo] = Field(description="by gpu_id")
    next_cursor: str | None = Field(description="pass it as `cursor` for the next page; null on the last")


class DeadLetters(Answer):
    """Refused events of one topic and reason."""

    topic: str
    dlq_topic: str
    reason: str
    events: int
    latest: datetime


class DeadLettersAnswer(Answer):
    """Refused events, each counted once."""

    total: int
    items: list[DeadLetters]


class ConsumerHealth(Answer):
    """The thread that reads from Kafka."""

    phase: Literal["starting", "running", "failed", "stopped"]
    seconds_since_poll: float | None
    assigned_partitions: int
    lag_events: int
    paused: bool = Field(description="the store is slow; partitions wait")


class HealthAnswer(Answer):
    """The processor's health; every reason is a sentence."""

    status: Literal["ok", "unhealthy"]
    reasons: list[str]


class FullHealthAnswer(HealthAnswer):
    """The same, with the state of each part."""

    version: str
    consumer: ConsumerHealth
    kafka: str | None = Field(description="null: it answers; else why not")
    mongodb: str | None = Field(description="null: it answers; else why not")
    dead_letter_guard: str | None = Field(description="null: not tripped; else why it was")


class ProblemError(Answer):
    """What is wrong with one parameter."""

    parameter: str
    message: str


class Problem(Answer):
    """RFC 9457 problem details."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[ProblemError] = []


def plain(value: Any) -> Any:
    """A stored value in JSON; types that JSON does not have become text."""
    if isinstance(value, dict):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, str | bool | int | datetime):
        return value
    if isinstance(value, float) and value == value and abs(value) != float("inf"):
        return value
    return str(value)
