#!/usr/bin/python
"""Create and alter Kafka topics with the tools inside the broker's container."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpu_token.pipeline.plugins.module_utils.kafka_tools import (
    TOOL_ARGUMENTS,
    parse_fields,
    run,
)

DOCUMENTATION = """
module: kafka_topics
short_description: Create and alter Kafka topics
description:
  - Compares topics with a list, creates missing ones, adds partitions and alters settings.
  - Topics and settings that are not listed stay as they are. Partitions are never removed.
  - Starts one JVM if nothing has to change, and one more for each change.
extends_documentation_fragment: [gpu_token.pipeline.kafka_tools]
options:
  topics:
    description: The topics.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The topic's name.
        type: str
        required: true
      partitions:
        description: Number of partitions.
        type: int
        required: true
      replication_factor:
        description: Copies of each partition. Used only when the topic is created.
        type: int
        default: 1
      config:
        description: Settings by Kafka's names.
        type: dict
        default: {}
attributes:
  check_mode:
    description: Reports what would change.
    support: full
  diff_mode:
    description: Shows partitions and settings before and after.
    support: full
author: [gpu-token-pipeline]
"""

EXAMPLES = """
- name: Keep events for a week
  gpu_token.pipeline.kafka_topics:
    bootstrap_server: localhost:29092
    command_config: /etc/kafka/secrets/admin.properties
    topics:
      - name: token.usage.v1
        partitions: 3
        config: {retention.ms: 604800000}
"""

RETURN = """
actions:
  description: One sentence for each change that was made, or would be made in check mode.
  returned: always
  type: list
  elements: str
unhealthy:
  description: Partitions without a leader, or with too few replicas.
  returned: always
  type: list
  elements: str
"""


class TopicsError(Exception):
    """A topic cannot be changed as requested; the message is one sentence."""


@dataclass(frozen=True)
class Topic:
    """A topic as wanted, or as the broker has it."""

    name: str
    partitions: int
    replication_factor: int
    config: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Action:
    """One change: a sentence for people, a tool and its arguments."""

    sentence: str
    tool: str
    arguments: tuple[str, ...]


def parse_config(text: str) -> dict[str, str]:
    """Read `a=1,b=x,y`, where a part without `=` belongs to the value before it."""
    config: dict[str, str] = {}
    key = ""
    for part in text.split(","):
        if "=" in part:
            key, value = part.split("=", 1)
            key = key.strip()
            config[key] = value.strip()
        elif key and part:
            config[key] += f",{part.strip()}"
    return config


def parse_topics(description: str) -> dict[str, Topic]:
    """Read the topics from what `kafka-topics.sh --describe` prints."""
    topics = {}
    for line in description.splitlines():
        if line.startswith("Topic:"):
            fields = parse_fields(line)
            topics[fields["Topic"]] = Topic(
                name=fields["Topic"],
                partitions=int(fields["PartitionCount"]),
                replication_factor=int(fields["ReplicationFactor"]),
                config=parse_config(fields.get("Configs", "")),
            )
    return topics


def parse_unhealthy(description: str) -> list[str]:
    """Name the partitions without a leader, or with fewer replicas in sync than they should have."""
    unhealthy = []
    for line in description.splitlines():
        fields = parse_fields(line)
        if "Partition" not in fields:
            continue
        where = f"partition {fields['Partition']} of {fields['Topic']}"
        replicas = [node for node in fields["Replicas"].split(",") if node]
        in_sync = [node for node in fields["Isr"].split(",") if node]
        if not re.fullmatch(r"\d+", fields["Leader"]):
            unhealthy.append(f"{where} has no leader")
        elif len(in_sync) < len(replicas):
            unhealthy.append(f"{where} has {len(in_sync)} of {len(replicas)} replicas in sync")
    return unhealthy


def setting(value: Any) -> str:
    """Write a value as Kafka does."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def wanted_topic(params: dict[str, Any]) -> Topic:
    """Read one topic of the module's parameters."""
    config = {name: setting(value) for name, value in (params["config"] or {}).items()}
    return Topic(params["name"], params["partitions"], params["replication_factor"], config)


def create(topic: Topic) -> Action:
    """Create a topic with its settings."""
    arguments = ["--create", "--topic", topic.name, "--partitions", str(topic.partitions)]
    arguments += ["--replication-factor", str(topic.replication_factor)]
    for name, value in sorted(topic.config.items()):
        arguments += ["--config", f"{name}={value}"]
    return Action(f"create {topic.name}", "kafka-topics.sh", tuple(arguments))


def raise_partitions(topic: Topic) -> Action:
    """Add partitions to a topic."""
    arguments = ("--alter", "--topic", topic.name, "--partitions", str(topic.partitions))
    return Action(f"raise {topic.name} to {topic.partitions} partitions", "kafka-topics.sh", arguments)


def alter_config(name: str, config: dict[str, str]) -> Action:
    """Alter settings of a topic; brackets keep a value with commas in one piece."""
    bracketed = {key: f"[{value}]" if "," in value else value for key, value in config.items()}
    pairs = ",".join(f"{key}={value}" for key, value in sorted(bracketed.items()))
    arguments = ("--alter", "--entity-type", "topics", "--entity-name", name, "--add-config", pairs)
    return Action(f"set {pairs} on {name}", "kafka-configs.sh", arguments)


def plan(current: dict[str, Topic], wanted: list[Topic]) -> list[Action]:
    """List the changes that lead from the current topics to the wanted ones.

    Raises TopicsError before anything has been changed if one of them is impossible.
    """
    actions = []
    for topic in wanted:
        present = current.get(topic.name)
        if present is None:
            actions.append(create(topic))
            continue
        if topic.partitions < present.partitions:
            raise TopicsError(
                f"Topic {topic.name} has {present.partitions} partitions and kafka_topics asks for "
                f"{topic.partitions}; Kafka cannot take partitions away: ask for more, or name another topic."
            )
        if topic.partitions > present.partitions:
            actions.append(raise_partitions(topic))
        differing = {name: value for name, value in topic.config.items() if present.config.get(name) != value}
        if differing:
            actions.append(alter_config(topic.name, differing))
    return actions


def diff(current: dict[str, Topic], wanted: list[Topic]) -> dict[str, Any]:
    """Show the wanted topics before and after, with the settings that were asked for."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for topic in wanted:
        present = current.get(topic.name)
        after[topic.name] = {"partitions": topic.partitions, **topic.config}
        if present is not None:
            asked_for = {name: present.config[name] for name in topic.config if name in present.config}
            before[topic.name] = {"partitions": present.partitions, **asked_for}
    return {"before": before, "after": after}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **TOOL_ARGUMENTS,
            "topics": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "partitions": {"type": "int", "required": True},
                    "replication_factor": {"type": "int", "default": 1},
                    "config": {"type": "dict", "default": {}},
                },
            },
        },
        supports_check_mode=True,
    )
    wanted = [wanted_topic(topic) for topic in module.params["topics"]]
    description = run(module, "kafka-topics.sh", ("--describe",))
    current = parse_topics(description)
    try:
        actions = plan(current, wanted)
    except TopicsError as error:
        module.fail_json(msg=str(error))
    if not module.check_mode:
        for action in actions:
            run(module, action.tool, action.arguments)
    module.exit_json(
        changed=bool(actions),
        actions=[action.sentence for action in actions],
        unhealthy=parse_unhealthy(description),
        diff=diff(current, wanted) if actions else {},
    )


if __name__ == "__main__":
    main()
