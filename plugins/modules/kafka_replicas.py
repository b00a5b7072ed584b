#!/usr/bin/python
"""Put copies of partitions on the brokers where they should be."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpu_token.pipeline.plugins.module_utils.kafka_placement import Partition, place
from ansible_collections.gpu_token.pipeline.plugins.module_utils.kafka_tools import (
    TOOL_ARGUMENTS,
    parse_fields,
    run,
)

DOCUMENTATION = """
module: kafka_replicas
short_description: Put copies of partitions on the brokers where they should be
description:
  - Every partition of every topic, Kafka's own included, gets the given number of copies, in different racks
    as far as there are so many. A broker that is not listed is left with none. A broker that holds none gets
    its share.
  - Nothing moves without one of these reasons, and what moves is limited to a number of bytes per second.
  - Starts one JVM if nothing has to move. The limit is taken away when all has arrived.
  - Returns after O(wait_seconds) though copies are still on their way. Run it again until RV(moving) is 0.
extends_documentation_fragment: [gpu_token.pipeline.kafka_tools]
options:
  brokers:
    description: The brokers that should hold copies.
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description: The broker's number.
        type: int
        required: true
      rack:
        description: Where it stands, as its zone.
        type: str
        default: ""
  replication_factor:
    description: Copies of each partition.
    type: int
    required: true
  bytes_per_second:
    description: How much each broker may send, and take, to move copies.
    type: int
    required: true
  wait_seconds:
    description: How long to wait until all has arrived.
    type: int
    default: 20
attributes:
  check_mode:
    description: Reports what would move.
    support: full
  diff_mode:
    description: Shows the brokers of each partition before and after.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Three copies of everything
  gpu_token.pipeline.kafka_replicas:
    bootstrap_server: 10.0.1.5:29092
    command_config: /etc/kafka/secrets/admin.properties
    brokers: [{id: 1, rack: eu-west-1a}, {id: 2, rack: eu-west-1b}, {id: 3, rack: eu-west-1c}]
    replication_factor: 3
    bytes_per_second: 50000000
"""

RETURN = """
actions:
  description: One sentence for each partition that begins to move, or would in check mode.
  returned: always
  type: list
  elements: str
moving:
  description: How many partitions are on their way.
  returned: always
  type: int
partitions:
  description: How many partitions there are.
  returned: always
  type: int
"""

_PAUSE_SECONDS = 2


class Cluster(NamedTuple):
    """Where all partitions are, how many are on their way, and whether a limit is in force."""

    placement: dict[Partition, tuple[int, ...]]
    moving: int
    is_limited: bool


def nodes(text: str) -> tuple[int, ...]:
    """Read a list of brokers."""
    return tuple(int(node) for node in text.split(",") if node)


def parse(description: str) -> Cluster:
    """Read what `kafka-topics.sh --describe` prints."""
    placement, moving, is_limited = {}, 0, False
    for line in description.splitlines():
        fields = parse_fields(line)
        if "Partition" in fields:
            partition = Partition(fields["Topic"], int(fields["Partition"]))
            placement[partition] = nodes(fields["Replicas"])
            moving += bool(fields.get("Adding Replicas") or fields.get("Removing Replicas"))
        elif ".replication.throttled.replicas" in fields.get("Configs", ""):
            is_limited = True
    return Cluster(placement, moving, is_limited)


def moves(
    cluster: Cluster, brokers: Sequence[dict[str, str]], copies: int
) -> dict[Partition, tuple[int, ...]]:
    """The partitions whose brokers should be others. None while copies are on their way."""
    if cluster.moving:
        return {}
    racks = {int(broker["id"]): broker["rack"] for broker in brokers}
    wanted = place(cluster.placement, racks, copies)
    return {partition: new for partition, new in wanted.items() if new != cluster.placement[partition]}


def as_json(placement: dict[Partition, tuple[int, ...]]) -> str:
    """Write a placement as kafka-reassign-partitions.sh reads it."""
    partitions = [
        {"topic": partition.topic, "partition": partition.number, "replicas": list(new)}
        for partition, new in sorted(placement.items())
    ]
    return json.dumps({"version": 1, "partitions": partitions})


def show(placement: dict[Partition, tuple[int, ...]]) -> dict[str, str]:
    """A placement in words."""
    return {
        f"{topic}-{number}": ",".join(map(str, new)) for (topic, number), new in sorted(placement.items())
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **TOOL_ARGUMENTS,
            "brokers": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "id": {"type": "int", "required": True},
                    "rack": {"type": "str", "default": ""},
                },
            },
            "replication_factor": {"type": "int", "required": True},
            "bytes_per_second": {"type": "int", "required": True},
            "wait_seconds": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    params = module.params

    def look() -> Cluster:
        return parse(run(module, "kafka-topics.sh", ("--describe",)))

    def reassign(placement: dict[Partition, tuple[int, ...]], *arguments: str) -> None:
        command = (*arguments, "--reassignment-json-file")
        run(module, "kafka-reassign-partitions.sh", command, text=as_json(placement))

    before = cluster = look()
    moved = moves(cluster, params["brokers"], params["replication_factor"])
    changed = bool(moved)
    if not module.check_mode:
        if moved:
            reassign(moved, "--execute", "--throttle", str(params["bytes_per_second"]))
            cluster = look()
        until = time.monotonic() + params["wait_seconds"]
        while cluster.moving and time.monotonic() < until:
            time.sleep(_PAUSE_SECONDS)
            cluster = look()
        if cluster.is_limited and not cluster.moving:
            reassign(cluster.placement, "--verify")
            changed = True
    module.exit_json(
        changed=changed,
        actions=[f"move {partition} to {new}" for partition, new in show(moved).items()],
        moving=cluster.moving,
        partitions=len(cluster.placement),
        diff={
            "before": show({partition: before.placement[partition] for partition in moved}),
            "after": show(moved),
        }
        if moved
        else {},
    )


if __name__ == "__main__":
    main()
