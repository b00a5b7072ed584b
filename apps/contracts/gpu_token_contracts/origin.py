"""An event's first position: a resent dead letter has a new position but the same identity."""

from collections.abc import Iterable
from typing import NamedTuple

from gpu_token_contracts.topics import DlqHeader

# What Kafka and BSON can hold.
_MAX_DIGITS = 18


class Origin(NamedTuple):
    """A position in Kafka."""

    topic: str
    partition: int
    offset: int


def own_headers(headers: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    """A record's headers without those of its dead letter."""
    return [(name, value) for name, value in headers if not name.startswith("dlq.")]


def origin_headers(origin: Origin) -> list[tuple[str, bytes]]:
    """Headers of a dead letter, kept when it is resent: they identify an event that has no id."""
    return [
        (DlqHeader.SOURCE_TOPIC.value, origin.topic.encode()),
        (DlqHeader.SOURCE_PARTITION.value, b"%d" % origin.partition),
        (DlqHeader.SOURCE_OFFSET.value, b"%d" % origin.offset),
    ]


def origin_in(headers: Iterable[tuple[str, bytes | None]]) -> Origin | None:
    """The position that the headers name; None if they name none, or only a part of it."""
    named = dict(headers)
    topic = named.get(DlqHeader.SOURCE_TOPIC)
    partition = _number(named.get(DlqHeader.SOURCE_PARTITION))
    offset = _number(named.get(DlqHeader.SOURCE_OFFSET))
    if not topic or partition is None or offset is None:
        return None
    return Origin(topic.decode(errors="replace"), partition, offset)


def resent_from(topic: str, headers: Iterable[tuple[str, bytes | None]]) -> Origin | None:
    """The position of an event of `topic` before it was resent; None for one that was not resent.

    Headers that name another topic are not ours: an event is resent to where it came from.
    """
    origin = origin_in(headers)
    return origin if origin is not None and origin.topic == topic else None


def _number(text: bytes | None) -> int | None:
    return int(text) if text and text.isdigit() and len(text) <= _MAX_DIGITS else None
