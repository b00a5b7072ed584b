"""The two events. Field names are the wire format of version 1."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

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
LatencyMs = Annotated[int, Meta(ge=0, le=bounds.MAX_LATENCY_MS)]


# `forbid_unknown_fields` makes the codec notice extras at no cost to events that have none;
# `dict` gives room for them without making them a field that the wire could name.
# No field may hold a container: the collector then never has to track an event.
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
    """gpu.metrics.v1: one reading of one GPU.

    `mem_used_mb` and `mem_total_mb` are MiB, as the wire has always had them.
    """

    gpu_index: GpuIndex
    utilization: Utilization
    mem_used_mb: MemoryMib
    mem_total_mb: MemoryMib
    power_w: PowerW
    price_per_hour_usd: PricePerHourUsd | None = None
    name: Text | None = None
    uuid: Text | None = None


class TokenUsage(Event, frozen=True, kw_only=True, omit_defaults=True):
    """token.usage.v1: the tokens of one request.

    `gpu_uuid` names the GPU where host and index do not: hosts have two GPUs of index 0.
    """

    model: Text
    prompt_tokens: Tokens
    completion_tokens: Tokens
    latency_ms: LatencyMs
    gpu_index: GpuIndex
    gpu_uuid: Text | None = None
