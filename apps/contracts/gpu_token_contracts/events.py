"""The two events. Field names are the wire format of version 1.

A field is optional where its type allows None. On the wire null and absent are the same.
"""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from gpu_token_contracts import bounds

SCHEMA_VERSION = 1

Text = Annotated[str, Meta(min_length=1, max_length=bounds.MAX_TEXT_LENGTH)]
Timestamp = Annotated[datetime, Meta(tz=True)]
GpuIndex = Annotated[int, Meta(ge=0, le=bounds.MAX_GPU_INDEX)]
Utilization = Annotated[float, Meta(ge=0, le=1)]
MemoryMib = Annotated[float, Meta(ge=0, le=bounds.MAX_MEMORY_MIB)]
PowerW = Annotated[float, Meta(ge=0, le=bounds.MAX_POWER_W)]
PricePerHourUsd = Annotated[float, Meta(ge=0, le=bounds.MAX_PRICE_PER_HOUR_USD)]
Tokens = Annotated[int, Meta(ge=0, le=bounds.MAX_TOKENS)]
# An integer stays one when it is sent on.
LatencyMs = (
    Annotated[int, Meta(ge=0, le=bounds.MAX_LATENCY_MS)]
    | Annotated[float, Meta(ge=0, le=bounds.MAX_LATENCY_MS)]
)
PhaseSeconds = Annotated[float, Meta(ge=0, le=bounds.MAX_INTERVAL_SECONDS)]
IntervalSeconds = Annotated[float, Meta(gt=0, le=bounds.MAX_INTERVAL_SECONDS)]
GpuUuids = Annotated[tuple[Text, ...], Meta(min_length=1, max_length=bounds.MAX_GPUS)]
TagValue = Annotated[str, Meta(max_length=bounds.MAX_TEXT_LENGTH)]
Tags = Annotated[dict[Text, TagValue], Meta(max_length=bounds.MAX_TAGS)]
MeasuredBy = Literal["engine", "gateway"]


# `forbid_unknown_fields` makes the codec notice extras at no cost to events that have none;
# `dict` gives room for them without making them a field that the wire could name.
# The collector tracks an event only if one of its fields holds a container, as few do.
# New fields come last: the decoder is fastest where the wire has the order of the fields.
class Event(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, dict=True
):
    """What both events have in common."""

    ts: Timestamp
    event_id: Text | None = None
    host: Text | None = None
    schema_version: int | None = None

    # Fields that this version does not know, kept as they came; None when there are none. The codec puts
    # them into the instance's dictionary, which an event without any must not be made to have.
    extras: ClassVar[dict[str, Any] | None] = None


class GpuMetric(Event, frozen=True, kw_only=True, omit_defaults=True):
    """gpu.metrics.v1: one reading of one GPU, named by `uuid` or by `gpu_index`; the codec requires one.

    `mem_used_mb` and `mem_total_mb` are MiB, as the wire has always had them. `gpu_instance` is a MIG
    profile: the part of the card that the reading is of.
    """

    gpu_index: GpuIndex | None = None
    utilization: Utilization | None = None
    mem_used_mb: MemoryMib | None = None
    mem_total_mb: MemoryMib | None = None
    power_w: PowerW | None = None
    price_per_hour_usd: PricePerHourUsd | None = None
    name: Text | None = None
    uuid: Text | None = None
    deployment: Text | None = None
    gpu_instance: Text | None = None


class TokenUsage(Event, frozen=True, kw_only=True, omit_defaults=True):
    """token.usage.v1: the tokens of one request, or of `requests` requests in [ts - interval, ts).

    Cached tokens are among the prompt's, reasoning tokens among the completion's. `gpu_uuid` names the
    GPU where host and index do not: hosts have two GPUs of index 0. `measured_by` says whether the
    engine or a gateway before it counted, so that no token counts twice. `counter_resets` says how often
    the counters that were read had begun anew in the interval: what they counted before is unknown.
    """

    model: Text
    prompt_tokens: Tokens
    completion_tokens: Tokens
    latency_ms: LatencyMs | None = None
    gpu_index: GpuIndex | None = None
    gpu_uuid: Text | None = None
    gpu_uuids: GpuUuids | None = None
    deployment: Text | None = None
    endpoint: Text | None = None
    requests: Tokens | None = None
    interval_seconds: IntervalSeconds | None = None
    cached_prompt_tokens: Tokens | None = None
    reasoning_tokens: Tokens | None = None
    prefill_seconds: PhaseSeconds | None = None
    decode_seconds: PhaseSeconds | None = None
    tenant: Text | None = None
    team: Text | None = None
    user: Text | None = None
    api_key_hash: Text | None = None
    workload: Text | None = None
    tags: Tags | None = None
    measured_by: MeasuredBy | None = None
    counter_resets: Tokens | None = None
