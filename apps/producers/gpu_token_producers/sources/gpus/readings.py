"""What a source saw of its GPUs, as events that the contract accepts.

A reading proves that a GPU was there, so a value that cannot be right is left out and the reading is sent. A
card whose slices report is left out, since card and slices together would cost twice.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import msgspec
from gpu_token_contracts import GpuMetric, bounds, encode, to_us

from gpu_token_producers.ids import digest
from gpu_token_producers.sources.gpus.mig import profile_of_gpu_instance, share_of_card, slice_uuid
from gpu_token_producers.sources.labels import Labels

Measured = Literal[
    "utilization", "engine_active", "used_mib", "free_mib", "reserved_mib", "total_mib", "power_w"
]
# GPU or slice to the deployment that it serves.
Deployments = Mapping[str, str]

NO_DEPLOYMENTS: Deployments = {}

# Rounding, and a known bug of DCGM, give a little more than 1. Far more is no utilization at all: an old
# exporter writes huge integers where it has no value.
_MAX_OVERSHOOT = 2.0
_MAX_INDEX_DIGITS = len(str(bounds.MAX_GPU_INDEX))


class Metric(NamedTuple):
    """What a metric measures, and by what its values are divided to get the unit of that name."""

    measured: Measured
    divisor: float = 1.0


@dataclass(slots=True)
class Seen:
    """One GPU or slice: what names it, and what was measured, not checked yet.

    `uuid` is the card's; `gpu_instance_id` and `profile` are of a slice.
    """

    uuid: str | None
    host: str | None
    index: int | None
    gpu_instance_id: str | None = None
    profile: str | None = None
    name: str | None = None
    measured: dict[Measured, float] = field(default_factory=dict)

    def measure(self, what: Measured, value: float) -> None:
        """Keep the first value of a kind; sharers of a GPU report the same one each."""
        if math.isfinite(value):
            self.measured.setdefault(what, value)


class Sightings:
    """The GPUs and slices that one answer of a source speaks of."""

    def __init__(self) -> None:
        # By what names the card, and the GPU instance of a slice.
        self._seen: dict[tuple[tuple[object, ...], str | None], Seen] = {}

    def of(
        self, uuid: str | None, host: str | None, index: int | None, gpu_instance_id: str | None = None
    ) -> Seen | None:
        """The GPU or slice of that name, the same at each call; None if nothing names it."""
        uuid, host = _text(uuid), _text(host)
        gpu_instance_id = gpu_instance_id or None
        if uuid is None and index is None:
            return None
        card: tuple[object, ...] = (uuid,) if uuid is not None else (None, host, index)
        seen = self._seen.setdefault((card, gpu_instance_id), Seen(uuid, host, index, gpu_instance_id))
        seen.host = host if seen.host is None else seen.host
        seen.index = index if seen.index is None else seen.index
        return seen

    def readings(
        self, target: str, at: datetime, labels: Labels, deployments: Deployments = NO_DEPLOYMENTS
    ) -> list[GpuMetric]:
        """One reading of each slice, and of each card without slices."""
        sliced = set()
        for (card, gpu_instance_id), seen in self._seen.items():
            if gpu_instance_id is not None:
                sliced.add(card)
                whole = self._seen.get((card, None))
                if whole is not None:
                    seen.name = seen.name or whole.name
                    seen.index = whole.index if seen.index is None else seen.index
        return [
            reading(seen, target, at, labels, deployments)
            for (card, gpu_instance_id), seen in self._seen.items()
            if gpu_instance_id is not None or card not in sliced
        ]


def index_in(text: str | None) -> int | None:
    """The number of a GPU on its host; None if the text is none that the contract accepts."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > _MAX_INDEX_DIGITS:
        return None
    return int(text) if int(text) <= bounds.MAX_GPU_INDEX else None


def reading(
    seen: Seen, target: str, at: datetime, labels: Labels, deployments: Deployments = NO_DEPLOYMENTS
) -> GpuMetric:
    """The event. Its id follows from the target and from all that the event says.

    `at` needs a zone. `seen` must have a uuid or an index.
    """
    uuid = _identity(seen)
    values = seen.measured
    used, total = _memory(values)
    profile = _text(profile_of_gpu_instance(seen.profile)) if seen.profile else None
    name = _text(seen.name)
    event = GpuMetric(
        ts=at.astimezone(UTC),
        host=_text(seen.host),
        uuid=uuid,
        gpu_index=seen.index,
        name=name,
        gpu_instance=profile,
        deployment=_text(_deployment(seen, uuid, deployments) or labels.deployment),
        utilization=_utilization(seen),
        mem_used_mb=used,
        mem_total_mb=total,
        # Of a slice the sources report its whole card's, which as many slices would add up to many times.
        power_w=None
        if seen.gpu_instance_id is not None
        else _within(values.get("power_w"), bounds.MAX_POWER_W),
        price_per_hour_usd=_price(labels, seen, profile, name),
    )
    identity = uuid or (event.host, event.gpu_index)
    return msgspec.structs.replace(
        event, event_id=digest("reading", target, identity, to_us(event.ts), encode(event).decode())
    )


def _identity(seen: Seen) -> str | None:
    if seen.gpu_instance_id is None:
        return seen.uuid
    card = seen.uuid if seen.uuid is not None else f"{seen.host or ''}/{seen.index}"
    # One of more than 256 characters is no uuid; the digest keeps it apart from others all the same.
    return _text(slice_uuid(card, seen.gpu_instance_id)) or f"MIG-{digest(card, seen.gpu_instance_id)}"


def _deployment(seen: Seen, uuid: str | None, deployments: Deployments) -> str | None:
    """The slice's own, else its card's."""
    for name in (uuid, seen.uuid):
        if name is not None and name in deployments:
            return deployments[name]
    return None


def _price(labels: Labels, seen: Seen, profile: str | None, name: str | None) -> float | None:
    price = labels.price_per_hour_usd
    if price is None or seen.gpu_instance_id is None:
        return price
    return price * share_of_card(profile, name)


def _utilization(seen: Seen) -> float | None:
    # Of a slice an exporter leaves the utilization out, or reports 0 whatever runs there.
    kinds: tuple[Measured, ...] = ("utilization", "engine_active")
    for kind in kinds if seen.gpu_instance_id is None else kinds[1:]:
        value = _within(seen.measured.get(kind), _MAX_OVERSHOOT)
        if value is not None:
            return min(value, 1.0)
    return None


def _memory(values: Mapping[Measured, float]) -> tuple[float | None, float | None]:
    """Used and total, in MiB."""
    used = _within(values.get("used_mib"), bounds.MAX_MEMORY_MIB)
    total = _within(values.get("total_mib"), bounds.MAX_MEMORY_MIB)
    free = _within(values.get("free_mib"), bounds.MAX_MEMORY_MIB)
    if total is None and used is not None and free is not None:
        reserved = _within(values.get("reserved_mib"), bounds.MAX_MEMORY_MIB) or 0.0
        total = _within(used + free + reserved, bounds.MAX_MEMORY_MIB)
    if used is not None and total is not None and used > total:
        return None, total
    return used, total


def _within(value: float | None, most: float) -> float | None:
    return value if value is not None and 0 <= value <= most else None


def _text(text: str | None) -> str | None:
    return text if text is not None and 1 <= len(text) <= bounds.MAX_TEXT_LENGTH else None
