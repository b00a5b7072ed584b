"""Turns an event into the document that is stored."""

from datetime import datetime
from typing import Any

from gpu_token_contracts import GpuMetric, TokenUsage, gpu_identity, position
from msgspec import to_builtins

Document = dict[str, Any]

# Field names that a stored document needs for itself.
RESERVED = frozenset({"_id", "source", "gpu_id", "extras"})

_BSON_TYPES = (datetime,)


def document(event: GpuMetric | TokenUsage, topic: str, partition: int, offset: int) -> Document:
    """The event's own fields, its id or else its position as `_id`, and where it came from as `source`.

    Runs once for each event: keep it short.
    """
    stored: Document = to_builtins(event, builtin_types=_BSON_TYPES)
    stored["_id"] = event.event_id or position(topic, partition, offset)
    stored["source"] = {"topic": topic, "partition": partition, "offset": offset}
    if event.extras:
        _keep_extras(stored, event.extras)
    # isinstance would take several times as long.
    if event.__class__ is GpuMetric:
        uuid = event.uuid
        # The identity of nearly every GPU, without a call.
        plain = uuid is not None and "%" not in uuid and "/" not in uuid
        stored["gpu_id"] = uuid if plain else gpu_identity(event)
    elif "tags" in stored:
        # In one order: to MongoDB, documents whose fields stand in another order are not equal.
        stored["tags"] = dict(sorted(stored["tags"].items()))
    return stored


def reading_order(metric: Document) -> tuple[datetime, str]:
    """What puts one GPU's readings in order: the time in the store's grain, milliseconds, then the id."""
    ts = metric["ts"]
    return ts.replace(microsecond=ts.microsecond // 1000 * 1000), metric.get("event_id", "")


def _keep_extras(stored: Document, extras: dict[str, Any]) -> None:
    """Adds unknown fields next to the known ones; those whose name is taken go under `extras`."""
    taken: Document = {}
    for name, value in extras.items():
        if name in RESERVED or name.startswith("$"):
            taken[name] = value
        else:
            stored[name] = value
    if taken:
        stored["extras"] = taken
