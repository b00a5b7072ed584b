"""The shapes of all answers. Names carry their units; times are UTC."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, WithJsonSchema


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


# Exact; the encoder writes it as a number with all its digits.
Exact = Annotated[Decimal, WithJsonSchema({"type": "number"})]


class ClassTokens(Answer):
    """Tokens by class. Reasoning is a part of completion; total is both prompt classes and completion."""

    uncached_prompt: int
    cached_prompt: int
    completion: int
    reasoning: int
    total: int
    requests: int
    unpriced: int = Field(description="part of total whose GPUs are not known or did not report: nobody pays")


class ClassCosts(Answer):
    """What each class of tokens cost."""

    uncached_prompt: Exact
    cached_prompt: Exact
    completion: Exact


class LedgerAmounts(Answer):
    """Tokens and what they cost."""

    start: datetime | None
    end: datetime | None
    tokens: ClassTokens
    cost_usd: Exact | None = Field(description="null: all tokens are unpriced")
    cost_usd_by_class: ClassCosts
    cost_per_million_tokens_usd: Exact | None = Field(description="of priced tokens; null without any")
    tokens_per_second: Exact | None = Field(description="null: the range is empty")


class LedgerRow(LedgerAmounts):
    """One group in one step."""

    key: dict[str, str | None] = Field(description="by dimension; null: the events do not say")


class IdleCost(Answer):
    """What nobody used."""

    fleet_usd: Exact = Field(description="GPUs of no deployment that served no token in an hour")
    loaded_usd: Exact = Field(description="deployments that served no token in an hour")
    unreported_usd: Exact = Field(description="leased time that no reading covers; 0 with basis=covered")


class LedgerStep(Answer):
    """One step, idle time included."""

    start: datetime
    end: datetime
    cost_usd: Exact
    idle: IdleCost


class LedgerCoverage(Answer):
    """What the answer rests on. Seconds are summed over GPUs; a slice counts as its part of a card."""

    leased_seconds: Exact = Field(description="covered_seconds + unreported_seconds")
    covered_seconds: Exact = Field(description="time that readings cover")
    gap_seconds: Exact = Field(description="time between readings that none covers")
    unreported_seconds: Exact = Field(description="leased time that no reading covers")
    without_utilization_seconds: Exact = Field(
        description="part of covered_seconds whose readings have no utilization; it weighs nothing"
    )
    without_power_seconds: Exact = Field(
        description="part of covered_seconds whose readings have no power; it has no energy"
    )
    default_price_share: Exact | None = Field(
        description="part of the time that costs, at the default price; null: no time costs"
    )
    engine_tokens: int = Field(description="as engines, or sources that do not say, measured them")
    gateway_tokens: int = Field(description="as gateways measured them; not added to the engines'")
    unattributed_tokens: int = Field(description="engine tokens that no gateway event says whose they are")
    unmatched_tokens: int = Field(description="gateway tokens of models that the engine does not have")
    unpriced_tokens: int
    dead_letters: int = Field(
        description="refused events that came to Kafka in the range (their own time may not be readable), "
        "conflicting ones among them"
    )
    conflicting_events: int = Field(description="known event ids that came again with other content")
    counter_resets: int = Field(
        description="how often counters of tokens were found to have begun anew, as the events say; "
        "what they had counted since the last look before is in no event"
    )
    catalog_version: str
    read_from: Literal["raw", "rollups", "both"] = Field(
        description="raw: every event was read; rollups: hours counted before were; both: some of each"
    )
    deleted_seconds: Exact = Field(
        description="part of the range that is not in the answer: its events are no longer kept, and it is "
        "no whole hour, or one that had not been counted"
    )
    approximate_hours: int = Field(
        description="hours whose events are no longer kept and that an earlier catalogue, or gap, has "
        "divided: a change of the catalogue within such an hour counts from the next on"
    )


class LedgerMethod(Answer):
    """How cost was divided."""

    basis: Literal["covered", "leased"]
    classes: list[Literal["phase_time", "weights"]] = Field(description="which were used, hour by hour")
    shared_by: Literal["hour"] = Field(description="cost is shared among users within each clock hour")


class LedgerAnswer(Answer):
    """Cost and tokens by group. Rows and idle add up to total, to the last digit."""

    rows: list[LedgerRow]
    total: LedgerAmounts
    idle: IdleCost
    steps: list[LedgerStep] | None = Field(description="null without step")
    coverage: LedgerCoverage
    method: LedgerMethod


class PerhapsLedgerAnswer(Answer):
    """The same, if group_by, step or basis was given, or a dimension was selected; else null."""

    rows: list[LedgerRow] | None = None
    total: LedgerAmounts | None = None
    idle: IdleCost | None = None
    steps: list[LedgerStep] | None = None
    coverage: LedgerCoverage | None = None
    method: LedgerMethod | None = None


class UsageAnswer(PerhapsLedgerAnswer):
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
    price_source: Literal["event", "inventory", "default"] = Field(
        description="of its latest reading; inventory: the catalogue"
    )
    total_tokens: int | None = Field(description="null: usage events do not tell this GPU from another")
    wall_clock: Cost
    utilization_weighted: Cost
    energy_kwh: float


class ModelCost(ModelUsage):
    """One model's part of the cost of the GPUs that served it, by tokens."""

    wall_clock: Cost
    utilization_weighted: Cost


class CostAnswer(LedgerAnswer):
    """What tokens cost, in event time. `gpus` and `models` share the cost of the whole range at once."""

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


class ThroughputAnswer(PerhapsLedgerAnswer):
    """Rates over the window."""

    window: Window
    reason: str | None = Field(description="why there is nothing, if so: no_events or empty_range")
    tokens: Tokens
    events_per_second: float | None
    prompt_tokens_per_second: float | None
    completion_tokens_per_second: float | None
    total_tokens_per_second: float | None


class ModelRates(Answer):
    """What a token of one model has cost; null: no token of the class was priced."""

    input_cost_per_token: Exact | None
    output_cost_per_token: Exact | None
    cache_read_input_token_cost: Exact | None


class RatesAnswer(RootModel[dict[str, ModelRates]]):
    """By model, in USD, under the names that LiteLLM has for prices."""


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
    price_per_hour_usd: float | None = Field(None, description="what an hour costs, wherever that is said")
    price_source: Literal["event", "inventory", "default"] | None = Field(
        None, description="inventory: the catalogue"
    )
    source: Source | None = None


class GpuInfoAnswer(Answer):
    """The latest metric of each GPU."""

    latest: GpuInfo | None = Field(description="the newest of all that match, as one GPU's answer used to be")
    items: list[GpuInfo] = Field(
        description="first those that report, by gpu_id, then the silent ones, the last seen first"
    )
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


class DiskHealth(Answer):
    """A disk of Kafka or MongoDB."""

    name: str
    used_bytes: int
    total_bytes: int
    used_share: float = Field(description="0 to 1; from 0.8 on there is a warning, from 0.95 on a reason")


class FullHealthAnswer(HealthAnswer):
    """The same, with the state of each part, and of the disks of Kafka and MongoDB."""

    version: str
    warnings: list[str] = Field(
        description="what will be a reason if nothing is done; every one is a sentence"
    )
    disks: list[DiskHealth] = Field(
        description="those whose size Kafka or MongoDB tells, asked once a minute"
    )
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
