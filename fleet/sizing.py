"""What events take on the disks of Kafka and MongoDB. How each size was measured: docs/sizing.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fleet.shape import Fleet, Load, Role, Topic

GIB = 2**30
DAY_SECONDS = 86_400

KAFKA_EVENT_BYTES = {"gpu_metrics": 400, "token_usage": 600}
"""An event that is sent alone. Many at once are compressed together, and take a third."""
STORE_EVENT_BYTES = {"gpu_metrics": 700, "token_usage": 900}
"""An event and its entries in all indexes, uncompressed."""
ROLLUP_HOUR_BYTES = 20_000
"""A counted hour, of which a fleet of 100 GPUs takes 5,000, and its part of what is kept of the day."""

SYSTEM_GIB = 8
"""Of a root disk on which the data lies too: the system, Docker and its images."""
TOPICS_PERCENT = 70
"""Of Kafka's disk, for all topics. A partition may exceed its part by a segment, a tenth of it."""
FULL_PERCENT = 80
"""From here on a disk is called nearly full (plugins/filter/checks.py)."""

ROLLUP_YEAR_DAYS = 366
"""Roll-ups are kept for whole years of this length."""


def bytes_per_day(load: Load, event_bytes: Mapping[str, int]) -> float:
    """What the events of a day take."""
    per_second: float = sum(rate * event_bytes[name] for name, rate in load.model_dump().items())
    return DAY_SECONDS * per_second


def disk_gib(role: Role) -> int:
    """The disk that a machine's data lies on."""
    return role.data_disk_gib or role.root_disk_gib - SYSTEM_GIB


def partition_bytes(fleet: Fleet) -> int:
    """A partition's part of Kafka's disk, as the role kafka sets it: each broker may hold all partitions."""
    return disk_gib(fleet.roles["kafka"]) * GIB * TOPICS_PERCENT // 100 // partitions_of(fleet)


def partitions_of(fleet: Fleet) -> int:
    """Of all topics."""
    topics = [*topics_of(fleet).values()]
    return sum(topic.partitions for topic in topics) + len(topics) * fleet.dead_letters.partitions


def topics_of(fleet: Fleet) -> dict[str, Topic]:
    """The topics of events, by their keys in fleet.yml."""
    return {"gpu_metrics": fleet.topics.gpu_metrics, "token_usage": fleet.topics.token_usage}


def store_gib(load: Load, raw_days: int, rollup_years: int) -> float:
    """What MongoDB holds once events and roll-ups are as old as they may get."""
    # An event may be deleted up to a day late, and what is deleted is not given back at once.
    events = bytes_per_day(load, STORE_EVENT_BYTES) * (raw_days + 1)
    return (events + ROLLUP_HOUR_BYTES * 24 * ROLLUP_YEAR_DAYS * rollup_years) / GIB


def kafka_gib(load: Load, hours: int) -> float:
    """What each broker holds of events that are kept for so long."""
    return bytes_per_day(load, KAFKA_EVENT_BYTES) * hours / 24 / GIB


def topics_gib(fleet: Fleet) -> float:
    """What each broker holds of this fleet's events."""
    return sum(_topic_bytes(fleet, name) for name in topics_of(fleet)) / GIB


def _topic_bytes(fleet: Fleet, name: str) -> float:
    """What a topic's events take for as long as it keeps them."""
    rate = getattr(fleet.load_events_per_second, name)
    return float(rate * KAFKA_EVENT_BYTES[name] * topics_of(fleet)[name].retention_hours * 3_600)


def breaches(fleet: Fleet) -> Iterator[str]:
    """One sentence for each disk that cannot hold what fleet.yml asks for."""
    for name, too_small in (("kafka", _topics_too_small), ("mongo", _store_too_small)):
        role = fleet.roles.get(name)
        if role is None:
            continue
        if disk_gib(role) <= 0:
            yield (
                f"roles.{name} has no data_disk_gib, and the system takes all {role.root_disk_gib} GiB of "
                f"its root disk: give it a data_disk_gib, or a root_disk_gib above {SYSTEM_GIB}."
            )
            continue
        yield from too_small(fleet)


def _topics_too_small(fleet: Fleet) -> Iterator[str]:
    disk, each = disk_gib(fleet.roles["kafka"]), partition_bytes(fleet)
    for name, topic in topics_of(fleet).items():
        rate = getattr(fleet.load_events_per_second, name)
        needs = _topic_bytes(fleet, name)
        has = each * topic.partitions
        if needs > has:
            hours = int(topic.retention_hours * has / needs)
            fewer_hours = f"set topics.{name}.retention_hours to {hours} or less, " if hours else ""
            yield (
                f"topics.{name}: at {rate:g} a second, {topic.retention_hours} hours of events take "
                f"{needs / GIB:.2f} GiB, and its {topic.partitions} of {partitions_of(fleet)} partitions may "
                f"take {has / GIB:.2f} GiB of kafka's {disk} ({TOPICS_PERCENT} % are for all topics): give "
                f"roles.kafka a data_disk_gib of {_enough(disk * needs / has)}, {fewer_hours}"
                f"give other topics fewer partitions, or lower load_events_per_second.{name}."
            )


def _store_too_small(fleet: Fleet) -> Iterator[str]:
    load, kept = fleet.load_events_per_second, fleet.retention
    disk = disk_gib(fleet.roles["mongo"])
    needs, has = store_gib(load, kept.raw_days, kept.rollup_years), disk * FULL_PERCENT / 100
    if needs > has:
        yield (
            f"retention: at {load.gpu_metrics:g} a second of gpu_metrics and {load.token_usage:g} of "
            f"token_usage, {kept.raw_days} days of events and {kept.rollup_years} years of roll-ups take "
            f"{needs:.1f} GiB, and {FULL_PERCENT} % of mongo's {disk} GiB are {has:.1f}: give roles.mongo a "
            f"data_disk_gib of {_enough(needs * 100 / FULL_PERCENT)}, or lower retention.raw_days, "
            "retention.rollup_years or load_events_per_second."
        )


def _enough(gib: float) -> int:
    """In whole GiB."""
    return int(gib) + 1
