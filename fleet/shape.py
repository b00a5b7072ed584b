"""The shape of fleet.yml: which keys there are, of which type, within which bounds.

What the keys mean together is in ``fleet.rules``.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated

import yaml
from gpu_token_contracts import dlq_topic
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

INSTANCE_MEMORY_MIB: dict[str, int] = {
    f"{family}.{size}": mib
    for family, sizes in yaml.safe_load(
        Path(__file__).with_name("instance_memory_mib.yml").read_text(encoding="utf-8")
    ).items()
    for size, mib in sizes.items()
}

Count = Annotated[int, Field(strict=True, ge=1)]
Rate = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
RoleName = Annotated[str, StringConstraints(pattern=r"^[a-z]+$")]
OutsideName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
PortName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
ImageReference = Annotated[
    str,
    StringConstraints(
        # a registry with or without a port, the repository, then a tag, a digest or both
        pattern=r"^([a-z0-9.-]+(:\d+)?/)?[a-z0-9][a-z0-9._/-]*(:\w[\w.-]*(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})$"
    ),
]


class Part(BaseModel):
    """A part of fleet.yml; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(Part):
    """The fleet's network on AWS; the lab takes the same subnet unless told otherwise."""

    vpc_cidr: IPv4Network
    subnet_cidr: IPv4Network


class Role(Part):
    """The machines of one role. Sizes are in MiB (memory) and GiB (disks)."""

    count: Count
    instance_type: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$")]
    given_memory_mib: Annotated[Count | None, Field(alias="memory_mib")] = None
    root_disk_gib: Annotated[int, Field(strict=True, ge=8)]
    data_disk_gib: Count | None = None
    ports: dict[PortName, Port] = {}
    addresses: tuple[IPv4Address, ...] | None = None
    """Fixed private addresses, one for each machine; without them they are assigned."""

    @property
    def memory_mib(self) -> int:
        """A machine's memory: what the instance type has, unless fleet.yml gives it."""
        return self.given_memory_mib or INSTANCE_MEMORY_MIB[self.instance_type]


class Flow(Part):
    """Who (``from``) may reach whom (``to``) on which TCP port."""

    source: Annotated[str, Field(alias="from")]
    target: Annotated[str, Field(alias="to")]
    port: Port


class Topic(Part):
    """A Kafka topic of events."""

    # Kafka takes 249 characters; the dead letters' topic has four more than this one.
    name: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]{1,245}$")]
    partitions: Count
    retention_hours: Count


class Topics(Part):
    """The topic of each kind of event."""

    gpu_metrics: Topic
    token_usage: Topic


class DeadLetters(Part):
    """The size of a topic of dead letters; its name follows from that of the events' topic."""

    partitions: Count
    retention_hours: Count


class Retention(Part):
    """How long MongoDB keeps events, and what each hour adds up to."""

    # As the processor's RAW_RETENTION_DAYS.
    raw_days: Annotated[int, Field(strict=True, ge=4, le=36_500)]
    rollup_years: Annotated[int, Field(strict=True, ge=1, le=100)]


class Load(Part):
    """How many events come a second, by topic, as the mean of a day."""

    gpu_metrics: Rate
    token_usage: Rate


class Images(Part):
    """The images that run on the machines, each with a tag, a digest or both."""

    kafka: ImageReference
    mongo: ImageReference
    python: ImageReference


class Fleet(Part):
    """The whole of fleet.yml."""

    project: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,29}$")]
    network: Network
    roles: Annotated[dict[RoleName, Role], Field(min_length=1)]
    outside: dict[OutsideName, tuple[IPv4Network, ...]] = {}
    """Networks that are not the fleet's, by the name that flows use. An empty one opens nothing."""
    flows: tuple[Flow, ...] = ()
    topics: Topics
    dead_letters: DeadLetters
    retention: Retention
    load_events_per_second: Load
    images: Images

    def connects(self, flow: Flow) -> bool:
        """Whether the flow opens anything: the only machine of a role has no other one to reach."""
        return flow.source != flow.target or self.roles[flow.source].count > 1

    def machines(self) -> dict[str, str]:
        """Every machine's name and its role, in the order of the file."""
        return {
            machine_name(name, number): name
            for name, role in self.roles.items()
            for number in range(1, role.count + 1)
        }

    def topic_names(self) -> list[str]:
        """Every topic's name: the events', then the dead letters'."""
        events = [self.topics.gpu_metrics.name, self.topics.token_usage.name]
        return events + [dlq_topic(name) for name in events]


def machine_name(role: str, number: int) -> str:
    """The name of the ``number``-th machine (from 1) of a role."""
    return f"{role}-{number}"
